//! Scans that hand vectors to the per-neuron operator without copying them. The operator knows no store and the store
//! no operator; the session knows both.
//!
//! A node between the two is looked through where it hands rows on as slices or columns as they are. Others copy: a filter
//! joins small batches, and a sort all, which of vectors in place would copy the whole file for each.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use polysema_udfs::per_neuron::{LayerFilterExec, PerNeuronExec};

use crate::store::RunScan;

/// Examples that share a received vector read one copy of it, where it lies in the mapped file.
#[derive(Debug)]
pub(super) struct SharedVectors;

impl PhysicalOptimizerRule for SharedVectors {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let found = match (node.as_ref() as &dyn Any).is::<PerNeuronExec>() {
                true => with_shared_children(&node)?,
                false => None,
            };
            Ok(found.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }

    fn name(&self) -> &str {
        "SharedVectors"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node over scans that share vectors; none if none of them does.
fn with_shared_children(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut changed = false;
    let mut children = vec![];
    for child in node.children() {
        let shared = shared(child)?;
        changed |= shared.is_some();
        children.push(shared.unwrap_or_else(|| Arc::clone(child)));
    }
    if !changed {
        return Ok(None);
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(node)
        .replace_children(children, options)
        .map(Some)
}

/// The same rows with vectors in place; none where there are none, or where they would be copied on the way.
fn shared(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let node = plan.as_ref() as &dyn Any;
    if let Some(scan) = node.downcast_ref::<RunScan>() {
        let scan = scan.with_shared_vectors()?;
        return Ok(scan.map(|scan| Arc::new(scan) as _));
    }
    if let Some(project) = node.downcast_ref::<ProjectionExec>() {
        let moves = |column: &ProjectionExpr| (column.expr.as_ref() as &dyn Any).is::<Column>();
        return match shared(project.input())? {
            Some(input) if project.expr().iter().all(moves) => {
                // Not by `replace_children`, which would keep the types of the columns before.
                let project = ProjectionExec::try_new(project.expr().to_vec(), input)?;
                Ok(Some(Arc::new(project)))
            }
            _ => Ok(None),
        };
    }
    match node.is::<LayerFilterExec>() || node.is::<CooperativeExec>() {
        true => with_shared_children(plan),
        false => Ok(None),
    }
}
