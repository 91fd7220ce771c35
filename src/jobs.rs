//! Long work that writes, as a relation whose rows are its progress.
//!
//! Nothing happens at planning or EXPLAIN. The work runs on the blocking pool; dropping the stream cancels it, and a
//! cancelled or failed job leaves nothing behind. Refused where `polysema.allow_jobs` is false.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{internal_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, collect_partitioned,
};
use polysema_udfs::bridge::settings::PolysemaOptions;

use crate::ingest::Progress;

/// The columns of a job's rows, as its documentation names them.
pub const COLUMNS: &str = "phase, documents, total_documents, tokens, tokens_per_second, elapsed_seconds, message; \
                           several rows a second";

/// What a job does: given the rows of its table, whether it is cancelled, and where its progress goes.
pub type Work =
    dyn Fn(&[RecordBatch], &AtomicBool, &mut dyn FnMut(Progress)) -> Result<()> + Send + Sync;

/// A job that runs when its rows are asked for.
#[derive(Clone)]
pub struct Job {
    /// Name of the function, for messages.
    pub function: &'static str,
    /// Name of the operator, for plans.
    pub operator: &'static str,
    /// What it is about, for plans.
    pub detail: String,
    /// A relation whose rows the work reads.
    pub input: Option<Arc<LogicalPlan>>,
    /// The work.
    pub work: Arc<Work>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operator, self.detail)
    }
}

/// The columns of every job.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("phase", DataType::Utf8, false),
        Field::new("documents", DataType::Int64, false),
        Field::new("total_documents", DataType::Int64, true),
        Field::new("tokens", DataType::Int64, false),
        Field::new("tokens_per_second", DataType::Float64, false),
        Field::new("elapsed_seconds", DataType::Float64, false),
        Field::new("message", DataType::Utf8, false),
    ]))
}

fn row(progress: &Progress) -> Result<RecordBatch> {
    let total = progress.total_documents.map(|n| n as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![progress.phase])),
        Arc::new(Int64Array::from(vec![progress.documents as i64])),
        Arc::new(Int64Array::from(vec![total])),
        Arc::new(Int64Array::from(vec![progress.tokens as i64])),
        Arc::new(Float64Array::from(vec![progress.tokens_per_second])),
        Arc::new(Float64Array::from(vec![progress.elapsed_seconds])),
        Arc::new(StringArray::from(vec![progress.message.as_str()])),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[async_trait]
impl TableProvider for Job {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !PolysemaOptions::of(state.config_options()).allow_jobs {
            return plan_err!(
                "{}: polysema.allow_jobs must be true, got false",
                self.function
            );
        }
        let input = match &self.input {
            None => None,
            Some(plan) => Some(state.create_physical_plan(plan).await?),
        };
        let schema = match projection {
            Some(projection) => Arc::new(schema().project(projection)?),
            None => schema(),
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
            8,
        );
        let tx = builder.tx();
        let (job, projection) = (self.job.clone(), self.projection.clone());
        let input = self.input.clone();
        builder.spawn(async move {
            let rows = match input {
                Some(plan) => collect_partitioned(plan, context).await?.concat(),
                None => vec![],
            };
            let cancelled = Arc::new(AtomicBool::new(false));
            let _guard = CancelOnDrop(Arc::clone(&cancelled));
            let function = job.function;
            let work = move || {
                let mut send = |progress: Progress| {
                    let batch = row(&progress).and_then(|batch| match &projection {
                        Some(projection) => Ok(batch.project(projection)?),
                        None => Ok(batch),
                    });
                    if tx.blocking_send(batch).is_err() {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                };
                (job.work)(&rows, &cancelled, &mut send)
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
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
