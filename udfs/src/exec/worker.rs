//! The moving part of the operator: takes groups from the cursor, some at a time, through the function on the blocking
//! pool, and sends their rows on. Memory is reserved before each group; a query that is dropped stops after the group
//! it is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, Time,
};
use tokio::sync::mpsc::Sender;

use super::clustering::Scratch;
use super::cursor::GroupCursor;
use super::{Group, NeuronFunction, Wanted};

/// Examples handed over in one hop to the blocking pool; a hop costs some microseconds. Chosen, not tuned.
const EXAMPLES_PER_HOP: usize = 1024;

#[derive(Debug)]
pub(super) struct Metrics {
    baseline: BaselineMetrics,
    groups: Count,
    examples: Count,
    distance_time: Time,
    linkage_time: Time,
}

impl Metrics {
    pub(super) fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        Self {
            baseline: BaselineMetrics::new(set, partition),
            groups: MetricBuilder::new(set).counter("groups", partition),
            examples: MetricBuilder::new(set).counter("examples", partition),
            distance_time: MetricBuilder::new(set).subset_time("distance_time", partition),
            linkage_time: MetricBuilder::new(set).subset_time("linkage_time", partition),
        }
    }
}

/// Sets the flag when the driving task is dropped, which a running hop looks at between groups.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Collects groups into hops and sends the rows on until the input or the reader ends.
pub(super) async fn drive(
    mut worker: Worker,
    mut cursor: GroupCursor,
    tx: Sender<Result<RecordBatch>>,
) -> Result<()> {
    let _guard = CancelOnDrop(Arc::clone(&worker.cancelled));
    let mut pending = Vec::new();
    let mut pending_rows = 0;
    loop {
        let (mut hop, mut examples) = (Vec::new(), 0);
        while examples < EXAMPLES_PER_HOP
            && let Some(group) = cursor.next().await?
        {
            examples += group.len().max(1);
            hop.push(group);
        }
        let last = hop.is_empty();
        if !last {
            let batches;
            (worker, batches) = worker.hop(hop).await?;
            pending_rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            pending.extend(batches);
        }
        if pending_rows >= worker.batch_size || (last && pending_rows > 0) {
            let whole = concat_batches(&worker.schema, &pending)?;
            pending.clear();
            pending_rows = 0;
            for start in (0..whole.num_rows()).step_by(worker.batch_size.max(1)) {
                let rows = worker.batch_size.max(1).min(whole.num_rows() - start);
                worker.metrics.baseline.record_output(rows);
                if tx.send(Ok(whole.slice(start, rows))).await.is_err() {
                    return Ok(());
                }
            }
        }
        if last {
            return Ok(());
        }
    }
}

/// What moves to the blocking pool and back.
pub(super) struct Worker {
    pub(super) name: &'static str,
    pub(super) function: Arc<dyn NeuronFunction>,
    pub(super) wanted: Wanted,
    pub(super) projection: Option<Vec<usize>>,
    pub(super) function_schema: SchemaRef,
    pub(super) schema: SchemaRef,
    pub(super) batch_size: usize,
    pub(super) reservation: MemoryReservation,
    pub(super) metrics: Metrics,
    pub(super) scratch: Scratch,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Worker {
    async fn hop(mut self, groups: Vec<Group>) -> Result<(Self, Vec<RecordBatch>)> {
        let name = self.name;
        let first = groups.first().map(Group::place).unwrap_or_default();
        let run = move || -> Result<(Self, Vec<RecordBatch>)> {
            let mut batches = Vec::with_capacity(groups.len());
            for group in &groups {
                if self.cancelled.load(Ordering::Relaxed) {
                    break;
                }
                batches.push(self.group(group)?);
            }
            Ok((self, batches))
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => {
                internal_err!("{name}: the computation panicked at or after {first}")
            }
            Err(error) => Err(DataFusionError::ExecutionJoin(Box::new(error))),
        }
    }

    fn group(&mut self, group: &Group) -> Result<RecordBatch> {
        group.require_ids()?;
        let (n, d) = (group.len(), width(group));
        let needed = self.function.bytes(n, d);
        self.reservation.try_resize(needed).map_err(|error| {
            DataFusionError::ResourcesExhausted(format!(
                "{}: {needed} bytes are needed for the {n} examples of {}, got {}",
                self.name,
                group.place(),
                error.strip_backtrace()
            ))
        })?;
        let timer = self.metrics.baseline.elapsed_compute().timer();
        let columns = self.function.rows(group, &self.wanted, &mut self.scratch)?;
        let batch = RecordBatch::try_new(Arc::clone(&self.function_schema), columns)?;
        timer.done();
        self.metrics.groups.add(1);
        self.metrics.examples.add(n);
        self.metrics
            .distance_time
            .add_duration(std::mem::take(&mut self.scratch.distance_time));
        self.metrics
            .linkage_time
            .add_duration(std::mem::take(&mut self.scratch.linkage_time));
        match &self.projection {
            Some(projection) => Ok(batch.project(projection)?),
            None => Ok(batch),
        }
    }
}

/// Width of the group's vectors, zero where none are read.
fn width(group: &Group) -> usize {
    if let Some(weights) = &group.weights {
        return weights.len();
    }
    let Some(column) = group
        .examples
        .column_by_name("pre_mlp")
        .filter(|c| !c.is_empty())
    else {
        return 0;
    };
    match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value_length(0) as usize,
        DataType::LargeList(_) => column.as_list::<i64>().value_length(0) as usize,
        DataType::FixedSizeList(_, width) => *width as usize,
        _ => 0,
    }
}
