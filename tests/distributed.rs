//! Questions over workers: the same rows as without, from the same store, whatever becomes of the workers.

mod database;

#[path = "distributed/answers.rs"]
mod answers;
#[path = "distributed/lost.rs"]
mod lost;
#[path = "distributed/refused.rs"]
mod refused;

use std::path::Path;
use std::process::{Command, Stdio};

use database::workers::asking;
use database::workers::process::Process;
use database::{Db, root, workers};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use futures::TryStreamExt;
use polysema::session::Session;
use polysema::workers::TlsFiles;

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
