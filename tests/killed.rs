//! The program killed with SIGKILL at random moments of its work: the store opens, what was there is whole, the same job
//! succeeds afterwards, and nothing is left behind for ever. The variable POLYSEMA_KILLS says how many kills there are, and
//! POLYSEMA_SEED which moments.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::database::{Db, root};
use crate::random::{given, seeded};
use tempfile::TempDir;

/// What is written down of jobs, of which the last hundred are kept, and an empty file for each name that was locked.
const LASTING: [&str; 2] = ["jobs", "locks"];
/// Kills of all jobs together, without POLYSEMA_KILLS.
const KILLS: u64 = 56;

/// A store, a folder for what is written outside of it and one for what need not last, all in one.
struct Desk(TempDir);

/// Words to the program that make it change the disk.
struct Job {
    name: &'static str,
    words: Vec<String>,
}

impl Job {
    fn sql(name: &'static str, sql: impl Into<String>) -> Self {
        let words = vec!["-c".to_string(), sql.into()];
        Self { name, words }
    }
}

impl Desk {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, job: &Job) -> Child {
        Command::new(env!("CARGO_BIN_EXE_polysema"))
            .arg("--store")
            .arg(self.path("store"))
            .args(&job.words)
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    /// Lets it end well; how long it took.
    fn run(&self, job: &Job) -> Duration {
        let started = Instant::now();
        let output = self.start(job).wait_with_output().expect("a child");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{err}", job.name);
        started.elapsed()
    }

    fn ingest(&self, name: &'static str, run: &str) -> Job {
        let (model, corpus) = (
            root("tests/data/demo/model"),
            root("tests/data/demo/corpus.jsonl"),
        );
        let (model, corpus) = (model.display(), corpus.display());
        let options = "{max_documents: 12, context: 32, max_examples: 8, replace: true}";
        Job::sql(
            name,
            format!("SELECT * FROM ingest('{run}', '{model}', '{corpus}', {options})"),
        )
    }

    /// How many files and folders lie where; below the name of a run or of an exported folder they are counted.
    fn names(&self) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for path in below(self.0.path()) {
            let within = path.strip_prefix(self.0.path()).expect("within");
            let lasts = |part: &OsStr| LASTING.iter().any(|name| part == *name);
            if within.iter().any(lasts) {
                continue;
            }
            let depth = within.components().count();
            let first = within.components().take(3).collect::<PathBuf>();
            let kind = if path.is_dir() { "folder" } else { "file" };
            let name = format!("{} {depth} {kind}", first.display());
            *names.entry(name).or_insert(0) += 1;
        }
        names
    }

    /// What is known of the runs that are replaced, of the autoencoder that is, and of the folders outside.
    async fn found(&self) -> Vec<String> {
        let db = Db::open(&self.path("store")).await;
        db.query("SET polysema.run = 'base'").await;
        let mut found = vec![];
        for sql in [
            "SELECT count(*), sum(v), max(rows), max(problem) FROM notes.kept, polysema.info.tables",
            "SELECT run, problem FROM polysema.info.runs WHERE run <> 'new' ORDER BY run",
            "SELECT count(*), sum(doc_id), sum(pos), max(activation), min(activation) FROM target.examples",
            "SELECT count(*), sum(max_activation) FROM target.neurons",
            "SELECT count(*), sum(n_tokens) FROM target.documents",
            "SELECT count(*), sum(max_activation) FROM imported.neurons",
            "SELECT layer, name, kind, n_neurons FROM base.layers ORDER BY layer",
            "SELECT layer, count(*), max(activation) FROM base.examples GROUP BY layer ORDER BY layer",
            "SELECT run, layer, name, d_in, d_sae, steps, rows, mse FROM polysema.info.saes",
            "SELECT sae_encode('s', pre_mlp) FROM base.examples WHERE layer = 0 AND neuron = 0 AND example = 0",
        ] {
            found.push(db.text(sql).await);
        }
        let weights = fs::read(self.path("out/sae/sae_weights.safetensors"));
        found.push(format!("{:?}", weights.expect("exported weights")));
        fs::read_to_string(self.path("out/sae/cfg.json")).expect("an exported configuration");
        let mut site = blake3::Hasher::new();
        for file in below(&self.path("out/site")) {
            if file.is_dir() {
                continue;
            }
            site.update(file.as_os_str().as_encoded_bytes());
            site.update(&fs::read(file).expect("a file of a site"));
        }
        found.push(site.finalize().to_string());
        found
    }

    /// Starts it and kills it, after a time or at its first row.
    fn kill(&self, job: &Job, after: Option<Duration>) {
        let mut child = self.start(job);
        match after {
            Some(after) => std::thread::sleep(after),
            None => {
                let out = child.stdout.as_mut().expect("a pipe");
                let _ = out.read(&mut [0]).expect("a row, or the end");
            }
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
    }

    /// All that changes the disk.
    fn jobs(&self) -> Vec<Job> {
        let out = |name: &str| self.path("out").join(name).display().to_string();
        let (sae, site) = (out("sae"), out("site"));
        let arrays = root("tests/data/import");
        let arrays = arrays.display();
        let publish = [
            "publish",
            "base",
            "--out",
            &site,
            "--neurons",
            "layer = 0 AND neuron < 8",
            "--replace",
        ];
        vec![
            self.ingest("ingest", "target"),
            // A killed one may have a name that nobody had before.
            self.ingest("ingest of a new run", "new"),
            Job::sql(
                "import_run",
                format!(
                    "SELECT * FROM import_run('imported', '{arrays}', {{activation_function: 'relu', replace: true}})"
                ),
            ),
            Job::sql(
                "train_sae",
                "SET polysema.run = 'base'; SELECT * FROM train_sae('s', 0, {d_sae: 32, batch_size: 32, epochs: 40, replace: true})",
            ),
            Job::sql(
                "export_sae",
                format!(
                    "SET polysema.run = 'base'; SELECT * FROM export_sae('s', '{sae}', {{replace: true}})"
                ),
            ),
            Job::sql(
                "a kept table",
                "CREATE OR REPLACE TABLE notes.kept AS SELECT v FROM generate_series(1, 3000000) t(v)",
            ),
            Job {
                name: "publish",
                words: publish.map(String::from).into(),
            },
        ]
    }
}

/// All files and folders below a folder, in order.
fn below(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_path_buf()], vec![]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_is_whole_whenever_a_job_is_killed() {
    let desk = Desk(tempfile::tempdir().expect("a writable folder"));
    for folder in ["tmp", "out"] {
        fs::create_dir(desk.path(folder)).expect("a writable folder");
    }
    desk.run(&desk.ingest("ingest", "base"));
    let jobs = desk.jobs();
    // Twice, as after the kills: what a job reads while it replaces it stays until the next replacement.
    let all = || -> Vec<Duration> { jobs.iter().map(|job| desk.run(job)).collect() };
    let lasting = all();
    all();
    desk.run(&Job::sql("drop_run", "SELECT * FROM drop_run('new')"));
    let (names, found) = (desk.names(), desk.found().await);
    let mut random = seeded();
    for kill in 0..given("POLYSEMA_KILLS", KILLS) {
        let which = kill as usize % jobs.len();
        let job = &jobs[which];
        // Of every eight the first at its first row, which comes when the work is done.
        let at_a_row = (kill / jobs.len() as u64).is_multiple_of(8);
        let at = lasting[which].mul_f64(random.uniform());
        let after = (!at_a_row).then_some(at);
        desk.kill(job, after);
        let now = desk.found().await;
        assert_eq!(now, found, "kill {kill}: {} after {after:?}", job.name);
        println!("kill {kill}: {} after {after:?}: all whole", job.name);
    }
    all();
    all();
    desk.run(&Job::sql("drop_run", "SELECT * FROM drop_run('new')"));
    assert_eq!(desk.found().await, found);
    for (name, n) in desk.names() {
        let before = names.get(&name).copied().unwrap_or_default();
        assert!(n <= before, "{name}: {n}, {before} before");
    }
    assert!(
        desk.path("tmp")
            .read_dir()
            .expect("a folder")
            .next()
            .is_none()
    );
}

/// A session that is gone holds nothing, so that what it read can be removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_gone_holds_nothing() {
    let db = Db::new().await;
    db.text("SELECT count(*) FROM polysema.info.runs").await;
    let store = Arc::downgrade(db.session.store());
    drop(db);
    assert_eq!(store.strong_count(), 0);
}
