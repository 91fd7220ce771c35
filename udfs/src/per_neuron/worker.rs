//! The moving part of the operator: takes groups from the cursor, some at a time, through the function on the blocking
//! pool, and sends their rows on in order. Memory is reserved before each group, in turn with other workers where it is
//! scarce; a query that is dropped stops after the groups it is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, Time,
};
use futures::stream::FuturesOrdered;
use futures::{Future, StreamExt};
use tokio::sync::mpsc::Sender;

use super::clustering::Scratch;
use super::columns::{Column, Numbers};
use super::cursor::GroupCursor;
use super::function::BoundCall;
use super::group::Group;
use super::turns::{Share, Turns};
use crate::arrow::batches::{BoundedBatches, WIDE_BYTES};

/// Examples handed over at once to the blocking pool. Between two batches a worker waits for two threads to wake: with
/// 1024, 3 ms of work, that was a fifth of the time.
const EXAMPLES_PER_BATCH: usize = 8192;

/// What a group may hold for a partition to have one more worker than its share of the cores. While one waits for a batch,
/// or another partition is at its end, the spare one computes; large groups are worth their memory once only.
const SPARE_BYTES: usize = 4 << 20;

/// Clusters and parents of the lists of a neuron's examples that came before.
#[derive(Clone, Copy, Default)]
struct Before {
    clusters: i32,
    parents: i32,
}

#[derive(Debug)]
pub(super) struct Metrics {
    elapsed_compute: Time,
    groups: Count,
    examples: Count,
    distance_time: Time,
    linkage_time: Time,
}

impl Metrics {
    pub(super) fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        Self {
            elapsed_compute: BaselineMetrics::new(set, partition)
                .elapsed_compute()
                .clone(),
            groups: MetricBuilder::new(set).counter("groups", partition),
            examples: MetricBuilder::new(set).counter("examples", partition),
            distance_time: MetricBuilder::new(set).subset_time("distance_time", partition),
            linkage_time: MetricBuilder::new(set).subset_time("linkage_time", partition),
        }
    }
}

/// Sets the flag when the driving task is dropped, which a running batch looks at between groups and while it waits.
struct CancelOnDrop(Arc<AtomicBool>, Arc<Turns>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.wake();
    }
}

/// Collects groups into batches and sends their rows on until the input or the reader ends. While the workers compute,
/// the next batch is read. The last of the workers is the spare one. Gives the number of groups that came.
pub(super) async fn drive(
    mut idle: Vec<Worker>,
    turns: Arc<Turns>,
    mut cursor: GroupCursor,
    mut output: RowSender,
) -> Result<usize> {
    let _guard = CancelOnDrop(Arc::clone(&output.cancelled), turns);
    let mut running = FuturesOrdered::new();
    let share = idle.len() - 1;
    let call = Arc::clone(&idle[0].call);
    let limit = idle[0].scratch.limit;
    let makes_vectors = idle[0].columns.iter().any(|column| column.is_vector());
    let mut n_groups = 0;
    loop {
        let (mut groups, mut examples, mut largest, mut made) = (Vec::new(), 0, 0, 0);
        while examples < EXAMPLES_PER_BATCH
            && made < WIDE_BYTES
            && let Some(group) = cursor.next().await?
        {
            examples += group.len().max(1);
            let (n, d) = (group.len(), group.width()?);
            largest = largest.max(call.bytes(n, d, limit));
            if makes_vectors {
                made += n * d * size_of::<f32>();
            }
            groups.push(group);
        }
        n_groups += groups.len();
        let last = groups.is_empty();
        let most = share + usize::from(largest <= SPARE_BYTES);
        while (last || running.len() >= most)
            && let Some(done) = running.next().await
        {
            let (worker, batches): (Worker, Vec<RecordBatch>) = done?;
            idle.push(worker);
            if !output.send(batches).await? {
                return Ok(n_groups);
            }
        }
        if last {
            return output.flush().await.map(|_| n_groups);
        }
        let worker = idle.pop().expect("a worker came back, none is ever lost");
        running.push_back(worker.run(groups));
    }
}

/// Rows on their way out, gathered to batches of the session's size.
pub(super) struct RowSender {
    pub(super) tx: Sender<Result<RecordBatch>>,
    pub(super) gathered: BoundedBatches,
    pub(super) baseline: BaselineMetrics,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl RowSender {
    /// False when nobody reads any more.
    async fn send(&mut self, batches: Vec<RecordBatch>) -> Result<bool> {
        for batch in batches {
            self.gathered.push(batch)?;
        }
        self.send_completed().await
    }

    async fn flush(&mut self) -> Result<bool> {
        self.gathered.finish()?;
        self.send_completed().await
    }

    async fn send_completed(&mut self) -> Result<bool> {
        while let Some(batch) = self.gathered.next_whole() {
            self.baseline.record_output(batch.num_rows());
            if self.tx.send(Ok(batch)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What moves to the blocking pool and back.
pub(super) struct Worker {
    pub(super) call: Arc<BoundCall>,
    pub(super) columns: Vec<&'static Column>,
    pub(super) schema: SchemaRef,
    pub(super) pool: Arc<dyn MemoryPool>,
    pub(super) memory: Share,
    pub(super) metrics: Metrics,
    pub(super) scratch: Scratch,
}

impl Worker {
    /// Starts the work at once; the future is its end.
    fn run(mut self, groups: Vec<Group>) -> impl Future<Output = Result<(Self, Vec<RecordBatch>)>> {
        let name = self.call.name;
        let start = groups.first().map(Group::place).unwrap_or_default();
        let task = tokio::task::spawn_blocking(move || -> Result<(Self, Vec<RecordBatch>)> {
            let mut batches = Vec::with_capacity(groups.len());
            'groups: for group in groups {
                group.require_ids()?;
                if !self.call.concerns(&group)? {
                    self.count(&group);
                    continue;
                }
                // Clusters of a neuron are numbered through its lists of examples.
                let mut before = Before::default();
                for group in group.by_sign()? {
                    if self.scratch.cancelled.load(Ordering::Relaxed) || !self.reserve(&group)? {
                        break 'groups;
                    }
                    batches.push(self.group(&group, &mut before)?);
                }
            }
            // Its next batch may be long in coming, and others may wait for the memory.
            self.give_back();
            Ok((self, batches))
        });
        async move {
            match task.await {
                Ok(done) => done,
                Err(error) if error.is_panic() => {
                    internal_err!("{name}: the computation panicked at or after {start}")
                }
                Err(error) => Err(DataFusionError::ExecutionJoin(Box::new(error))),
            }
        }
    }

    fn give_back(&mut self) {
        self.scratch.clear();
        self.memory.give_back();
    }

    /// Reserves what the function will hold for a group, beside what its buffers hold of larger ones before; where that
    /// does not fit waits for other workers. False where the query was dropped meanwhile.
    fn reserve(&mut self, group: &Group) -> Result<bool> {
        let (n, d) = (group.len(), group.width()?);
        let needed = self.call.bytes(n, d, self.scratch.limit);
        if needed == 0 || self.memory.grow(needed) {
            return Ok(true);
        }
        self.give_back();
        if let Ok(taken) = self.memory.wait(needed, &self.scratch.cancelled) {
            return Ok(taken);
        }
        let allowed = match self.scratch.limit {
            usize::MAX => "fewer allowed".to_string(),
            bytes => format!("{bytes} allowed"),
        };
        let advice = self.call.advice(n, d, self.scratch.limit);
        Err(DataFusionError::ResourcesExhausted(format!(
            "{}: {needed} bytes are needed for the {n} examples of {}{}, got {allowed}, of which {} are held already",
            self.call.name,
            group.place(),
            advice.map_or_else(String::new, |advice| format!(" ({advice})")),
            self.pool.reserved(),
        )))
    }

    fn group(&mut self, group: &Group, before: &mut Before) -> Result<RecordBatch> {
        let timer = self.metrics.elapsed_compute.timer();
        let mut made = self.call.rows(group, &self.columns, &mut self.scratch)?;
        for (column, values) in self.columns.iter().zip(&mut made.columns) {
            let first = match column.numbers {
                Some(Numbers::Clusters) => before.clusters,
                Some(Numbers::Parents) => before.parents,
                None => 0,
            };
            if first > 0 {
                let numbers = values.as_primitive::<Int32Type>();
                *values = Arc::new(numbers.unary::<_, Int32Type>(|number| number + first));
            }
        }
        before.clusters += made.n_clusters as i32;
        before.parents += made.n_parents as i32;
        let rows = RecordBatchOptions::new().with_row_count(Some(made.n_rows));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, made.columns, &rows)?;
        timer.done();
        self.count(group);
        let (distances, linkage) = (
            std::mem::take(&mut self.scratch.distance_time),
            std::mem::take(&mut self.scratch.linkage_time),
        );
        self.metrics.distance_time.add_duration(distances);
        self.metrics.linkage_time.add_duration(linkage);
        Ok(batch)
    }

    fn count(&self, group: &Group) {
        self.metrics.groups.add(1);
        self.metrics.examples.add(group.len());
    }
}
