//! Questions over workers: the same rows as without, from the same store, whatever becomes of the workers.

mod database;

#[path = "distributed/answers.rs"]
mod answers;
#[path = "distributed/lost.rs"]
mod lost;
#[path = "distributed/refused.rs"]
mod refused;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use database::{Db, root, workers};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use futures::TryStreamExt;
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions, Session};
use polysema::workers::{TlsFiles, Workers};

/// A store with a run of the demo's model, in its folder.
async fn demo(options: &str) -> Db {
    let db = Db::new().await;
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    let (model, corpus) = (model.display(), corpus.display());
    db.query(&format!(
        "SELECT * FROM ingest('demo', '{model}', '{corpus}', {{context: 32, max_examples: 7, {options}}})"
    ))
    .await;
    db
}

async fn rows(session: &Session, sql: &str) -> Result<Vec<RecordBatch>> {
    session.query(sql).await?.try_collect().await
}

/// The rows as text, in their order.
async fn text(session: &Session, sql: &str) -> String {
    let rows = rows(session, sql).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    pretty_format_batches(&rows).expect("printable").to_string()
}

/// A session over a store and the workers at these addresses.
async fn asking(store: &Path, addresses: &[String], tls: Option<&TlsFiles>) -> Result<Session> {
    let engine = Engine::open(&EngineOptions {
        store: store.to_path_buf(),
        memory_limit: None,
        loaded_limit: None,
    })?;
    engine.ask(Workers::connect(addresses, tls).await?)?;
    engine.session(Policy::everything())
}

/// A worker that is a process of its own; it ends with this.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(store: &Path, options: &[&str]) -> Self {
        Self::at(store, "127.0.0.1:0", options)
    }

    fn at(store: &Path, address: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_polysema"))
            .args(["worker", "--listen", address, "--store"])
            .arg(store)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let line = lines.next().expect("a line").expect("text");
        let (_, address) = line.split_once(" listens at ").expect(&line);
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.to_string(),
        }
    }

    fn addresses(all: &[Self]) -> Vec<String> {
        all.iter().map(|worker| worker.address.clone()).collect()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
