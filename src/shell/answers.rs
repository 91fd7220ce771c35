//! Answers that the shell itself reads.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int32Type;
use futures::TryStreamExt;

use super::failure::Failure;
use crate::session::Session;

/// All rows of a query.
pub async fn read(session: &Session, query: &str) -> Result<Vec<RecordBatch>, Failure> {
    Ok(session.query(query).await?.try_collect().await?)
}

/// A column of whole numbers.
pub fn integers(batches: &[RecordBatch], column: usize) -> Vec<i32> {
    batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(column)
                .as_primitive::<Int32Type>()
                .values()
                .to_vec()
        })
        .collect()
}
