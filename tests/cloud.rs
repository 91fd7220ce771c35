//! Stores in buckets: what is written there answers as it does here, of two writers one is told, and whatever ends a writer,
//! nobody reads a part of a run. `.ci/cloud` starts the servers and names their buckets in POLYSEMA_BUCKETS.
#![cfg(unix)]

mod database;
mod random;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::workers::process::Process;
use database::{root, said};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path as Key;
use random::{given, seeded};
use tempfile::TempDir;

/// What of a store in a bucket is no file of a run's generation, for one run.
const OTHERS: usize = 3;
const COUNTS: &str = "SELECT count(*), sum(pos), max(activation) FROM demo.examples";

/// A folder of a bucket that no other test has, and one of this machine.
struct Desk {
    bucket: String,
    address: String,
    objects: Arc<dyn ObjectStore>,
    key: Key,
    folder: TempDir,
}

impl Desk {
    /// One in each bucket.
    fn all() -> Vec<Self> {
        let buckets = std::env::var("POLYSEMA_BUCKETS").expect("buckets, by .ci/cloud");
        let new = |bucket: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let name = folder.path().file_name().expect("a name");
            let address = format!("{bucket}/{}/s", name.display());
            let url = address.parse().expect("an address");
            let said = std::env::vars().map(|(name, value)| (name.to_lowercase(), value));
            let (objects, key) = object_store::parse_url_opts(&url, said).expect("a bucket");
            Self {
                bucket: bucket.to_string(),
                address,
                objects: objects.into(),
                key,
                folder,
            }
        };
        let desks: Vec<_> = buckets.split_whitespace().map(new).collect();
        assert!(!desks.is_empty(), "POLYSEMA_BUCKETS names buckets");
        desks
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, store: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        command
            .args(["--store", store])
            .args(words)
            .env("POLYSEMA_CACHE", self.path("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Of a store of this machine.
    fn here(&self, store: &str, sql: &str) -> String {
        let store = self.path(store).display().to_string();
        said(self.program(&store, &["-c", sql]).output()).expect("an answer")
    }

    /// A store of this machine with the run `demo` of so many documents.
    fn ingest(&self, store: &str, documents: usize) {
        let data = root("tests/data/demo");
        let (model, corpus) = (data.join("model"), data.join("corpus.jsonl"));
        let sql = format!(
            "SELECT * FROM ingest('demo', '{}', '{}', {{max_documents: {documents}, replace: true}})",
            model.display(),
            corpus.display()
        );
        self.here(store, &sql);
    }

    /// Two stores of this machine, `a` and `b`; what their runs count.
    fn two(&self) -> [String; 2] {
        [("a", 60), ("b", 30)].map(|(store, documents)| {
            self.ingest(store, documents);
            self.here(store, COUNTS)
        })
    }

    /// Of the store in the bucket.
    fn there(&self, sql: &str) -> Result<String, String> {
        said(self.program(&self.address, &["-c", sql]).output())
    }

    fn upload(&self, store: &str, words: &[&str]) -> Command {
        let store = self.path(store).display().to_string();
        let words = [&["upload", "--to", &self.address], words].concat();
        self.program(&store, &words)
    }

    fn uploaded(&self, store: &str, words: &[&str]) -> Result<String, String> {
        said(self.upload(store, words).output())
    }

    /// Names of all files in the bucket.
    fn names(&self) -> BTreeSet<String> {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listed = self.objects.list(Some(&self.key));
        let found = runtime.block_on(
            listed
                .map_ok(|file| file.location.to_string())
                .try_collect(),
        );
        found.expect("names")
    }

    /// How many files the run of a store of this machine has.
    fn files(&self, store: &str) -> usize {
        let manifest = fs::read(self.path(store).join("runs/demo/manifest.json"));
        let manifest: serde_json::Value =
            serde_json::from_slice(&manifest.expect("a manifest")).expect("JSON");
        let count = |name: &str| manifest[name].as_array().map_or(0, Vec::len);
        // The weights of an autoencoder and the curve of its training.
        count("files") + 2 * count("saes")
    }
}

fn ended(child: Child) -> Result<String, String> {
    said(child.wait_with_output())
}

#[test]
fn a_run_in_a_bucket_answers_as_it_does_here() {
    for desk in Desk::all() {
        desk.ingest("a", 200);
        desk.here(
            "a",
            "SET polysema.run = 'demo'; SELECT * FROM train_sae('s', 0, {d_sae: 32, batch_size: 32, epochs: 1})",
        );
        assert_eq!(desk.uploaded("a", &[]), Ok(String::new()));
        assert_eq!(desk.names().len(), desk.files("a") + OTHERS);
        for sql in [
            "SELECT * FROM demo.feature_clusters(2, 113)",
            "SELECT run, problem FROM polysema.info.runs",
            "SELECT * FROM demo.neuron_polysemanticity() ORDER BY layer, neuron",
            "SELECT layer, neuron, example, token, window_tokens, window_activations FROM demo.examples WHERE neuron < 9",
            "SELECT * FROM demo.documents",
            "SELECT layer, neuron, vector_norm(w_in) FROM demo.neurons WHERE layer = 3",
            "SELECT * FROM demo.similar_features(1, 20, 0)",
            "SELECT name, d_sae, steps, mse FROM polysema.info.saes",
            "SELECT step, loss FROM polysema.info.sae_training",
            "SELECT sae_encode('s', pre_mlp) FROM demo.examples WHERE layer = 0 AND neuron = 0",
            COUNTS,
        ] {
            assert_eq!(
                desk.there(sql),
                Ok(desk.here("a", sql)),
                "{}: {sql}",
                desk.address
            );
        }
        let error = desk.uploaded("a", &["demo"]).expect_err("it is there");
        assert!(error.contains("'demo', which exists in"), "{error}");
        // What replaces it takes no more room.
        desk.ingest("b", 50);
        assert_eq!(
            desk.uploaded("b", &["demo", "--replace"]),
            Ok(String::new())
        );
        assert_eq!(desk.names().len(), desk.files("b") + OTHERS);
        assert_eq!(desk.there(COUNTS), Ok(desk.here("b", COUNTS)));
        let error = desk
            .there("SELECT * FROM drop_run('demo')")
            .expect_err("read only");
        assert!(error.contains("which is read only"), "{error}");
    }
}

/// Each of them fetches what its ranges of neurons need.
#[test]
fn workers_read_a_store_in_a_bucket() {
    for desk in Desk::all() {
        desk.ingest("a", 100);
        assert_eq!(desk.uploaded("a", &[]), Ok(String::new()));
        let store = Path::new(&desk.address);
        let workers: Vec<_> = (0..2).map(|_| Process::start(store, &[])).collect();
        let addresses = Process::addresses(&workers).join(",");
        for sql in [
            "SELECT * FROM demo.neuron_polysemanticity() ORDER BY layer, neuron",
            "SELECT layer, count(*) FROM demo.feature_clusters() GROUP BY layer ORDER BY layer",
        ] {
            let words = ["--workers", &addresses, "-c", sql];
            let rows = said(desk.program(&desk.address, &words).output());
            assert_eq!(rows, Ok(desk.here("a", sql)), "{}: {sql}", desk.address);
        }
    }
}

#[test]
fn of_writers_of_one_run_those_that_come_late_are_told() {
    for desk in Desk::all() {
        let expected = desk.two();
        let mut refused = 0;
        for round in 0..given("POLYSEMA_ROUNDS", 4) {
            let words: &[&str] = if round == 0 { &[] } else { &["--replace"] };
            let writers = ["a", "b", "a", "b"].map(|store| {
                let writer = desk.upload(store, words).spawn();
                writer.expect("the program starts")
            });
            let outcomes = writers.map(ended);
            for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                let late = round == 0 && error.contains("which exists in");
                assert!(
                    late || error.contains("written or removed meanwhile"),
                    "{error}"
                );
                refused += 1;
            }
            assert!(outcomes.iter().any(Result::is_ok));
            let found = desk.there(COUNTS).expect("an answer");
            assert!(expected.contains(&found), "{found}");
            assert_eq!(desk.names().len(), desk.files("a") + OTHERS);
        }
        assert!(refused > 0, "some came late");
    }
}

#[test]
fn runs_written_at_the_same_time_are_all_listed() {
    for desk in Desk::all() {
        desk.ingest("a", 20);
        let names = ["demo", "r1", "r2", "r3", "r4"];
        for name in &names[1..] {
            let copied = Command::new("cp")
                .arg("-r")
                .args([desk.path("a/runs/demo"), desk.path("a/runs").join(name)])
                .status();
            assert!(copied.expect("cp").success());
        }
        let writers = names.map(|name| {
            desk.upload("a", &[name])
                .spawn()
                .expect("the program starts")
        });
        for writer in writers {
            assert_eq!(ended(writer), Ok(String::new()));
        }
        let sql = "SELECT run FROM polysema.info.runs ORDER BY run";
        assert_eq!(desk.there(sql), Ok(desk.here("a", sql)));
    }
}

#[test]
fn whatever_ends_a_writer_a_whole_run_is_read() {
    for desk in Desk::all() {
        let expected = desk.two();
        let started = Instant::now();
        assert_eq!(desk.uploaded("a", &[]), Ok(String::new()));
        let usual = started.elapsed();
        let whole = desk.names().len();
        let mut random = seeded();
        let mut ended_early = 0;
        for round in 0..given("POLYSEMA_KILLS", 10) {
            let is_killed = round % 2 == 0;
            let store = if round % 4 < 2 { "b" } else { "a" };
            let before = desk.names().len();
            let writer = desk
                .upload(store, &["--replace"])
                .spawn()
                .expect("the program starts");
            std::thread::sleep(usual.mul_f64(random.uniform()));
            let signal = if is_killed { "-KILL" } else { "-INT" };
            // It may have ended.
            let _ = Command::new("kill")
                .args([signal, &writer.id().to_string()])
                .output();
            let outcome = ended(writer);
            ended_early += u64::from(outcome.is_err());
            let found = desk.there(COUNTS).expect("an answer");
            assert!(expected.contains(&found), "{found}");
            // Who is asked to end takes away what it wrote.
            if !is_killed {
                assert!(desk.names().len() <= before, "{outcome:?}");
            }
        }
        assert!(ended_early > 0, "some were ended");
        assert_eq!(desk.uploaded("b", &["--replace"]), Ok(String::new()));
        assert_eq!(desk.there(COUNTS), Ok(expected[1].clone()));
        assert!(desk.names().len() >= whole);
    }
}

#[test]
fn what_cannot_be_written_is_named_and_nothing_is() {
    for desk in Desk::all() {
        desk.ingest("a", 20);
        let refused = |store: &str, words: &[&str], said: &str| {
            let error = desk.uploaded(store, words).expect_err("refused");
            assert!(error.contains(said), "{said}: {error}");
            assert_eq!(desk.names(), BTreeSet::new());
        };
        refused("a", &["other"], "'other'");
        refused("nowhere", &[], "a store with runs is required");
        let store = desk.path("a").display().to_string();
        for to in ["elsewhere", "https://a.example/s", "ftp://a/b", "s3:///s"] {
            let error = said(desk.program(&store, &["upload", "--to", to]).output());
            let error = error.expect_err("refused");
            assert!(
                error.contains("s3://BUCKET/PATH") && error.contains(to),
                "{error}"
            );
        }
        // A bucket that is not there, and a server.
        let none = format!("{}-none/s", desk.bucket);
        let error =
            said(desk.program(&store, &["upload", "--to", &none]).output()).expect_err("refused");
        assert!(error.contains(&none), "{error}");
        let started = Instant::now();
        let (mut gone, key) = (desk.upload("a", &[]), desk.path("key.json"));
        let google = r#"{"gcs_base_url":"http://127.0.0.1:9","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;
        fs::write(&key, google).expect("a file");
        gone.env("AWS_ENDPOINT", "http://127.0.0.1:9")
            .env("AZURITE_BLOB_STORAGE_URL", "http://127.0.0.1:9")
            .env("GOOGLE_SERVICE_ACCOUNT", key);
        let error = said(gone.output()).expect_err("refused");
        assert!(error.contains(&desk.address), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
        // A file that is not what was written.
        let generation = fs::read_dir(desk.path("a/runs/demo")).expect("a run");
        let generation = generation
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.is_dir());
        let file = generation.expect("a generation").join("examples-1.arrow");
        let mut bytes = fs::read(&file).expect("a file");
        bytes[1000] ^= 4;
        fs::write(&file, bytes).expect("a file");
        refused(
            "a",
            &["demo"],
            "1 damaged files, which polysema check names",
        );
    }
}
