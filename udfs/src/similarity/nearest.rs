//! The nearest rows to a vector: an operator adds every row's similarity, DataFusion's TopK keeps the most similar. Above
//! 400 lines: the operator, and the plan around it.
//!
//! Ties go by the other columns of the rows, so that what is kept does not depend on the order in which rows come.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array};
use datafusion::arrow::compute::{FilterBuilder, SortOptions};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int32Type, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{
    DataFusionError, Result, exec_err, internal_datafusion_err, internal_err,
};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::rows::row_name;
use crate::arrow::tables::{SmallTable, in_one_partition};
use crate::arrow::vectors::{VectorColumn, require_vectors};
use polysema_kernels::similarity::search::Query;

/// Name of the column that is added.
pub const SIMILARITY: &str = "similarity";

/// How the search goes.
#[derive(Debug, Clone)]
pub struct Search {
    /// The function's name, for messages.
    pub function: &'static str,
    /// Name of the vector column among the rows' columns.
    pub column: String,
    /// Most rows that are given.
    pub k: usize,
    /// Least similarity that is given.
    pub min_similarity: f64,
    /// Whether rows of the neuron that the query comes from are left out.
    pub others_only: bool,
    /// Whether vectors of another width are left out, rather than refused.
    pub any_width: bool,
}

/// What is searched for.
#[derive(Debug, Clone)]
pub enum Target {
    /// A vector known when the plan is made.
    Vector(Query),
    /// The first column of the only row of a plan.
    OnlyRow(SmallTable),
    /// The fourth column of the row whose third is this cluster; the first two are layer and neuron.
    OfCluster(SmallTable, i32),
}

/// The schema with the column `similarity` after the last.
pub fn with_similarity(schema: &Schema) -> Schema {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(SIMILARITY, DataType::Float64, false)));
    Schema::new(fields)
}

/// Whether ties are ordered by a column of this type.
pub fn orders_ties(kind: &DataType) -> bool {
    kind.is_primitive()
        || kind.is_string()
        || kind.is_binary()
        || matches!(kind, DataType::Boolean | DataType::Dictionary(..))
}

/// The plan of the nearest rows, the most similar first. `output` names columns of `rows` by place; the place after the
/// last is the similarity.
pub fn nearest_rows(
    search: Search,
    target: Target,
    rows: Arc<dyn ExecutionPlan>,
    output: &[usize],
) -> Result<Arc<dyn ExecutionPlan>> {
    let k = search.k;
    let vector = rows.schema().index_of(&search.column)?;
    let compared = SimilarityExec::try_new(search, target, rows, output.contains(&vector))?;
    let schema = ExecutionPlan::schema(&compared);
    let last = schema.fields().len() - 1;
    let column = |place: usize| -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(schema.field(place).name(), place))
    };
    let descending = SortOptions::new(true, false);
    let ties = (0..last).filter(|&place| orders_ties(schema.field(place).data_type()));
    let mut order = vec![PhysicalSortExpr::new(column(last), descending)];
    order.extend(ties.map(|place| PhysicalSortExpr::new(column(place), SortOptions::default())));
    let Some(order) = LexOrdering::new(order) else {
        return internal_err!("an order has the similarity");
    };
    let best = SortExec::new(order, in_one_partition(Arc::new(compared.clone())));
    let best = Arc::new(best.with_fetch(Some(k)));
    let wanted = output.iter().map(|&column_of_rows| {
        let place = compared.place(column_of_rows);
        let alias = schema.field(place).name().clone();
        ProjectionExpr::new(column(place), alias)
    });
    Ok(Arc::new(ProjectionExec::try_new(
        wanted.collect::<Vec<_>>(),
        best,
    )?))
}

/// Adds every row's similarity.
#[derive(Debug, Clone)]
pub struct SimilarityExec {
    search: Search,
    target: Target,
    rows: Arc<dyn ExecutionPlan>,
    /// Place of the vector, and whether it is given.
    vector: (usize, bool),
    /// What is searched for, and the layer and neuron it comes from.
    query: Arc<OnceCell<Sought>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

type Sought = (Query, Option<(i32, i32)>);

impl SimilarityExec {
    fn try_new(
        search: Search,
        target: Target,
        rows: Arc<dyn ExecutionPlan>,
        with_vector: bool,
    ) -> Result<Self> {
        let schema = rows.schema();
        let vector = schema.index_of(&search.column)?;
        require_vectors(
            search.function,
            &[&format!("column '{}'", search.column)],
            std::slice::from_ref(schema.field(vector).data_type()),
        )?;
        let mut schema = with_similarity(&schema);
        if !with_vector {
            let kept: Vec<_> = (0..schema.fields().len())
                .filter(|i| *i != vector)
                .collect();
            schema = schema.project(&kept)?;
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema)),
            Partitioning::UnknownPartitioning(rows.output_partitioning().partition_count()),
            rows.pipeline_behavior(),
            rows.boundedness(),
        );
        Ok(Self {
            search,
            target,
            rows,
            vector: (vector, with_vector),
            query: Arc::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// How the search goes, what for, and whether the vector that is compared is given too.
    pub fn parts(&self) -> (&Search, &Target, bool) {
        (&self.search, &self.target, self.vector.1)
    }

    /// The operator of these parts.
    pub fn of(
        (search, target, with_vector): (Search, Target, bool),
        rows: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        Self::try_new(search, target, rows, with_vector)
    }

    /// Where a column of the rows stands; behind the last is the similarity.
    fn place(&self, column: usize) -> usize {
        let (vector, with_vector) = self.vector;
        column - usize::from(!with_vector && column > vector)
    }

    /// The rows that are searched, with their similarities.
    fn compare(&self, batch: &RecordBatch, sought: &Sought) -> Result<RecordBatch> {
        let similarities = self.similarities(batch, sought)?;
        let least = self.search.min_similarity;
        let passes = |similarity: Option<f64>| similarity.is_some_and(|s| s >= least);
        let passes: Vec<bool> = similarities.iter().map(passes).collect();
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(similarities));
        if let (vector, false) = self.vector {
            columns.remove(vector);
        }
        let all = passes.iter().all(|passes| *passes);
        if !all {
            let passes = FilterBuilder::new(&BooleanArray::from(passes))
                .optimize()
                .build();
            for column in &mut columns {
                *column = passes.filter(column)?;
            }
        }
        Ok(RecordBatch::try_new(ExecutionPlan::schema(self), columns)?)
    }

    fn similarities(&self, batch: &RecordBatch, (query, own): &Sought) -> Result<Float64Array> {
        let Search {
            function, column, ..
        } = &self.search;
        let vectors = batch.column(self.vector.0);
        let vectors = VectorColumn::<Float32Type>::try_new(function, column, vectors)?;
        let left_out = own_rows(batch, own.filter(|_| self.search.others_only))?;
        let similarity = |row: usize| {
            let Some(vector) = vectors.row(row).filter(|_| !left_out(row)) else {
                return Ok(None);
            };
            if vector.len() != query.width() && self.search.any_width {
                return Ok(None);
            }
            if vector.len() != query.width() {
                return exec_err!(
                    "{function}: column '{column}' must have the width of the vector, {}, got {} in {}",
                    query.width(),
                    vector.len(),
                    row_name(batch, row)
                );
            }
            let similarity = query.similarity(vector);
            if similarity.is_some_and(f64::is_nan) {
                return exec_err!(
                    "{function}: column '{column}' must be finite, got NaN or infinity in {}",
                    row_name(batch, row)
                );
            }
            Ok(similarity)
        };
        (0..vectors.len()).map(similarity).collect()
    }

    async fn read_query(&self, context: Arc<TaskContext>) -> Result<Sought> {
        let function = self.search.function;
        let (table, cluster) = match &self.target {
            Target::Vector(query) => return Ok((query.clone(), None)),
            Target::OnlyRow(table) => (table, None),
            Target::OfCluster(table, cluster) => (table, Some(*cluster)),
        };
        let (mut n_rows, mut query) = (0, None);
        for batch in table.read(context).await? {
            n_rows += batch.num_rows();
            for row in 0..batch.num_rows() {
                let key =
                    |column: usize| batch.column(column).as_primitive::<Int32Type>().value(row);
                let (vectors, own) = match cluster {
                    None => (batch.column(0), None),
                    Some(own) if key(2) == own => (batch.column(3), Some((key(0), key(1)))),
                    Some(_) => continue,
                };
                query = Some((query_of(function, vectors, row)?, own));
            }
        }
        match (query, cluster) {
            (None, Some(cluster)) => exec_err!(
                "{function}: cluster must be one of the {n_rows} there are, counted from 0, got {cluster}"
            ),
            (Some(query), Some(_)) => Ok(query),
            (Some(query), None) if n_rows == 1 => Ok(query),
            _ => exec_err!("{function}: vector must be one row, got {n_rows}"),
        }
    }
}

impl DisplayAs for SimilarityExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let search = &self.search;
        write!(
            f,
            "SimilarityExec: function={}, column={}",
            search.function, search.column
        )?;
        if search.min_similarity > -1.0 {
            write!(f, ", min_similarity={}", search.min_similarity)?;
        }
        match search.others_only {
            true => write!(f, ", other neurons only"),
            false => Ok(()),
        }
    }
}

impl ExecutionPlan for SimilarityExec {
    fn name(&self) -> &str {
        "SimilarityExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        match &self.target {
            Target::Vector(_) => vec![&self.rows],
            Target::OnlyRow(table) | Target::OfCluster(table, _) => {
                vec![&self.rows, table.plan()]
            }
        }
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let mut inputs = vec![Distribution::UnspecifiedDistribution; self.children().len()];
        if let Some(query) = inputs.get_mut(1) {
            *query = Distribution::SinglePartition;
        }
        InputDistributionRequirements::new(inputs)
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        (0..self.children().len()).map(|child| child == 0).collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut children = children.into_iter();
        let (Some(rows), query) = (children.next(), children.next().map(SmallTable::of)) else {
            return internal_err!("SimilarityExec has one or two children");
        };
        let target = match (self.target.clone(), query) {
            (Target::OnlyRow(_), Some(table)) => Target::OnlyRow(table),
            (Target::OfCluster(_, cluster), Some(table)) => Target::OfCluster(table, cluster),
            (target, _) => target,
        };
        let with_vector = self.vector.1;
        Ok(Arc::new(Self::try_new(
            self.search.clone(),
            target,
            rows,
            with_vector,
        )?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let operator = self.clone();
        let compared = stream::once(async move {
            let query = operator.read_query(Arc::clone(&context));
            operator.query.get_or_try_init(|| query).await?;
            let rows = operator.rows.execute(partition, context)?;
            Ok::<_, DataFusionError>(rows.map(move |batch| {
                let Some(sought) = operator.query.get() else {
                    return internal_err!("the query was read");
                };
                let _timer = metrics.elapsed_compute().timer();
                let compared = operator.compare(&batch?, sought)?;
                Ok(compared.record_output(&metrics))
            }))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            ExecutionPlan::schema(self),
            compared.try_flatten().boxed(),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Whether a row belongs to this neuron.
fn own_rows(
    batch: &RecordBatch,
    own: Option<(i32, i32)>,
) -> Result<impl Fn(usize) -> bool + use<>> {
    let column = |name: &str| match batch.column_by_name(name) {
        Some(column) => Ok(column.as_primitive::<Int32Type>().clone()),
        None => Err(internal_datafusion_err!("SimilarityExec: no column {name}")),
    };
    let keys = match own {
        None => None,
        Some(own) => Some((own, column("layer")?, column("neuron")?)),
    };
    Ok(move |row: usize| {
        keys.as_ref()
            .is_some_and(|(own, layers, neurons)| (layers.value(row), neurons.value(row)) == *own)
    })
}

/// The direction in one row of a vector column.
///
/// Errors: NULL, a zero vector, a number that is not finite.
pub fn query_of(function: &str, column: &ArrayRef, row: usize) -> Result<Query> {
    let column = VectorColumn::<Float64Type>::try_new(function, "vector", column)?;
    let Some(vector) = column.row(row) else {
        return exec_err!("{function}: vector must be a list of numbers, got NULL");
    };
    match Query::new(vector) {
        Some(query) => Ok(query),
        None if vector.iter().all(|x| *x == 0.0) => {
            exec_err!("{function}: vector must have a direction, got a zero vector")
        }
        None => exec_err!("{function}: vector must be finite, got NaN or infinity"),
    }
}
