//! The per-neuron operator: examples and neurons come in by (layer, neuron), one group at a time goes through a
//! function, rows stream out.
//!
//! Partitions hold whole neurons (the inputs are co-partitioned by key), so a model spreads over cores without
//! affecting results: each group is ordered by example id before the function sees it.
//! The function runs on the blocking pool, some groups a hop; memory is reserved before each group and a query that
//! is dropped stops after the hop it is in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
    PhysicalSortRequirement,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties,
};
use tokio::sync::mpsc::Sender;

use super::clustering::Scratch;
use super::cursor::GroupCursor;
use super::{Group, NeuronFunction, Wanted, to_batch};

/// Examples handed over in one hop to the blocking pool; a hop costs some microseconds. Chosen, not tuned.
const EXAMPLES_PER_HOP: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct PerNeuronExec {
    name: &'static str,
    function: Arc<dyn NeuronFunction>,
    wanted: Wanted,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
    weights: bool,
    examples: Arc<dyn ExecutionPlan>,
    neurons: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PerNeuronExec {
    /// `examples` begins with (layer, neuron, example), `neurons` with (layer, neuron) and, if the function reads
    /// weights, `w_in`; `schema` is the function's, of which `projection` is kept.
    pub fn try_new(
        name: &'static str,
        function: Arc<dyn NeuronFunction>,
        schema: SchemaRef,
        projection: Option<Vec<usize>>,
        examples: Arc<dyn ExecutionPlan>,
        neurons: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let wanted = Wanted::new(schema.fields().len(), projection.as_ref());
        let weights = function.inputs(&wanted).weights;
        let properties = Arc::new(properties(&schema, projection.as_ref(), &examples)?);
        Ok(Self {
            name,
            function,
            wanted,
            projection,
            schema,
            weights,
            examples,
            neurons,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

fn projected(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Result<SchemaRef> {
    Ok(match projection {
        Some(projection) => Arc::new(schema.project(projection)?),
        None => Arc::clone(schema),
    })
}

fn column(schema: &Schema, name: &str) -> Option<Arc<dyn PhysicalExpr>> {
    let index = schema.index_of(name).ok()?;
    Some(Arc::new(Column::new(name, index)))
}

/// Output is ordered by (layer, neuron) and partitioned as the examples are, as far as the columns are kept.
fn properties(
    schema: &SchemaRef,
    projection: Option<&Vec<usize>>,
    examples: &Arc<dyn ExecutionPlan>,
) -> Result<PlanProperties> {
    let schema = projected(schema, projection)?;
    let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
    let ordering = ["layer", "neuron"]
        .iter()
        .map_while(|name| column(&schema, name))
        .map(PhysicalSortExpr::new_default);
    equivalence.add_ordering(ordering);
    let partitions = examples.output_partitioning().partition_count();
    Ok(PlanProperties::new(
        equivalence,
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

fn ordering_requirement(schema: &Schema, names: &[&str]) -> Option<OrderingRequirements> {
    let required = names
        .iter()
        .filter_map(|name| column(schema, name))
        .map(|expr| PhysicalSortRequirement::from(PhysicalSortExpr::new_default(expr)));
    LexRequirement::new(required).map(OrderingRequirements::new)
}

impl DisplayAs for PerNeuronExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let columns: Vec<_> = self
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        write!(f, "PerNeuronExec: function={}, ", self.name)?;
        let options = self.function.describe();
        if !options.is_empty() {
            write!(f, "{options}, ")?;
        }
        write!(f, "columns=[{}]", columns.join(", "))
    }
}

impl ExecutionPlan for PerNeuronExec {
    fn name(&self) -> &str {
        "PerNeuronExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.examples, &self.neurons]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let keys = |plan: &Arc<dyn ExecutionPlan>| {
            let schema = plan.schema();
            ["layer", "neuron"]
                .iter()
                .filter_map(|name| column(&schema, name))
                .collect()
        };
        InputDistributionRequirements::co_partitioned(vec![
            Distribution::KeyPartitioned(keys(&self.examples)),
            Distribution::KeyPartitioned(keys(&self.neurons)),
        ])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![
            ordering_requirement(&self.examples.schema(), &["layer", "neuron", "example"]),
            ordering_requirement(&self.neurons.schema(), &["layer", "neuron"]),
        ]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(neurons), Some(examples), None) =
            (children.pop(), children.pop(), children.pop())
        else {
            return internal_err!("PerNeuronExec has two children");
        };
        Ok(Arc::new(Self::try_new(
            self.name,
            Arc::clone(&self.function),
            Arc::clone(&self.schema),
            self.projection.clone(),
            examples,
            neurons,
        )?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = ExecutionPlan::schema(self);
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&schema), 2);
        let cursor = GroupCursor::new(
            self.name,
            self.examples.execute(partition, Arc::clone(&context))?,
            self.neurons.execute(partition, Arc::clone(&context))?,
            self.weights,
        );
        let reservation = MemoryConsumer::new(format!("PerNeuronExec[{partition}]"))
            .register(context.memory_pool());
        let worker = Worker {
            name: self.name,
            function: Arc::clone(&self.function),
            wanted: self.wanted.clone(),
            projection: self.projection.clone(),
            function_schema: Arc::clone(&self.schema),
            schema,
            batch_size: context.session_config().batch_size(),
            reservation,
            metrics: Metrics::new(&self.metrics, partition),
            scratch: Scratch::default(),
            cancelled: Arc::default(),
        };
        builder.spawn(drive(worker, cursor, builder.tx()));
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

#[derive(Debug)]
struct Metrics {
    baseline: BaselineMetrics,
    groups: Count,
    examples: Count,
    distance_time: Time,
    linkage_time: Time,
}

impl Metrics {
    fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
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
async fn drive(
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
struct Worker {
    name: &'static str,
    function: Arc<dyn NeuronFunction>,
    wanted: Wanted,
    projection: Option<Vec<usize>>,
    function_schema: SchemaRef,
    schema: SchemaRef,
    batch_size: usize,
    reservation: MemoryReservation,
    metrics: Metrics,
    scratch: Scratch,
    cancelled: Arc<AtomicBool>,
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
        let batch = to_batch(&self.function_schema, columns)?;
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
