//! A job as a relation, which works when its rows are asked for.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::scan_by_plan;

use super::exec::JobExec;
use super::job::Job;
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

/// Whether a plan has a job that changes the store.
pub fn changes_the_store(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        let job = (node.as_ref() as &dyn Any).downcast_ref::<JobExec>();
        Ok(job.is_some_and(|job| job.job().needs.contains(&Access::RunJobs)))
    })
}
