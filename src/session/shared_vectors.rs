//! Scans that hand vectors to the per-neuron operator without copying them. The operator knows no store and the store
//! no operator; the session knows both.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use polysema_udfs::per_neuron::PerNeuronExec;

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
            if !(node.as_ref() as &dyn Any).is::<PerNeuronExec>() {
                return Ok(Transformed::no(node));
            }
            let mut changed = false;
            let mut children = vec![];
            for child in node.children() {
                let scan = (child.as_ref() as &dyn Any).downcast_ref::<RunScan>();
                let shared = scan.map(RunScan::with_shared_vectors).transpose()?;
                changed |= matches!(shared, Some(Some(_)));
                children.push(match shared.flatten() {
                    Some(scan) => Arc::new(scan) as _,
                    None => Arc::clone(child),
                });
            }
            match changed {
                true => Ok(Transformed::yes(node.replace_children(
                    children,
                    ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
                )?)),
                false => Ok(Transformed::no(node)),
            }
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
