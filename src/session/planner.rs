//! From an optimized logical plan to operators, as DataFusion does it, and what was meant where it cannot.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::plan_datafusion_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

/// The planner of every session.
#[derive(Debug)]
pub(super) struct EnginePlanner;

#[async_trait]
impl QueryPlanner for EnginePlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        match planner.create_physical_plan(plan, state).await {
            Err(_) if asks_of_each_row(plan)? => Err(plan_datafusion_err!(
                "session: a query of each row of another must be one that can be a join, got one with a LIMIT, a UNION \
                 or a RIGHT JOIN (for a table function: JOIN f() USING (layer, neuron))"
            )),
            planned => planned,
        }
    }
}

/// Whether the optimizer has left an expression of an outer row in place: a query of each row that is no join.
fn asks_of_each_row(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(matches!(part, Expr::OuterReferenceColumn(..))))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
