//! LIMIT without ORDER BY gives the first rows of stored tables by their keys, the same at every run of the query: scans read
//! ranges of neurons side by side, and without this rule the rows would be those of the range that answers first.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_err;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, stream};
use polysema_udfs::per_neuron::PerNeuronExec;

use crate::store::RunScan;

/// Puts [`InOrderExec`] under every limit whose input has its rows in the order of stored tables.
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
            let child = match node.children().as_slice() {
                // OFFSET alone.
                [all] if is::<GlobalLimitExec>(&node) && is::<CoalescePartitionsExec>(all) => {
                    Arc::clone(all.children()[0])
                }
                [child] if is_limit => Arc::clone(child),
                _ => return Ok(Transformed::no(node)),
            };
            match ordered(&child)? {
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

/// The plan where its partitions, one after the other, are in the order of stored tables; else none.
fn ordered(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if is::<RunScan>(plan) || is::<InOrderExec>(plan) {
        return Ok(Some(Arc::clone(plan)));
    }
    let children = plan.children();
    let partitions = |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count();
    if is::<RepartitionExec>(plan) {
        // What is dealt out again would be collected in another order.
        return match children.as_slice() {
            [child] if partitions(child) == 1 => ordered(child),
            _ => Ok(None),
        };
    }
    let mut replaced: Vec<_> = children.iter().map(|child| Arc::clone(child)).collect();
    if is::<UnionExec>(plan) {
        for child in &mut replaced {
            match ordered(child)? {
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
            && let Some(same) = ordered(&replaced[i])?
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

/// The partitions of its input one after the other. All of them work at once, each until one batch waits: who looks for
/// rare rows has every core.
#[derive(Debug)]
struct InOrderExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl InOrderExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = input.properties().as_ref().clone();
        let properties = properties.with_partitioning(Partitioning::UnknownPartitioning(1));
        Self {
            input,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for InOrderExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("InOrderExec")
    }
}

impl ExecutionPlan for InOrderExec {
    fn name(&self) -> &str {
        "InOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(input), None) => Ok(Arc::new(Self::new(input))),
            _ => internal_err!("InOrderExec has one child"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("InOrderExec has one partition, got {partition}");
        }
        let partitions = self.input.output_partitioning().partition_count();
        let streams = (0..partitions).map(|i| {
            let mut rows = self.input.execute(i, Arc::clone(&context))?;
            let mut waiting = RecordBatchReceiverStream::builder(self.schema(), 1);
            let sender = waiting.tx();
            waiting.spawn(async move {
                while let Some(batch) = rows.next().await {
                    // Nobody reads any more.
                    let failed = batch.is_err();
                    if sender.send(batch).await.is_err() || failed {
                        break;
                    }
                }
                Ok(())
            });
            Ok(waiting.build())
        });
        let streams = streams.collect::<Result<Vec<_>>>()?;
        let rows = stream::iter(streams).flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
