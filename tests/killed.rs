//! The program killed with SIGKILL at moments spread over its work: the store opens, what was there is whole, the same job
//! succeeds afterwards, and nothing is left behind for ever.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::database::{Db, root};
use tempfile::TempDir;

/// What is written down of jobs, of which the last hundred are kept, and an empty file for each name that was locked.
const LASTING: [&str; 2] = ["jobs", "locks"];
/// Kills of each job.
const ROUNDS: u32 = 8;

/// A store, an exported folder and a folder for what need not last, all in one.
struct Desk(TempDir);

impl Desk {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts the program on statements.
    fn start(&self, sql: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_polysema"))
            .arg("--store")
            .arg(self.path("store"))
            .args(["--format", "csv", "-c", sql])
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    /// Lets it end well; how long it took.
    fn run(&self, sql: &str) -> Duration {
        let started = Instant::now();
        let output = self.start(sql).wait_with_output().expect("a child");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}\n{err}");
        started.elapsed()
    }

    fn ingest(&self, run: &str) -> String {
        let (model, corpus) = (
            root("tests/data/demo/model"),
            root("tests/data/demo/corpus.jsonl"),
        );
        let (model, corpus) = (model.display(), corpus.display());
        let options = "{max_documents: 12, context: 32, max_examples: 8, replace: true}";
        format!("SELECT * FROM ingest('{run}', '{model}', '{corpus}', {options})")
    }

    /// How many files and folders lie where; below the name of a run or of an exported folder they are counted.
    fn names(&self) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        let mut folders = vec![self.0.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if LASTING.contains(&path.file_name().and_then(|n| n.to_str()).unwrap_or("")) {
                    continue;
                }
                let within = path.strip_prefix(self.0.path()).expect("within");
                let depth = within.components().count();
                let first = within.components().take(3).collect::<PathBuf>();
                let kind = if path.is_dir() { "folder" } else { "file" };
                *names
                    .entry(format!("{} {depth} {kind}", first.display()))
                    .or_insert(0) += 1;
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        names
    }

    /// What is known of the run that is replaced, of the autoencoder that is, and of the exported folder.
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
        found
    }

    /// Starts it and kills it, after a time or at its first row.
    fn kill(&self, sql: &str, after: Option<Duration>) {
        let mut child = self.start(sql);
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
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_is_whole_whenever_a_job_is_killed() {
    let desk = Desk(tempfile::tempdir().expect("a writable folder"));
    for folder in ["tmp", "out"] {
        fs::create_dir(desk.path(folder)).expect("a writable folder");
    }
    let export = format!(
        "SET polysema.run = 'base'; SELECT * FROM export_sae('s', '{}', {{replace: true}})",
        desk.path("out/sae").display()
    );
    let train = "SET polysema.run = 'base'; SELECT * FROM train_sae('s', 0, {d_sae: 32, batch_size: 32, epochs: 40, replace: true})";
    let keep =
        "CREATE OR REPLACE TABLE notes.kept AS SELECT v FROM generate_series(1, 3000000) t(v)";
    let jobs = [
        desk.ingest("target"),
        train.to_string(),
        export,
        keep.to_string(),
    ];
    desk.run(&desk.ingest("base"));
    let lasting: Vec<Duration> = jobs.iter().map(|job| desk.run(job)).collect();
    let (names, found) = (desk.names(), desk.found().await);
    for round in 0..ROUNDS {
        for (job, lasting) in jobs.iter().zip(&lasting) {
            let after = (round > 0).then(|| *lasting * round / ROUNDS);
            desk.kill(job, after);
            assert_eq!(desk.found().await, found, "{job} killed after {after:?}");
        }
        // A killed one may have a name that nobody had before.
        desk.kill(&desk.ingest("new"), Some(lasting[0] * round / ROUNDS));
        assert_eq!(desk.found().await, found);
    }
    // What a reader holds while it is replaced, here the last look at it, is removed by the next replacement.
    for job in jobs.iter().chain(&jobs) {
        desk.run(job);
    }
    desk.run(&desk.ingest("new"));
    desk.run("SELECT * FROM drop_run('new')");
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
