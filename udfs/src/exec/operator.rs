//! The per-neuron operator: examples and neurons come in by (layer, neuron), one group at a time goes through a
//! function, rows stream out.
//!
//! Partitions hold whole neurons (the inputs are co-partitioned by key), so a model spreads over cores without
//! affecting results: each group is ordered by example id before the function sees it.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
    PhysicalSortRequirement,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties,
};

use super::clustering::Scratch;
use super::cursor::GroupCursor;
use super::worker::{Metrics, Output, Worker, drive};
use super::{NeuronFunction, Wanted};

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

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Ranges of neurons that already lie apart are worth more than an even shuffle, and one partition is spread
        // over the cores here, in its order.
        vec![false, false]
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
        let config = context.session_config();
        let output = Output {
            tx: builder.tx(),
            schema,
            batch_size: config.batch_size().max(1),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            cancelled: Arc::default(),
            pending: vec![],
        };
        let partitions = self.properties.output_partitioning().partition_count();
        let workers = (config.target_partitions() / partitions.max(1)).max(1);
        let workers = (0..workers)
            .map(|_| Worker {
                name: self.name,
                function: Arc::clone(&self.function),
                wanted: self.wanted.clone(),
                projection: self.projection.clone(),
                function_schema: Arc::clone(&self.schema),
                reservation: MemoryConsumer::new(format!("PerNeuronExec[{partition}]"))
                    .register(context.memory_pool()),
                pool: Arc::clone(context.memory_pool()),
                metrics: Metrics::new(&self.metrics, partition),
                scratch: Scratch::default(),
                cancelled: Arc::clone(&output.cancelled),
            })
            .collect();
        builder.spawn(drive(workers, cursor, output));
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
