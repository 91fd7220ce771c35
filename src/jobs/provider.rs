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

/// The jobs of a plan.
fn jobs(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Job>> {
    let mut jobs = vec![];
    plan.apply(|node| {
        let job = (node.as_ref() as &dyn Any).downcast_ref::<JobExec>();
        jobs.extend(job.map(|job| job.job().clone()));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(jobs)
}

/// Whether a plan has a job that changes the store, and the run that it has made when its rows end.
pub fn changes(plan: &Arc<dyn ExecutionPlan>) -> Result<(bool, Option<String>)> {
    let mut jobs = jobs(plan)?;
    jobs.retain(|job| job.needs.contains(&Access::RunJobs));
    let ended = jobs.iter().filter(|job| job.course == Course::Attached);
    let made = ended.filter_map(|job| job.makes.clone()).next_back();
    Ok((!jobs.is_empty(), made))
}
