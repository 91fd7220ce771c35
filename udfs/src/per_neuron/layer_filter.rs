//! Rows of the layers that table `layers` says are meant, by name or by kind, found when the query runs.
//!
//! Rows pass as slices: a join would copy the vectors. What is found is a dynamic filter too, so that a scan below may
//! leave out what is not meant.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::Int32Type;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr, in_list, lit};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
    FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan,
    InputDistributionRequirements, PlanProperties, Statistics,
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use crate::arrow::tables::{self, SmallTable};

/// A layer as a call names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerRef {
    /// By its number.
    Number(i64),
    /// By its name in table `layers`.
    Name(String),
}

/// Which layers are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerChoice {
    /// The one of this name.
    Named(String),
    /// All of a kind; every layer if there is none and `or_all` is set.
    OfKind {
        /// The kind.
        kind: String,
        /// Whether no layer of the kind means every layer.
        or_all: bool,
    },
}

/// A choice with the table that decides it.
#[derive(Debug, Clone)]
pub struct LayerLookup {
    function: &'static str,
    choice: LayerChoice,
    /// A layer that is meant beside those chosen.
    also: Option<i32>,
    /// Columns layer, and name or kind.
    layers: SmallTable,
}

impl LayerLookup {
    /// The choice over the session's table `layers`.
    pub async fn plan(
        state: &dyn Session,
        function: &'static str,
        choice: LayerChoice,
    ) -> Result<Self> {
        let column = match choice {
            LayerChoice::Named(_) => "name",
            LayerChoice::OfKind { .. } => "kind",
        };
        let layers = tables::table(state, function, "layers").await?;
        let columns = ["layer", column];
        Ok(Self {
            function,
            choice,
            also: None,
            layers: SmallTable::scan(state, function, "layers", &layers, &columns).await?,
        })
    }

    /// The same with one more layer.
    pub fn and(self, also: Option<i32>) -> Self {
        Self { also, ..self }
    }

    /// The choice of a function, and what is meant beside it.
    pub fn parts(&self) -> (&'static str, &LayerChoice, Option<i32>) {
        (self.function, &self.choice, self.also)
    }

    /// The choice over rows of layer, and name or kind.
    pub fn of(
        (function, choice, also): (&'static str, LayerChoice, Option<i32>),
        layers: Arc<dyn ExecutionPlan>,
    ) -> Self {
        Self {
            function,
            choice,
            also,
            layers: SmallTable::of(layers),
        }
    }

    /// The numbers of the layers that are meant; `None` is all of them.
    async fn read(self, context: Arc<TaskContext>) -> Result<Option<HashSet<i32>>> {
        let rows = self.layers.read(context).await?;
        let mut meant: HashSet<i32> = match &self.choice {
            LayerChoice::Named(name) => [layer_number(self.function, name, &rows)?].into(),
            LayerChoice::OfKind { kind, or_all } => {
                let meant: HashSet<_> = entries(&rows)
                    .filter(|(_, of)| *of == Some(kind))
                    .filter_map(|(layer, _)| layer)
                    .collect();
                if meant.is_empty() && *or_all {
                    return Ok(None);
                }
                meant
            }
        };
        meant.extend(self.also);
        Ok(Some(meant))
    }
}

/// The two columns of table `layers`.
fn entries(rows: &[RecordBatch]) -> impl Iterator<Item = (Option<i32>, Option<&str>)> {
    rows.iter().flat_map(|batch| {
        let numbers = batch.column(0).as_primitive::<Int32Type>().iter();
        numbers.zip(batch.column(1).as_string::<i32>())
    })
}

/// The number of the layer of this name.
///
/// Errors: there is none; the known ones are listed.
pub(super) fn layer_number(function: &str, name: &str, rows: &[RecordBatch]) -> Result<i32> {
    match entries(rows).find(|(_, known)| *known == Some(name)) {
        Some((Some(number), _)) => Ok(number),
        Some((None, _)) => exec_err!("{function}: layer '{name}' must have a number, got NULL"),
        None => {
            let known: Vec<_> = entries(rows).filter_map(|(_, known)| known).collect();
            exec_err!(
                "{function}: layer must be a number or one of {}, got '{name}'",
                known.join(", ")
            )
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct LayerFilterExec {
    input: Arc<dyn ExecutionPlan>,
    lookup: LayerLookup,
    filter: Arc<DynamicFilterPhysicalExpr>,
    meant: Arc<OnceCell<Option<HashSet<i32>>>>,
}

impl LayerFilterExec {
    /// The rows of `input`, whose first column is the layer, that are meant.
    pub fn new(input: Arc<dyn ExecutionPlan>, lookup: LayerLookup) -> Self {
        let layer: Arc<dyn PhysicalExpr> = Arc::new(Column::new("layer", 0));
        let filter = Arc::new(DynamicFilterPhysicalExpr::new(vec![layer], lit(true)));
        Self::with_filter(input, lookup, filter)
    }

    /// The same, which says what is meant by a filter that scans below have.
    pub fn with_filter(
        input: Arc<dyn ExecutionPlan>,
        lookup: LayerLookup,
        filter: Arc<DynamicFilterPhysicalExpr>,
    ) -> Self {
        Self {
            input,
            lookup,
            filter,
            meant: Arc::default(),
        }
    }

    /// Which layers are meant.
    pub fn lookup(&self) -> &LayerLookup {
        &self.lookup
    }

    /// What scans below are told of the layers that are meant.
    pub fn filter(&self) -> &Arc<DynamicFilterPhysicalExpr> {
        &self.filter
    }
}

impl DisplayAs for LayerFilterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.lookup.choice {
            LayerChoice::Named(name) => write!(f, "LayerFilterExec: name={name}"),
            LayerChoice::OfKind { kind, .. } => write!(f, "LayerFilterExec: kind={kind}"),
        }
    }
}

impl ExecutionPlan for LayerFilterExec {
    fn name(&self) -> &str {
        "LayerFilterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input, self.lookup.layers.plan()]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        visit(&(Arc::clone(&self.filter) as Arc<dyn PhysicalExpr>))
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![
            Distribution::UnspecifiedDistribution,
            Distribution::SinglePartition,
        ])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(layers), Some(input), None) = (children.pop(), children.pop(), children.pop())
        else {
            return internal_err!("LayerFilterExec has two children");
        };
        // The filter stays the one that scans below were given.
        Ok(Arc::new(Self {
            input,
            lookup: LayerLookup {
                layers: SmallTable::of(layers),
                ..self.lookup.clone()
            },
            filter: Arc::clone(&self.filter),
            meant: Arc::default(),
        }))
    }

    fn gather_filters_for_pushdown(
        &self,
        phase: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let mut input = ChildFilterDescription::from_child(&filters, &self.input)?;
        if phase == FilterPushdownPhase::Post {
            input = input.with_self_filter(Arc::clone(&self.filter) as _);
        }
        let layers = ChildFilterDescription::all_unsupported(&filters);
        Ok(FilterDescription::new()
            .with_child(input)
            .with_child(layers))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_any(result))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition), ChildStats::Skip]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let [input, _] = inputs else {
            return internal_err!("LayerFilterExec has two children");
        };
        Ok(Arc::new(input.as_ref().clone().to_inexact()))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (input, lookup) = (Arc::clone(&self.input), self.lookup.clone());
        let (meant, filter) = (Arc::clone(&self.meant), Arc::clone(&self.filter));
        // What is meant is known before the input begins, which may then leave out the rest.
        let rows = stream::once(async move {
            let read = async {
                let meant = lookup.read(Arc::clone(&context)).await?;
                if let Some(layers) = &meant {
                    filter.update(of_layers(layers, &input)?)?;
                }
                filter.mark_complete();
                Ok::<_, datafusion::common::DataFusionError>(meant)
            };
            let meant = meant.get_or_try_init(|| read).await?.clone();
            let rows = input.execute(partition, context)?;
            let kept = rows.map_ok(move |batch| stream::iter(kept(batch, meant.as_ref())));
            Ok::<_, datafusion::common::DataFusionError>(kept.try_flatten())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            rows.try_flatten().boxed(),
        )))
    }
}

/// The filter on the first column.
fn of_layers(
    layers: &HashSet<i32>,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn PhysicalExpr>> {
    if layers.is_empty() {
        return Ok(lit(false));
    }
    let mut layers: Vec<_> = layers.iter().copied().collect();
    layers.sort_unstable();
    let layers = layers.into_iter().map(lit).collect();
    in_list(
        Arc::new(Column::new("layer", 0)),
        layers,
        &false,
        &input.schema(),
    )
}

/// The rows of a batch that are meant: whole, in a few slices, or copied together where they lie in many. A row whose
/// layer is NULL passes, to be refused by whoever reads it.
fn kept(batch: RecordBatch, meant: Option<&HashSet<i32>>) -> Vec<Result<RecordBatch>> {
    const MOST_SLICES: usize = 8;
    let Some(meant) = meant else {
        return vec![Ok(batch)];
    };
    let layers = batch.column(0).as_primitive::<Int32Type>();
    let passes: Vec<bool> = (0..batch.num_rows())
        .map(|row| layers.is_null(row) || meant.contains(&layers.value(row)))
        .collect();
    let mut slices = vec![];
    let mut start = 0;
    for run in passes.chunk_by(|a, b| a == b) {
        if run[0] {
            slices.push((start, run.len()));
        }
        start += run.len();
    }
    if slices.len() > MOST_SLICES {
        let filtered = filter_record_batch(&batch, &BooleanArray::from(passes));
        return vec![filtered.map_err(Into::into)];
    }
    let slices = slices.into_iter();
    slices
        .map(|(start, len)| Ok(batch.slice(start, len)))
        .collect()
}
