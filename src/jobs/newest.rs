//! The way of progress to a reader that may be slow: rows wait for it up to a number, then the newest replaces the last.

use std::sync::{Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Rows of progress that wait for a reader: minutes of them, since they are small and come several times a second.
pub(super) const WAITING_PROGRESS: usize = 1024;

/// The newest row of progress that found no place among those that wait.
#[derive(Default)]
pub(super) struct Newest(Mutex<Option<RecordBatch>>);

impl Newest {
    /// Sends a row if there is a place for it, else keeps it in place of the one before. Never waits.
    pub(super) fn send(&self, to: &Sender<Result<RecordBatch>>, batch: RecordBatch) -> bool {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in newest.take().into_iter().chain([batch]) {
            match to.try_send(Ok(batch)) {
                Ok(()) => {}
                Err(TrySendError::Full(batch)) => *newest = batch.ok(),
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    }

    /// What is still kept.
    pub(super) fn take(&self) -> Option<RecordBatch> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::prelude::SessionContext;
    use futures::{StreamExt, TryStreamExt};
    use std::time::Duration;

    use super::*;
    use crate::jobs::{Course, Job, JobContext, Part};

    fn progress(done: i64) -> RecordBatch {
        let number = |name| Field::new(name, DataType::Float64, false);
        let schema = Schema::new(vec![
            Part::Done.of(Field::new("done", DataType::Int64, false)),
            Part::Rate.of(number("rate")),
            Part::Seconds.of(number("seconds")),
            Part::Message.of(Field::new("message", DataType::Utf8, false)),
        ]);
        let zero = || Arc::new(Float64Array::from(vec![0.0])) as ArrayRef;
        let columns = vec![
            Arc::new(Int64Array::from(vec![done])) as ArrayRef,
            zero(),
            zero(),
            Arc::new(StringArray::from(vec!["working"])),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("equal lengths")
    }

    /// A job that sends its progress as fast as it can, and says when it has ended.
    fn job(n: i64, ended: &Arc<AtomicBool>) -> Job {
        let ended = Arc::clone(ended);
        Job {
            function: "job",
            operator: "JobExec",
            detail: String::new(),
            schema: progress(0).schema(),
            course: Course::Attached,
            needs: &[],
            input: None,
            makes: None,
            work: Arc::new(move |context: &JobContext| {
                for done in 1..=n {
                    context.send(Ok(progress(done)));
                    context.tick()?;
                }
                ended.store(true, Ordering::Release);
                Ok(())
            }),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn progress_that_nobody_reads_does_not_hold_the_work_up() -> Result<()> {
        let (n, ended) = (
            3 * WAITING_PROGRESS as i64,
            Arc::new(AtomicBool::new(false)),
        );
        let context = SessionContext::new();
        context.register_table("job", Arc::new(job(n, &ended)))?;
        let rows = context.sql("SELECT done FROM job").await?;
        let mut rows = rows.execute_stream().await?;
        assert!(rows.next().await.is_some(), "a first row");
        while !ended.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let rest: Vec<_> = rows.try_collect().await?;
        let done: Vec<i64> = (rest.iter())
            .flat_map(|batch| {
                batch
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect();
        assert!(done.is_sorted(), "in order");
        assert!(done.len() < n as usize - 1, "some were replaced");
        assert_eq!(done.last(), Some(&n), "the newest is there");
        Ok(())
    }
}
