//! What a job is before it runs.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;

use super::context::JobContext;
use crate::policy::Access;

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
    /// The run it makes, if it makes one.
    pub makes: Option<String>,
    /// The work. It sends rows of all the columns of `schema`.
    pub work: Arc<Work>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operator, self.detail)
    }
}
