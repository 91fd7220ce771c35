//! Rows for a join that compares each of them with all of its other side, and gives its worker back only between two
//! batches: few at a time where that takes long.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use polysema_udfs::arrow::inputs::only_input;

/// How long a join may work on a batch before others have their turn. Chosen, not tuned.
const TURN: Duration = Duration::from_millis(5);
/// Rows of the first batch, whose size doubles from there: the other side may have millions.
const FIRST: usize = 1;

/// The rows of its input, in batches on which the operator above works about a [`TURN`].
#[derive(Debug)]
pub(super) struct ProbeStepsExec {
    input: Arc<dyn ExecutionPlan>,
}

impl ProbeStepsExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input }
    }
}

impl DisplayAs for ProbeStepsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("ProbeStepsExec")
    }
}

impl ExecutionPlan for ProbeStepsExec {
    fn name(&self) -> &str {
        "ProbeStepsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_input(self.name(), children)?;
        Ok(Arc::new(Self::new(input)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        Ok(Box::pin(ProbeSteps {
            rest: RecordBatch::new_empty(rows.schema()),
            rows,
            size: FIRST,
            given: None,
        }))
    }
}

struct ProbeSteps {
    rows: SendableRecordBatchStream,
    /// What is left of the input's last batch.
    rest: RecordBatch,
    /// Rows of the next batch.
    size: usize,
    /// When the last batch was given away, until it is known how long was worked on it.
    given: Option<Instant>,
}

impl Stream for ProbeSteps {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(worked) = self.given.take().map(|given| given.elapsed()) {
            self.size = resized(self.size, worked);
            if worked >= TURN {
                // To be asked again, behind those who wait.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        while self.rest.num_rows() == 0 {
            match ready!(self.rows.poll_next_unpin(cx)) {
                Some(Ok(batch)) => self.rest = batch,
                ended => return Poll::Ready(ended),
            }
        }
        let n = self.size.min(self.rest.num_rows());
        let step = self.rest.slice(0, n);
        self.rest = self.rest.slice(n, self.rest.num_rows() - n);
        self.given = Some(Instant::now());
        Poll::Ready(Some(Ok(step)))
    }
}

impl RecordBatchStream for ProbeSteps {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

/// Rows of the batch after one of `size` rows that was worked on for so long.
fn resized(size: usize, worked: Duration) -> usize {
    match worked < TURN {
        true => size.saturating_mul(2),
        false => {
            let turns = (worked.as_micros() / TURN.as_micros()).max(1);
            (size / usize::try_from(turns).unwrap_or(usize::MAX)).max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn every_row_comes_once_in_steps_as_long_as_the_work_on_them() {
        let batch = |from: i64| {
            let values = Int64Array::from_iter_values(from..from + 1000);
            RecordBatch::try_from_iter([("a", Arc::new(values) as _)]).expect("a column")
        };
        let (schema, batches) = (batch(0).schema(), [0, 1000].map(|from| Ok(batch(from))));
        let mut steps = ProbeSteps {
            rest: RecordBatch::new_empty(Arc::clone(&schema)),
            rows: Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches))),
            size: 64,
            given: None,
        };
        let (mut seen, mut sizes) = (vec![], vec![]);
        while let Some(step) = steps.next().await {
            let step = step.expect("rows");
            seen.extend_from_slice(step.column(0).as_primitive::<Int64Type>().values());
            sizes.push(step.num_rows());
            // Long work on the first step alone.
            if sizes.len() == 1 {
                std::thread::sleep(4 * TURN);
            }
        }
        assert_eq!(seen, (0..2000).collect::<Vec<i64>>());
        assert_eq!(sizes[0], 64);
        assert!(sizes[1] <= 16, "{sizes:?}");
        assert!(sizes.iter().any(|size| *size > 64), "{sizes:?}");
        assert_eq!(resized(1, 100 * TURN), 1);
    }
}
