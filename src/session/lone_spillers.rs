//! Under a memory limit one task alone hands rows out to partitions. Where several do and spill, a reader waits for the file that it
//! began, what it needs lies in another, and the query never ends: apache/datafusion issue 24883, in DataFusion 55.2 and mended
//! after it.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Puts the partitions together before their rows are handed out. What keeps an order has a file of each task as it is.
#[derive(Debug)]
pub(super) struct LoneSpillers;

impl PhysicalOptimizerRule for LoneSpillers {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let several = |repartition: &&RepartitionExec| {
                let tasks = repartition.input().output_partitioning().partition_count();
                !repartition.preserve_order() && tasks > 1
            };
            let repartition = (node.as_ref() as &dyn Any).downcast_ref::<RepartitionExec>();
            let Some(repartition) = repartition.filter(several) else {
                return Ok(Transformed::no(node));
            };
            let input = Arc::new(CoalescePartitionsExec::new(Arc::clone(repartition.input())));
            let alone = RepartitionExec::try_new(input, repartition.partitioning().clone())?;
            Ok(Transformed::yes(Arc::new(alone) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &str {
        "LoneSpillers"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
