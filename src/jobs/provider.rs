//! A job as a relation, which works when its rows are asked for.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::scan_by_plan;

use super::exec::JobExec;
use super::job::{Course, Job};
use super::rows;
use crate::policy::{self, Access};

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

/// What the jobs of a plan do when its rows are read to their end.
#[derive(Debug, Default)]
pub struct Effects {
    /// Whether there are jobs at all, so that the rows may be their progress.
    pub is_job: bool,
    /// Whether the store is another then.
    pub changes_the_store: bool,
    /// The run that is made.
    pub makes: Option<String>,
}

impl Effects {
    /// Of all the jobs of a plan.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let mut effects = Self::default();
        plan.apply(|node| {
            if let Some(exec) = (node.as_ref() as &dyn Any).downcast_ref::<JobExec>() {
                let job = exec.job();
                effects.is_job = true;
                effects.changes_the_store |= job.needs.contains(&Access::RunJobs);
                if job.course == Course::Attached {
                    effects.makes = job.makes.clone().or(effects.makes.take());
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(effects)
    }
}
