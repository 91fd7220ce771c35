//! The per-neuron operator: examples and neurons come in by (layer, neuron), one group at a time goes through a
//! function, rows stream out.
//!
//! Partitions hold whole neurons (the inputs are co-partitioned by key), so a model spreads over cores without
//! affecting results: each group is ordered by example id before the function sees it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err, project_schema};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
    PhysicalSortRequirement,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildFilterPushdownResult, ChildPushdownResult, FilterDescription,
    FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties, Statistics,
};
use futures::{StreamExt, stream};

use super::clustering::Scratch;
use super::cursor::GroupCursor;
use super::function::BoundCall;
use super::inputs::InputColumns;
use super::neuron_check::NeuronCheck;
use super::rows::Each;
use super::turns::{Share, Turns};
use super::worker::{Metrics, RowSender, Worker, drive};
use crate::arrow::batches::BoundedBatches;
use crate::arrow::key_filter::KeyFilter;

/// See the module.
#[derive(Debug)]
pub struct PerNeuronExec {
    call: Arc<BoundCall>,
    projection: Option<Vec<usize>>,
    inputs: InputColumns,
    examples: Arc<dyn ExecutionPlan>,
    neurons: Arc<dyn ExecutionPlan>,
    /// Neurons that are wanted, as far as the inputs do not say it.
    keys: Option<KeyFilter>,
    /// What must be there if no neuron comes.
    check: Option<NeuronCheck>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PerNeuronExec {
    /// `examples` begins with (layer, neuron, example), `neurons` with (layer, neuron) and, if the function reads
    /// weights, `w_in`; of the function's columns `projection` is kept.
    pub fn try_new(
        call: Arc<BoundCall>,
        projection: Option<Vec<usize>>,
        examples: Arc<dyn ExecutionPlan>,
        neurons: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let inputs = call.inputs(&call.columns(projection.as_ref()));
        let schema = project_schema(&call.function.schema(), projection.as_ref())?;
        let properties = Arc::new(properties(schema, &examples));
        Ok(Self {
            call,
            projection,
            inputs,
            examples,
            neurons,
            keys: None,
            check: None,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same operator, which refuses to find nothing where something must be there.
    pub fn with_check(self, check: Option<NeuronCheck>) -> Self {
        Self { check, ..self }
    }

    /// The call whose rows it makes.
    pub fn call(&self) -> &BoundCall {
        &self.call
    }

    /// The columns of the function that it makes; all of them where there is none.
    pub fn projection(&self) -> Option<&Vec<usize>> {
        self.projection.as_ref()
    }

    /// The neurons that are wanted, as far as the inputs do not say it.
    pub fn keys(&self) -> Option<&KeyFilter> {
        self.keys.as_ref()
    }

    /// The same operator for these neurons only.
    pub fn with_keys(self, keys: Option<KeyFilter>) -> Self {
        Self { keys, ..self }
    }

    /// What must be there if no neuron comes.
    pub fn check(&self) -> Option<&NeuronCheck> {
        self.check.as_ref()
    }

    /// The same operator over other inputs and for other keys.
    fn with(
        &self,
        examples: Arc<dyn ExecutionPlan>,
        neurons: Arc<dyn ExecutionPlan>,
        keys: Option<KeyFilter>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let operator = Self::try_new(
            Arc::clone(&self.call),
            self.projection.clone(),
            examples,
            neurons,
        )?;
        let check = self.check.clone();
        Ok(Arc::new(Self {
            keys,
            check,
            ..operator
        }))
    }
}

fn column(schema: &Schema, name: &str) -> Option<Arc<dyn PhysicalExpr>> {
    let index = schema.index_of(name).ok()?;
    Some(Arc::new(Column::new(name, index)))
}

/// Output is ordered by (layer, neuron) and partitioned as the examples are, as far as the columns are kept.
fn properties(schema: SchemaRef, examples: &Arc<dyn ExecutionPlan>) -> PlanProperties {
    let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
    let ordering = ["layer", "neuron"]
        .iter()
        .map_while(|name| column(&schema, name))
        .map(PhysicalSortExpr::new_default);
    equivalence.add_ordering(ordering);
    let partitions = examples.output_partitioning().partition_count();
    PlanProperties::new(
        equivalence,
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
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
        write!(f, "PerNeuronExec: function={}, ", self.call.name)?;
        let options = self.call.describe();
        if !options.is_empty() {
            write!(f, "{options}, ")?;
        }
        write!(f, "columns=[{}]", columns.join(", "))?;
        match &self.keys {
            Some(keys) => write!(f, ", predicate={keys}"),
            None => Ok(()),
        }
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
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.keys {
            Some(keys) => visit(keys.predicate()),
            None => Ok(TreeNodeRecursion::Continue),
        }
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
        self.with(examples, neurons, self.keys.clone())
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        // Only a filter on the key leaves a neuron's examples together.
        let schema = ExecutionPlan::schema(self);
        let keys = ["layer", "neuron"].iter();
        let keys: HashSet<_> = keys.filter_map(|key| schema.index_of(key).ok()).collect();
        let mut description = FilterDescription::new();
        for child in self.children() {
            let child = ChildFilterDescription::from_child_with_allowed_indices(
                &filters,
                keys.clone(),
                child,
            )?;
            description = description.with_child(child);
        }
        Ok(description)
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let schema = ExecutionPlan::schema(self);
        let (mut answers, mut fitting) = (Vec::new(), Vec::new());
        for ChildFilterPushdownResult { filter, .. } in result.parent_filters {
            // What the inputs let through is tested again, whatever they say.
            answers.push(match KeyFilter::fits(&filter, &schema) {
                true => PushedDown::Yes,
                false => PushedDown::No,
            });
            fitting.extend(KeyFilter::fits(&filter, &schema).then_some(filter));
        }
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(answers);
        if fitting.is_empty() {
            return Ok(answer);
        }
        let keys = KeyFilter::and(self.keys.as_ref(), fitting)?;
        let (examples, neurons) = (Arc::clone(&self.examples), Arc::clone(&self.neurons));
        Ok(answer.with_updated_node(self.with(examples, neurons, Some(keys))?))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition); 2]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let [examples, neurons] = inputs else {
            return internal_err!("PerNeuronExec has two children");
        };
        let rows = match self.call.function.each {
            Each::Neuron => neurons.num_rows,
            _ => examples.num_rows,
        };
        let unknown = Statistics::new_unknown(&ExecutionPlan::schema(self));
        Ok(Arc::new(unknown.with_num_rows(rows.to_inexact())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = ExecutionPlan::schema(self);
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&schema), 2);
        let cursor = GroupCursor::new(
            self.call.name,
            self.examples.execute(partition, Arc::clone(&context))?,
            self.neurons.execute(partition, Arc::clone(&context))?,
            self.inputs.clone(),
            self.keys.clone(),
        );
        let config = context.session_config();
        let output = RowSender {
            tx: builder.tx(),
            gathered: BoundedBatches::new(Arc::clone(&schema), config.batch_size().max(1), false),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            cancelled: Arc::default(),
        };
        let partitions = self.properties.output_partitioning().partition_count();
        let share = (config.target_partitions() / partitions.max(1)).max(1);
        let turns = Turns::of(context.memory_pool());
        let limit = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        };
        let workers = (0..share + 1)
            .map(|_| Worker {
                call: Arc::clone(&self.call),
                columns: self.call.columns(self.projection.as_ref()),
                schema: Arc::clone(&schema),
                memory: Share::new(
                    Arc::clone(&turns),
                    MemoryConsumer::new(format!("PerNeuronExec[{partition}]"))
                        .register(context.memory_pool()),
                ),
                pool: Arc::clone(context.memory_pool()),
                metrics: Metrics::new(&self.metrics, partition),
                scratch: Scratch::new(limit, Arc::clone(&output.cancelled)),
            })
            .collect();
        let check = self.check.clone();
        let begin = move || {
            builder.spawn(async move {
                let done = drive(workers, turns, cursor, output).await;
                // A neuron that is not there says more than what its rows then lack.
                if let Some(check) = check
                    && !matches!(done, Ok(n_groups) if n_groups > 0)
                {
                    check.require(context).await?;
                }
                done.map(|_| ())
            });
            builder.build()
        };
        if self.keys.is_none() {
            return Ok(begin());
        }
        // A join asks for a first row when it knows its keys; work begun before would be for nothing.
        let rows = stream::once(async move { begin() }).flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
