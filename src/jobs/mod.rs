//! Long work as a relation: its rows are its progress, or what it finds while it runs.
//!
//! Nothing happens at planning or EXPLAIN. The work runs on the blocking pool and waits where its rows are not read,
//! unless they are its progress, of which a slow reader then sees the newest. Dropping the stream cancels it, unless it
//! was detached, and a cancelled or failed job leaves nothing behind. Work that writes is written down among the store's
//! jobs, and refused where the session's policy, or its setting `polysema.allow_jobs`, says so.

mod context;
mod error;
mod exec;
mod left;
mod newest;
mod progress;
mod query;
mod record;
mod records;
mod rows;
mod table;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::scan_by_plan;

use crate::policy::{self, Access};

pub use context::JobContext;
pub use error::{named, of_another};
use exec::JobExec;
pub use left::{Left, to_the_end};
pub use progress::{Part, is_progress};
pub use query::{Query, QueryTable};
pub use record::{Record, State};
pub use records::Jobs;
pub use rows::{Batches, Rows};
pub use table::JobsTable;

/// Whether a job is written down, and whether it needs a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// It answers a question: it is not among the store's jobs and ends with its reader.
    Answer,
    /// It changes something: it is among the store's jobs and ends with its reader.
    Attached,
    /// The same, but it goes on without a reader: its one row is its id.
    Detached,
}

impl Course {
    /// The columns of a job's rows, which are `own` while it has a reader.
    pub fn schema(self, own: SchemaRef) -> SchemaRef {
        match self {
            Course::Answer | Course::Attached => own,
            Course::Detached => {
                let text = |name| Field::new(name, DataType::Utf8, false);
                Arc::new(Schema::new(vec![text("id"), text("function")]))
            }
        }
    }
}

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
    /// The columns of the rows that the work sends.
    pub schema: SchemaRef,
    /// What the session must be allowed for it.
    pub needs: &'static [Access],
    /// Whether it is written down, and whether it needs a reader.
    pub course: Course,
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
            Some(projection) => Arc::new(self.schema().project(projection)?),
            None => self.schema(),
        };
        let projection = projection.cloned();
        Ok(Arc::new(JobExec::new(
            self.clone(),
            projection,
            schema,
            input,
        )))
    }
}

impl TableProvider for Job {
    fn schema(&self) -> SchemaRef {
        self.course.schema(Arc::clone(&self.schema))
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(Job);
}

/// Whether a plan has a job that changes the store.
pub fn changes_the_store(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        let job = (node.as_ref() as &dyn Any).downcast_ref::<JobExec>();
        Ok(job.is_some_and(|job| job.job().needs.contains(&Access::RunJobs)))
    })
}
