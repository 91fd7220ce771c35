//! The operator of the nearest-vector functions: every row is compared with one query vector, the k most similar are
//! kept, partition by partition, then merged.
//!
//! A partition holds k rows and one batch; no row is compared twice. DataFusion's TopK over the same arithmetic takes 1.3 to
//! 1.5 times as long on two partitions (`cargo bench --workspace --bench search`).

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{Float64Type, Int32Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties, execute_stream,
};
use futures::StreamExt;
use tokio::task::JoinSet;

use super::best::{Best, DESCENDING, SIMILARITY, Search, with_similarity};
use crate::arrow::vectors::{VectorColumn, require_vectors};
use polysema_kernels::similarity::search::Query;

/// What is searched for.
#[derive(Debug, Clone)]
pub enum Target {
    /// A vector known when the plan is made.
    Vector(Query),
    /// The first column of the only row of a plan.
    OnlyRow(Arc<dyn ExecutionPlan>),
    /// The fourth column of the row whose third is this cluster; the first two are layer and neuron.
    OfCluster(Arc<dyn ExecutionPlan>, i32),
}

/// See the module.
#[derive(Debug)]
pub struct NearestExec {
    search: Search,
    target: Target,
    rows: Arc<dyn ExecutionPlan>,
    /// Columns given: places among the rows' columns, of which the place after the last is the similarity.
    output: Vec<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl NearestExec {
    /// `output` names columns of `rows` by place; the place after the last is the similarity.
    pub fn try_new(
        search: Search,
        target: Target,
        rows: Arc<dyn ExecutionPlan>,
        output: Vec<usize>,
    ) -> Result<Self> {
        let schema = with_similarity(&rows.schema());
        let kind = schema.field_with_name(&search.column)?.data_type();
        require_vectors(
            search.function,
            &[&format!("column '{}'", search.column)],
            std::slice::from_ref(kind),
        )?;
        let schema = Arc::new(schema.project(&output)?);
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        if let Ok(index) = schema.index_of(SIMILARITY) {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(SIMILARITY, index));
            equivalence.add_ordering([PhysicalSortExpr::new(column, DESCENDING)]);
        }
        let properties = Arc::new(PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Ok(Self {
            search,
            target,
            rows,
            output,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for NearestExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let search = &self.search;
        let name = search.function;
        write!(
            f,
            "NearestExec: function={name}, column={}, k={}",
            search.column, search.k
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

impl ExecutionPlan for NearestExec {
    fn name(&self) -> &str {
        "NearestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        match &self.target {
            Target::Vector(_) => vec![&self.rows],
            Target::OnlyRow(plan) | Target::OfCluster(plan, _) => vec![&self.rows, plan],
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
        let (Some(rows), query) = (children.next(), children.next()) else {
            return internal_err!("NearestExec has one or two children");
        };
        let target = match (self.target.clone(), query) {
            (Target::OnlyRow(_), Some(plan)) => Target::OnlyRow(plan),
            (Target::OfCluster(_, cluster), Some(plan)) => Target::OfCluster(plan, cluster),
            (target, _) => target,
        };
        let (search, output) = (self.search.clone(), self.output.clone());
        Ok(Arc::new(Self::try_new(search, target, rows, output)?))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = ExecutionPlan::schema(self);
        let mut builder = RecordBatchReceiverStream::builder(schema, 1);
        let metrics = BaselineMetrics::new(&self.metrics, 0);
        let compared = MetricBuilder::new(&self.metrics).counter("rows_compared", 0);
        let plan = Running {
            search: self.search.clone(),
            target: self.target.clone(),
            rows: Arc::clone(&self.rows),
            output: self.output.clone(),
            context,
            metrics,
            compared,
        };
        let tx = builder.tx();
        builder.spawn(async move {
            let batch_size = plan.context.session_config().batch_size().max(1);
            let found = plan.run().await?;
            for start in (0..found.num_rows()).step_by(batch_size) {
                let part = found.slice(start, batch_size.min(found.num_rows() - start));
                if tx.send(Ok(part)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// One execution.
struct Running {
    search: Search,
    target: Target,
    rows: Arc<dyn ExecutionPlan>,
    output: Vec<usize>,
    context: Arc<TaskContext>,
    metrics: BaselineMetrics,
    compared: Count,
}

impl Running {
    async fn run(self) -> Result<RecordBatch> {
        let (query, own) = self.query().await?;
        let query = (&Arc::new(query), own);
        let mut partitions = JoinSet::new();
        for partition in 0..self.rows.output_partitioning().partition_count() {
            let mut stream = self.rows.execute(partition, Arc::clone(&self.context))?;
            let reservation = MemoryConsumer::new(format!("NearestExec[{partition}]"))
                .register(self.context.memory_pool());
            let mut best = Best::new(&self.search, query, stream.schema(), reservation)?;
            let (time, compared) = (
                self.metrics.elapsed_compute().clone(),
                self.compared.clone(),
            );
            partitions.spawn(async move {
                while let Some(batch) = stream.next().await {
                    let batch = batch?;
                    compared.add(batch.num_rows());
                    let time = time.clone();
                    let work = move || {
                        let _timer = time.timer();
                        best.add(&batch).map(|()| best)
                    };
                    best = off_workers(work).await?;
                }
                Ok::<_, DataFusionError>(best)
            });
        }
        let reservation = MemoryConsumer::new("NearestExec").register(self.context.memory_pool());
        let mut best = Best::new(&self.search, query, self.rows.schema(), reservation)?;
        while let Some(found) = partitions.join_next().await {
            let found = found.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
            best = off_workers(move || best.merge(found.rows).map(|()| best)).await?;
        }
        let found = best.rows.project(&self.output)?;
        self.metrics.record_output(found.num_rows());
        Ok(found)
    }

    /// What is searched for, and the layer and neuron it comes from.
    async fn query(&self) -> Result<(Query, Option<(i32, i32)>)> {
        let function = self.search.function;
        let (plan, cluster) = match &self.target {
            Target::Vector(query) => return Ok((query.clone(), None)),
            Target::OnlyRow(plan) => (plan, None),
            Target::OfCluster(plan, cluster) => (plan, Some(*cluster)),
        };
        let mut stream = execute_stream(Arc::clone(plan), Arc::clone(&self.context))?;
        let (mut n_rows, mut query) = (0, None);
        while let Some(batch) = stream.next().await {
            let batch = batch?;
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

/// Runs `work` on the blocking pool; a panic there is an error here.
async fn off_workers<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => internal_err!("NearestExec: the computation panicked"),
        Err(e) => Err(DataFusionError::ExecutionJoin(Box::new(e))),
    }
}
