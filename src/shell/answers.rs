//! Answers that the shell itself reads.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::Int32Type;
use datafusion::error::DataFusionError;
use futures::TryStreamExt;

use super::failure::{Failure, lost};
use super::interrupt::Interrupts;
use crate::session::Session;

/// All rows of a query.
pub async fn read(session: &Session, query: &str) -> Result<Vec<RecordBatch>, Failure> {
    Ok(session.query(query).await?.try_collect().await?)
}

/// All rows of a query as one batch, read on a task of its own: Ctrl-C ends it, and its panic is an error.
pub async fn all(
    session: &Arc<Session>,
    interrupts: &Interrupts,
    query: String,
) -> Result<RecordBatch, Failure> {
    let session = Arc::clone(session);
    let reading = async move {
        let stream = session.query(&query).await?;
        let schema = stream.schema();
        let batches: Vec<_> = stream.try_collect().await?;
        Ok(concat_batches(&schema, &batches).map_err(DataFusionError::from)?)
    };
    let mut task = tokio::spawn(reading);
    tokio::select! {
        () = interrupts.pressed() => {
            task.abort();
            Err(Failure::interrupted())
        }
        answer = &mut task => match answer {
            Ok(answer) => answer,
            Err(error) => Err(lost(error)),
        },
    }
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
