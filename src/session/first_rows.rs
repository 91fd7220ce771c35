//! Without ORDER BY, rows of tables and of functions over them come as they lie there, the same at every run of the
//! query, and LIMIT gives the first of them: scans read ranges of neurons side by side, and without this the rows would come
//! as the ranges answer.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};
use polysema_udfs::per_neuron::PerNeuronExec;

use super::in_order::InOrderExec;
use crate::store::RunScan;

/// The plan with its rows in order, if they have one.
pub(super) fn in_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    match ordered(&plan, Dealt::StaysDealt)? {
        Some(plan) => Ok(in_one_partition(plan)),
        None => Ok(plan),
    }
}

/// Puts [`InOrderExec`] under every limit, and all that writes, whose input has its rows in the order of stored tables.
#[derive(Debug)]
pub(super) struct FirstRows;

impl PhysicalOptimizerRule for FirstRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let is_limit = is::<CoalescePartitionsExec>(&node) && node.fetch().is_some();
            let (child, dealt) = match node.children().as_slice() {
                // OFFSET alone.
                [all] if is::<GlobalLimitExec>(&node) && is::<CoalescePartitionsExec>(all) => {
                    (Arc::clone(all.children()[0]), Dealt::IsCollected)
                }
                [child] if is_limit => (Arc::clone(child), Dealt::IsCollected),
                [all] if is::<DataSinkExec>(&node) && is::<CoalescePartitionsExec>(all) => {
                    (Arc::clone(all.children()[0]), Dealt::StaysDealt)
                }
                _ => return Ok(Transformed::no(node)),
            };
            match ordered(&child, dealt)? {
                Some(child) => Ok(Transformed::yes(over(
                    &node,
                    vec![in_one_partition(child)],
                )?)),
                None => Ok(Transformed::no(node)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "FirstRows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is<T: ExecutionPlan>(plan: &Arc<dyn ExecutionPlan>) -> bool {
    (plan.as_ref() as &dyn Any).is::<T>()
}

/// Whether it reads a table of the session, whose partitions are in the order that they were made in.
fn is_in_memory(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let read = (plan.as_ref() as &dyn Any).downcast_ref::<DataSourceExec>();
    read.is_some_and(|read| (read.data_source().as_ref() as &dyn Any).is::<MemorySourceConfig>())
}

fn over(
    plan: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(children, options)
}

fn in_one_partition(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match input.output_partitioning().partition_count() {
        1 => input,
        _ => Arc::new(InOrderExec::new(input)),
    }
}

/// What becomes of the rows of one partition that are dealt out to all cores.
#[derive(Clone, Copy, PartialEq)]
enum Dealt {
    /// They stay in their one partition: few of them are asked for.
    IsCollected,
    /// They have no order.
    StaysDealt,
}

/// The plan where its partitions, one after the other, are in the order of stored tables; else none.
fn ordered(plan: &Arc<dyn ExecutionPlan>, dealt: Dealt) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if is::<RunScan>(plan) || is::<InOrderExec>(plan) || is_in_memory(plan) {
        return Ok(Some(Arc::clone(plan)));
    }
    let children = plan.children();
    let partitions = |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count();
    if is::<RepartitionExec>(plan) {
        // What is dealt out again would be collected in another order.
        return match children.as_slice() {
            [child] if partitions(child) == 1 && dealt == Dealt::IsCollected => {
                ordered(child, dealt)
            }
            _ => Ok(None),
        };
    }
    let mut replaced: Vec<_> = children.iter().map(|child| Arc::clone(child)).collect();
    if is::<UnionExec>(plan) {
        for child in &mut replaced {
            match ordered(child, dealt)? {
                Some(same) => *child = same,
                None => return Ok(None),
            }
        }
        return over(plan, replaced).map(Some);
    }
    let mut keeps = plan.maintains_input_order();
    // By neuron, as its examples come; of one partition, as it comes.
    if is::<PerNeuronExec>(plan) || is::<CoalescePartitionsExec>(plan) {
        keeps[0] = true;
    }
    for (i, keeps) in keeps.into_iter().enumerate() {
        if keeps
            && partitions(plan) == partitions(&replaced[i])
            && let Some(same) = ordered(&replaced[i], dealt)?
        {
            if partitions(&same) != partitions(plan) && replaced.len() > 1 {
                return Ok(None);
            }
            replaced[i] = same;
            return over(plan, replaced).map(Some);
        }
    }
    Ok(None)
}
