//! Readers that leave before the end of a job, as `LIMIT 1` and `| head` do: the job is cancelled, and its statement says so.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::Stream;

/// Told by the jobs of a statement, an extension of its configuration.
#[derive(Debug, Default)]
pub struct Left(Mutex<Option<String>>);

impl Left {
    /// The reader of this function's rows has left.
    pub(super) fn tell(&self, function: &str) {
        self.say(format!(
            "{function}: a reader of all its rows is required, got one that left; the job was cancelled and nothing \
             was kept ({{detach: true}} lets it go on without a reader)"
        ));
    }

    fn say(&self, message: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    /// What is to be said, once.
    pub fn take(&self) -> Option<String> {
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
        left,
        unsaid,
    })
}

struct ToTheEnd {
    schema: SchemaRef,
    rows: Option<SendableRecordBatchStream>,
    left: Arc<Left>,
    unsaid: Arc<Left>,
}

impl Stream for ToTheEnd {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = &mut self.rows else {
            return Poll::Ready(None);
        };
        match rows.as_mut().poll_next(cx) {
            Poll::Ready(None) => {
                self.rows = None;
                let left = self.left.take();
                Poll::Ready(left.map(|message| Err(DataFusionError::Execution(message))))
            }
            other => other,
        }
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
        if let Some(message) = self.left.take() {
            self.unsaid.say(message);
        }
    }
}
