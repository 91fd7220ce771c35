//! Work that belongs on the host's threads. A plan of the host may need the runtime it was made for, which a thread of this
//! library's has not; but whoever reads rows of ours is on a thread of the host's, and does the host's work meanwhile.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

/// Batches of a partition that wait to be taken.
const WAITING: usize = 2;

/// The rows of streams.
pub fn of_parts(
    schema: SchemaRef,
    parts: Vec<Arc<dyn PartitionStream>>,
    order: Option<LexOrdering>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rows = StreamingTableExec::try_new(schema, parts, None, order, false, None)?;
    Ok(Arc::new(rows))
}

/// What the reader of a plan is to do while it waits.
#[derive(Default)]
pub struct Chores {
    new: Mutex<Vec<BoxFuture<'static, ()>>>,
    reader: AtomicWaker,
}

impl fmt::Debug for Chores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chores")
    }
}

impl Chores {
    fn add(&self, chore: BoxFuture<'static, ()>) {
        self.locked().push(chore);
        self.reader.wake();
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A plan of the host for a plan of this library, whose reader drives it.
pub fn driven(
    plan: &Arc<dyn ExecutionPlan>,
    chores: &Arc<Chores>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let part = |partition| -> Arc<dyn PartitionStream> {
        Arc::new(HostPart {
            plan: Arc::clone(plan),
            partition,
            chores: Arc::clone(chores),
            schema: plan.schema(),
        })
    };
    let parts = (0..plan.output_partitioning().partition_count()).map(part);
    let order = plan.output_ordering().cloned();
    of_parts(plan.schema(), parts.collect(), order)
}

#[derive(Debug)]
struct HostPart {
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    chores: Arc<Chores>,
    schema: SchemaRef,
}

impl PartitionStream for HostPart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (plan, partition) = (Arc::clone(&self.plan), self.partition);
        let (sender, mut receiver) = mpsc::channel(WAITING);
        self.chores.add(Box::pin(async move {
            let mut rows = match plan.execute(partition, context) {
                Ok(rows) => rows,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            while let Some(batch) = rows.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        }));
        let rows = stream::poll_fn(move |context| receiver.poll_recv(context));
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        ))
    }
}

/// Rows whose reader does the chores.
pub struct Driver {
    rows: SendableRecordBatchStream,
    chores: Arc<Chores>,
    begun: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Driver {
    pub fn new(rows: SendableRecordBatchStream, chores: Arc<Chores>) -> Self {
        let begun = FuturesUnordered::new();
        Self {
            rows,
            chores,
            begun,
        }
    }
}

impl Stream for Driver {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let driver = &mut *self;
        driver.chores.reader.register(context.waker());
        driver.begun.extend(driver.chores.locked().drain(..));
        while let Poll::Ready(Some(())) = driver.begun.poll_next_unpin(context) {}
        driver.rows.poll_next_unpin(context)
    }
}
