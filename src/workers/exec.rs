//! The node whose rows workers make, a range of neurons at a time, and the same node where a part of a plan stays.
//!
//! The rows of a range wait here until all of it has come: a worker that is lost before takes nothing with it that another
//! one could not make again. Where a range is too large to wait, its rows are handed on, and its worker may not be lost.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::exec_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use polysema_udfs::arrow::inputs::only_input;
use polysema_udfs::per_neuron::NeuronCheck;
use tokio::sync::mpsc::Sender;

use super::codec::PlanCodec;
use super::loss::{cause, is_lost};
use super::pool::{WorkerPlace, Workers};
use super::{fetch, nodes, told};

/// Most bytes of a range that wait for its end. Chosen, not tuned.
const MOST_WAITING: usize = 64 << 20;
/// How often a range is asked of another worker.
const RETRIES: usize = 2;

/// See the module.
#[derive(Debug)]
pub struct WorkersExec {
    /// What is done, all of it.
    input: Arc<dyn ExecutionPlan>,
    place: Place,
    metrics: ExecutionPlanMetricsSet,
}

/// Where it is done.
#[derive(Clone)]
enum Place {
    /// By workers.
    Workers(Arc<Workers>, PlanCodec),
    /// By who asks, and why.
    Here(String),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Workers(workers, _) => write!(f, "{} workers", workers.len()),
            Self::Here(why) => write!(f, "here: {why}"),
        }
    }
}

impl WorkersExec {
    /// The ranges of a plan, each done by a worker.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        workers: Arc<Workers>,
        codec: PlanCodec,
    ) -> Self {
        Self::of(input, Place::Workers(workers, codec))
    }

    /// A plan that stays.
    pub(super) fn here(input: Arc<dyn ExecutionPlan>, why: String) -> Self {
        Self::of(input, Place::Here(why))
    }

    fn of(input: Arc<dyn ExecutionPlan>, place: Place) -> Self {
        Self {
            input,
            place,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for WorkersExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.place {
            Place::Workers(workers, _) => {
                let ranges = self.input.output_partitioning().partition_count();
                write!(f, "WorkersExec: workers={}, ranges={ranges}", workers.len())
            }
            Place::Here(why) => write!(f, "WorkersExec: done here, {why}"),
        }
    }
}

impl ExecutionPlan for WorkersExec {
    fn name(&self) -> &str {
        "WorkersExec"
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
        Ok(Arc::new(Self::of(input, self.place.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Place::Workers(workers, codec) = &self.place else {
            return self.input.execute(partition, context);
        };
        let plan = nodes::range_of(&self.input, partition)?;
        let is_told = told::is_told(&plan)?;
        let (codec, workers) = (codec.clone(), Arc::clone(workers));
        let checks = nodes::checks(&self.input);
        let redone = MetricBuilder::new(&self.metrics).counter("ranges_redone", partition);
        let (schema, metrics) = (
            self.schema(),
            BaselineMetrics::new(&self.metrics, partition),
        );
        let begin = move || -> Result<SendableRecordBatchStream> {
            let (plan, checks) = match is_told {
                true => (told::narrowed(&plan, true)?, vec![]),
                false => (plan, checks),
            };
            if is_told && told::is_empty(&plan)? {
                return Ok(Box::pin(EmptyRecordBatchStream::new(plan.schema())));
            }
            let mut builder = RecordBatchReceiverStream::builder(plan.schema(), 2);
            let transport = fetch::transport(&context, &codec);
            let range = Range {
                range: partition,
                plan: fetch::bytes(plan, &transport)?,
                workers,
                checks,
                transport,
                redone,
                context,
            };
            let to = builder.tx();
            builder.spawn(async move { range.run(&RowsOut { to, metrics }).await });
            Ok(builder.build())
        };
        if !is_told {
            return begin();
        }
        // A join asks for a first row when it knows its keys.
        let rows = stream::once(async move { begin() }).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Where the rows of a range go.
struct RowsOut {
    to: Sender<Result<RecordBatch>>,
    metrics: BaselineMetrics,
}

impl RowsOut {
    /// Whether somebody still reads.
    async fn send(&self, batch: RecordBatch) -> bool {
        self.metrics.record_output(batch.num_rows());
        self.to.send(Ok(batch)).await.is_ok()
    }
}

/// A range on its way.
struct Range {
    /// Its number.
    range: usize,
    plan: Vec<u8>,
    workers: Arc<Workers>,
    /// Asked where no row comes: they read tables that are here.
    checks: Vec<NeuronCheck>,
    transport: Arc<TaskContext>,
    redone: Count,
    context: Arc<TaskContext>,
}

/// How asking a worker ended.
enum Ended {
    /// All rows have come, or nobody reads them.
    Well,
    /// The worker was lost, for this reason; whether rows of it were handed on.
    Lost(String, bool),
}

impl Range {
    async fn run(&self, out: &RowsOut) -> Result<()> {
        let (mut tried, mut reasons) = (vec![], vec![]);
        loop {
            let place = self.workers.place(self.range, &tried).await?;
            let i = place.worker;
            let worker = self.workers.worker(i);
            let (why, handed_on) = match self.ask(place, out).await? {
                Ended::Well => return Ok(()),
                Ended::Lost(why, handed_on) => (why, handed_on),
            };
            worker.set_lost();
            let url = &worker.url;
            if handed_on {
                return exec_err!(
                    "worker {url} was lost when rows of it were read already, so that they cannot be asked of another: {why}"
                );
            }
            tried.push(i);
            reasons.push(format!("{url} ({why})"));
            if tried.len() > RETRIES || tried.len() == self.workers.len() {
                return exec_err!(
                    "a range of neurons was asked of {} and every one was lost",
                    reasons.join(", ")
                );
            }
            self.redone.add(1);
        }
    }

    async fn ask(&self, place: WorkerPlace, out: &RowsOut) -> Result<Ended> {
        let worker = self.workers.worker(place.worker);
        let settings = self.context.session_config();
        let begun = fetch::begin(worker, self.plan.clone(), settings, &self.transport);
        let mut fetched = match begun.await {
            Ok(fetched) => fetched,
            Err(error) if is_lost(&error) => {
                return Ok(Ended::Lost(cause(&error), false));
            }
            Err(error) => return Err(error),
        };
        let pool = self.context.memory_pool();
        let memory = MemoryConsumer::new("rows of a worker").register(pool);
        let (mut waiting, mut bytes, mut place, mut n_rows) = (vec![], 0, Some(place), 0);
        while let Some(batch) = fetched.rows.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) if is_lost(&error) => {
                    return Ok(Ended::Lost(cause(&error), place.is_none()));
                }
                Err(error) => {
                    // A neuron that is not there says more than what its rows then lack.
                    if n_rows == 0 {
                        self.check().await?;
                    }
                    return Err(error);
                }
            };
            n_rows += batch.num_rows();
            let size = get_record_batch_memory_size(&batch);
            let fits = bytes + size <= MOST_WAITING && memory.try_grow(size).is_ok();
            if place.is_some() && fits {
                bytes += size;
                waiting.push(batch);
                continue;
            }
            // Who reads these slowly keeps no other range from the worker.
            place = None;
            for waited in waiting.drain(..) {
                if !out.send(waited).await {
                    return Ok(Ended::Well);
                }
            }
            memory.free();
            if !out.send(batch).await {
                return Ok(Ended::Well);
            }
        }
        drop((fetched, place));
        if n_rows == 0 {
            self.check().await?;
        }
        for batch in waiting {
            if !out.send(batch).await {
                break;
            }
        }
        Ok(Ended::Well)
    }

    async fn check(&self) -> Result<()> {
        for check in &self.checks {
            check.require(Arc::clone(&self.context)).await?;
        }
        Ok(())
    }
}
