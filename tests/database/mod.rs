//! How the tests ask a store: a session over a folder, and its answers as rows, numbers, text or refusals.
#![allow(dead_code, reason = "no test asks in every way")]

use std::path::{Path, PathBuf};
use std::process::Output;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use futures::TryStreamExt;
use polysema::session::Session;

#[path = "../workers/mod.rs"]
pub mod workers;

/// A path within the project.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path among the reference results, which lie beside the project or do not.
pub fn shared(path: &str) -> PathBuf {
    root("../shared/data").join(path)
}

/// What the program printed, or why it failed.
pub fn said(output: std::io::Result<Output>) -> Result<String, String> {
    let output = output.expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// A session over a store.
pub struct Db {
    pub session: Session,
    own: Option<tempfile::TempDir>,
    _workers: workers::Processes,
}

impl Db {
    /// A session over an empty store.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("s");
        Self {
            own: Some(folder),
            ..Self::open(&store).await
        }
    }

    /// A session over the store of a folder.
    pub async fn open(store: &Path) -> Self {
        let (session, workers) = workers::session(store).await.expect("a store");
        Self {
            session,
            own: None,
            _workers: workers,
        }
    }

    /// The folder that a new store lies in, and anything else a test leaves there.
    pub fn folder(&self) -> &Path {
        self.own.as_ref().expect("a store of its own").path()
    }

    pub async fn try_query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.session.query(sql).await?.try_collect().await
    }

    pub async fn query(&self, sql: &str) -> Vec<RecordBatch> {
        let rows = self.try_query(sql).await;
        rows.unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    /// The message of a query that must fail.
    pub async fn refused(&self, sql: &str) -> String {
        let error = self.try_query(sql).await.expect_err(sql);
        error.strip_backtrace()
    }

    /// The one value of a query.
    pub async fn integer(&self, sql: &str) -> i64 {
        let rows = self
            .query(&format!("SELECT CAST(x AS BIGINT) FROM ({sql}) AS t(x)"))
            .await;
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    /// The one value of a query.
    pub async fn number(&self, sql: &str) -> f64 {
        let rows = self
            .query(&format!("SELECT CAST(x AS DOUBLE) FROM ({sql}) AS t(x)"))
            .await;
        rows[0].column(0).as_primitive::<Float64Type>().value(0)
    }

    /// Every row as numbers.
    pub async fn numbers(&self, sql: &str) -> Vec<Vec<f64>> {
        let mut rows = vec![];
        for batch in self.query(sql).await {
            let wide = |column: &ArrayRef| cast(column, &DataType::Float64).expect("a number");
            let columns: Vec<_> = batch.columns().iter().map(wide).collect();
            for row in 0..batch.num_rows() {
                let cell = |c: &ArrayRef| c.as_primitive::<Float64Type>().value(row);
                rows.push(columns.iter().map(cell).collect());
            }
        }
        rows
    }

    /// The rows as the shell's table.
    pub async fn text(&self, sql: &str) -> String {
        let rows = self.query(sql).await;
        pretty_format_batches(&rows).expect("printable").to_string()
    }

    /// Asserts that a query of mismatches finds none, showing those it found.
    pub async fn none(&self, what: &str, sql: &str) {
        let found = self.query(&format!("{sql} LIMIT 5")).await;
        let rows: usize = found.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(
            rows,
            0,
            "{what}:\n{}",
            pretty_format_batches(&found).expect("printable")
        );
    }
}
