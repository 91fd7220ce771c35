//! The partitions of a plan one after the other. All of them work at once: what comes before its turn waits in memory, as far
//! as there is some, so that who computes for long has every core and who looks for rare rows too.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::{Stream, StreamExt, stream};
use polysema_udfs::arrow::inputs::only_input;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Most bytes of rows of one query that wait for their turn: chosen, not tuned.
const MOST_WAITING: usize = 256 << 20;
/// The part of limited memory that they may take.
const SHARE_WAITING: usize = 8;

/// The rows of the partitions of its input, one partition after the other.
#[derive(Debug)]
pub(super) struct InOrderExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl InOrderExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = input.properties().as_ref().clone();
        let properties = properties.with_partitioning(Partitioning::UnknownPartitioning(1));
        Self {
            input,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for InOrderExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("InOrderExec")
    }
}

impl ExecutionPlan for InOrderExec {
    fn name(&self) -> &str {
        "InOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
        if partition != 0 {
            return internal_err!("InOrderExec has one partition, got {partition}");
        }
        let room = Arc::new(Room::of(context.memory_pool()));
        let partitions = self.input.output_partitioning().partition_count();
        let streams = (0..partitions).map(|i| {
            let rows = self.input.execute(i, Arc::clone(&context))?;
            Ok(ahead(rows, Arc::clone(&room)))
        });
        let streams = streams.collect::<Result<Vec<_>>>()?;
        let rows = stream::iter(streams).flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// What all partitions together may let wait.
struct Room {
    bytes: Arc<Semaphore>,
    most: usize,
    memory: MemoryReservation,
}

/// Where a batch waits; free again when the batch is taken.
struct Place(
    #[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "it is given back when it is dropped")] Option<MemoryReservation>,
);

impl Room {
    fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        let most = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => MOST_WAITING.min(limit / SHARE_WAITING),
            _ => MOST_WAITING,
        };
        Self {
            bytes: Arc::new(Semaphore::new(most)),
            most,
            memory: MemoryConsumer::new("rows that wait for their turn").register(pool),
        }
    }

    /// A place for so many bytes, once there is one; none where there never is, or the pool has no memory.
    async fn place(&self, bytes: usize) -> Option<Place> {
        let permits = u32::try_from(bytes).ok().filter(|_| bytes <= self.most)?;
        let permit = Arc::clone(&self.bytes).acquire_many_owned(permits).await;
        let memory = self.memory.new_empty();
        memory.try_grow(bytes).ok()?;
        Some(Place(permit.ok()?, Some(memory)))
    }
}

/// A partition that works before its turn. One batch of it waits whatever there is of room, so that every partition goes on
/// when its turn comes.
fn ahead(
    mut rows: SendableRecordBatchStream,
    room: Arc<Room>,
) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
    let (sender, receiver) = mpsc::unbounded_channel();
    // It ends the work when it is dropped, and tells of its panic.
    let mut work = RecordBatchReceiverStream::builder(rows.schema(), 1);
    work.spawn(async move {
        let first = Arc::new(Semaphore::new(1));
        while let Some(batch) = rows.next().await {
            let bytes = batch.as_ref().map_or(0, get_record_batch_memory_size);
            let one = async {
                let permit = Arc::clone(&first).acquire_owned().await;
                Some(Place(permit.ok()?, None))
            };
            let place = tokio::select! {
                biased;
                place = one => place,
                Some(place) = room.place(bytes) => Some(place),
                () = sender.closed() => None,
            };
            // Nobody reads any more.
            let failed = batch.is_err();
            if place.is_none() || sender.send((batch, place)).is_err() || failed {
                break;
            }
        }
        Ok(())
    });
    let waiting = stream::unfold(receiver, |mut receiver| async move {
        let (batch, place): (Result<RecordBatch>, Option<Place>) = receiver.recv().await?;
        drop(place);
        Some((batch, receiver))
    });
    // Nothing comes from it but what went wrong.
    waiting.chain(work.build())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
    use futures::TryStreamExt;

    use super::*;

    /// Rows of each partition, one a batch.
    const ROWS: i64 = 40;
    /// Bytes of a batch.
    const BATCH: usize = 8;

    /// A partition that begins when `after` says so, and says how many batches it has given.
    #[derive(Debug)]
    struct Numbers {
        first: i64,
        given: Arc<Semaphore>,
        after: (Arc<Semaphore>, u32),
        schema: SchemaRef,
    }

    impl PartitionStream for Numbers {
        fn schema(&self) -> &SchemaRef {
            &self.schema
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let (after, n) = self.after.clone();
            let (given, schema, first) = (
                Arc::clone(&self.given),
                Arc::clone(&self.schema),
                self.first,
            );
            let begun = async move {
                let _all = after.acquire_many(n).await;
                stream::iter(first..first + ROWS)
            };
            let batches = stream::once(begun).flatten().map(move |number| {
                given.add_permits(1);
                let numbers = Arc::new(Int64Array::from(vec![number]));
                Ok(RecordBatch::try_new(Arc::clone(&schema), vec![numbers])?)
            });
            let schema = Arc::clone(&self.schema);
            Box::pin(RecordBatchStreamAdapter::new(schema, batches))
        }
    }

    /// The rows of two partitions, the first of which begins when the second has given `ahead` batches.
    async fn rows(memory: usize, ahead: u32) -> Result<(Vec<i64>, usize)> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let given = [Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0))];
        let partition = |i: usize, after: (Arc<Semaphore>, u32)| -> Arc<dyn PartitionStream> {
            Arc::new(Numbers {
                first: i as i64 * ROWS,
                given: Arc::clone(&given[i]),
                after,
                schema: Arc::clone(&schema),
            })
        };
        let partitions = vec![
            partition(0, (Arc::clone(&given[1]), ahead)),
            partition(1, (Arc::new(Semaphore::new(0)), 0)),
        ];
        let input =
            StreamingTableExec::try_new(Arc::clone(&schema), partitions, None, [], false, None)?;
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(memory));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(&pool));
        let context = TaskContext::default().with_runtime(runtime.build_arc()?);
        let plan = InOrderExec::new(Arc::new(input));
        let batches = plan.execute(0, Arc::new(context))?.try_collect::<Vec<_>>();
        let batches = tokio::time::timeout(Duration::from_secs(60), batches).await;
        let batches = batches.expect("no partition waits for ever")?;
        let numbers = batches
            .iter()
            .map(|batch| batch.column(0).as_primitive::<Int64Type>());
        let numbers = numbers
            .flat_map(|numbers| numbers.values().to_vec())
            .collect();
        Ok((numbers, pool.reserved()))
    }

    #[tokio::test]
    async fn a_partition_works_before_its_turn() -> Result<()> {
        let all: Vec<i64> = (0..2 * ROWS).collect();
        assert_eq!(rows(1 << 20, ROWS as u32).await?, (all, 0));
        Ok(())
    }

    #[tokio::test]
    async fn where_memory_is_short_few_rows_wait() -> Result<()> {
        let all: Vec<i64> = (0..2 * ROWS).collect();
        for (memory, ahead) in [(0, 1), (BATCH, 1), (4 * SHARE_WAITING * BATCH, 5)] {
            assert_eq!(
                rows(memory, ahead).await?,
                (all.clone(), 0),
                "{memory} bytes"
            );
        }
        Ok(())
    }
}
