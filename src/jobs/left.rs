//! Readers that leave before the end of a job, as `LIMIT 1`, `| head` and Ctrl-C do: the job is cancelled, and its statement
//! says what is kept of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use tokio::sync::watch;

/// How a job ended, told to who waits for it.
#[derive(Debug)]
pub(super) struct End(watch::Sender<Option<String>>);

impl Default for End {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl End {
    /// The job has ended so.
    pub(super) fn tell(&self, state: String) {
        self.0.send_replace(Some(state));
    }

    pub(super) fn is_told(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The job of a reader who has left.
    pub(super) fn left(&self, function: &'static str) -> LeftJob {
        LeftJob {
            function,
            state: self.0.subscribe(),
        }
    }
}

/// A job whose reader has left.
#[derive(Debug)]
pub struct LeftJob {
    function: &'static str,
    state: watch::Receiver<Option<String>>,
}

impl LeftJob {
    /// Waits for its end, which comes at its next tick, and says how it was, as in `train_sae: cancelled at step 7; ...`.
    pub async fn ended(mut self) -> String {
        let state = self.state().await;
        format!("{}: {state}", self.function)
    }

    /// The same as an error of the statement that left it.
    pub async fn refused(mut self) -> DataFusionError {
        let state = self.state().await;
        exec_datafusion_err!(
            "{}: a reader of all its rows is required, got one that left; the job was {state} ({{detach: true}} lets it \
             go on without a reader)",
            self.function
        )
    }

    async fn state(&mut self) -> String {
        let told = self.state.wait_for(Option::is_some).await;
        // Who tells nothing never began.
        let state = told.ok().and_then(|state| state.clone());
        state.unwrap_or_else(|| "cancelled".to_string())
    }
}

/// Told by the jobs of a statement, an extension of its configuration.
#[derive(Debug, Default)]
pub struct Left(Mutex<Option<LeftJob>>);

impl Left {
    /// The reader of this job has left.
    pub(super) fn tell(&self, job: LeftJob) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    }

    /// The job that was left, once.
    pub fn take(&self) -> Option<LeftJob> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.take()
    }
}

/// The rows of a statement; an error at their end if a job was left before its own. If they themselves are not read to
/// their end, `unsaid` is told.
pub fn to_the_end(
    rows: SendableRecordBatchStream,
    left: Arc<Left>,
    unsaid: Arc<Left>,
) -> SendableRecordBatchStream {
    Box::pin(ToTheEnd {
        schema: rows.schema(),
        rows: Some(rows),
        refused: None,
        left,
        unsaid,
    })
}

struct ToTheEnd {
    schema: SchemaRef,
    rows: Option<SendableRecordBatchStream>,
    /// Waits for the end of a job that was left.
    refused: Option<BoxFuture<'static, DataFusionError>>,
    left: Arc<Left>,
    unsaid: Arc<Left>,
}

impl Stream for ToTheEnd {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(rows) = &mut self.rows {
            match rows.as_mut().poll_next(cx) {
                Poll::Ready(None) => {
                    self.rows = None;
                    self.refused = self.left.take().map(|job| job.refused().boxed());
                }
                other => return other,
            }
        }
        let Some(refused) = &mut self.refused else {
            return Poll::Ready(None);
        };
        let error = std::task::ready!(refused.poll_unpin(cx));
        self.refused = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl RecordBatchStream for ToTheEnd {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Drop for ToTheEnd {
    fn drop(&mut self) {
        // Its jobs notice now that nobody reads them.
        self.rows = None;
        if let Some(job) = self.left.take() {
            self.unsaid.tell(job);
        }
    }
}
