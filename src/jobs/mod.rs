//! Long work as a relation: its rows are its progress, or what it finds while it runs.
//!
//! Nothing happens at planning or EXPLAIN. The work runs on the blocking pool and waits where its rows are not read;
//! dropping the stream cancels it, and a cancelled or failed job leaves nothing behind. Work that writes is refused
//! where the session's policy, or its setting `polysema.allow_jobs`, says so.

mod context;
mod error;
mod progress;
mod query;
mod rows;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use polysema_udfs::scan_by_plan;
use tokio::runtime::Handle;

use crate::policy::{self, Access};

pub use context::JobContext;
pub use error::{named, of_another};
pub use progress::{Part, is_progress};
pub use query::{Query, QueryTable};
pub use rows::{Batches, Rows};

/// Batches that wait for a slow reader. Few, since they may be large.
const WAITING: usize = 2;

/// What a job does. Its errors are said in the name of the job's function.
pub type Work = dyn Fn(&JobContext) -> Result<()> + Send + Sync;

/// A job that runs when its rows are asked for.
#[derive(Clone)]
pub struct Job {
    /// Name of the function, for messages.
    pub function: &'static str,
    /// Name of the operator, for plans.
    pub operator: &'static str,
    /// What it is about, for plans.
    pub detail: String,
    /// The columns of its rows.
    pub schema: SchemaRef,
    /// What the session must be allowed for it.
    pub needs: &'static [Access],
    /// A relation whose rows the work reads.
    pub input: Option<Arc<LogicalPlan>>,
    /// The work. It sends rows of all the columns of `schema`.
    pub work: Arc<Work>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operator, self.detail)
    }
}

impl Job {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        policy::require(state, self.function, self.needs)?;
        let input = match &self.input {
            None => None,
            Some(relation) => Some(rows::plan(state, relation).await?),
        };
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Arc::new(JobExec {
            job: self.clone(),
            projection: projection.cloned(),
            input,
            properties,
        }))
    }
}

impl TableProvider for Job {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(Job);
}

#[derive(Debug)]
struct JobExec {
    job: Job,
    projection: Option<Vec<usize>>,
    /// Reads the job's relation. Not a child: the optimizer has nothing to add to it.
    input: Option<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for JobExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", self.job)
    }
}

impl ExecutionPlan for JobExec {
    fn name(&self) -> &str {
        self.job.operator
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStream::builder(
            Arc::clone(self.properties.equivalence_properties().schema()),
            WAITING,
        );
        let tx = builder.tx();
        let (job, projection) = (self.job.clone(), self.projection.clone());
        let input = self.input.clone();
        builder.spawn(async move {
            let memory = Arc::clone(context.memory_pool());
            let rows = input.map(|plan| Rows {
                plan,
                context,
                runtime: Handle::current(),
                reader: tx.clone(),
            });
            let cancelled = Arc::new(AtomicBool::new(false));
            let _guard = CancelOnDrop(Arc::clone(&cancelled));
            let function = job.function;
            let send = move |batch: Result<RecordBatch>| {
                let batch = batch.and_then(|batch| match &projection {
                    Some(projection) => Ok(batch.project(projection)?),
                    None => Ok(batch),
                });
                tx.blocking_send(batch.map_err(named(function))).is_ok()
            };
            let context = JobContext {
                rows,
                send: Box::new(send),
                cancelled,
                memory,
            };
            match tokio::task::spawn_blocking(move || (job.work)(&context)).await {
                Ok(done) => done.map_err(named(function)),
                Err(error) => {
                    internal_err!("{function}: the work ended without a result ({error})")
                }
            }
        });
        Ok(builder.build())
    }
}

/// Tells the work that its reader is gone.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
