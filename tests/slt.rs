//! Runs every `tests/slt/**/*.slt`, each on a session of its own over an empty store. With `UPDATE_SLT=1` the results
//! are written into the scripts instead, to be read before they are committed; `SLT=part/of/path` picks scripts.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use futures::TryStreamExt;
use polysema::session::Session;
use sqllogictest::{
    AsyncDB, DBOutput, DefaultColumnType, Runner, default_column_validator, default_normalizer,
    default_validator,
};

use crate::database::workers;

struct Database {
    session: Session,
    _workers: workers::Processes,
    _store: tempfile::TempDir,
}

impl Database {
    async fn open() -> Result<Self, DataFusionError> {
        let store = tempfile::tempdir()?;
        let (session, workers) = workers::session(&store.path().join("empty.store")).await?;
        Ok(Self {
            session,
            _workers: workers,
            _store: store,
        })
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = DataFusionError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, DataFusionError> {
        let stream = self.session.query(sql).await?;
        let columns = stream.schema().fields().len();
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        if columns == 0 {
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend(text_rows(batch)?);
        }
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Any; columns],
            rows,
        })
    }

    async fn shutdown(&mut self) {}
}

fn text_rows(batch: &RecordBatch) -> Result<Vec<Vec<String>>, DataFusionError> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<Vec<_>, _>>()?;
    let cell = |text: String| {
        if text.is_empty() {
            "(empty)".to_string()
        } else {
            text
        }
    };
    let mut rows = Vec::new();
    for row in 0..batch.num_rows() {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| cell(column.value(row).to_string()))
            .collect();
        // A script compares line by line, so a plan is one row a line.
        if cells.iter().any(|cell| cell.contains('\n')) {
            let text = workers::done_here(&cells.join(" "));
            rows.extend(text.lines().map(|line| vec![line.to_string()]));
        } else {
            rows.push(cells);
        }
    }
    Ok(rows)
}

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut paths = Vec::new();
    scripts(&root, &mut paths);
    if let Ok(part) = std::env::var("SLT") {
        paths.retain(|path| path.to_string_lossy().contains(&part));
    }
    paths.sort();
    assert!(!paths.is_empty(), "scripts below {}", root.display());
    let mut failures = Vec::new();
    for path in &paths {
        let mut runner = Runner::new(Database::open);
        if std::env::var_os("UPDATE_SLT").is_some() {
            runner
                .update_test_file(
                    path,
                    " ",
                    default_validator,
                    default_normalizer,
                    default_column_validator,
                )
                .await
                .expect("a script that can be written");
            continue;
        }
        if let Err(error) = runner.run_file_async(path).await {
            failures.push(error.display(false).to_string());
        }
    }
    println!("{} scripts, {} failed", paths.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
