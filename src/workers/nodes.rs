//! Which nodes of a plan a worker does, and which of them work on ranges of neurons: what a node gives of a range depends on
//! that range of its inputs alone.

use std::sync::Arc;

use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use polysema_udfs::per_neuron::{LayerFilterExec, NeuronCheck, PerNeuronExec};
use polysema_udfs::similarity::nearest::SimilarityExec;

use crate::store::RunScan;

/// What a node needs of an input to give the rows of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Need {
    /// The same range.
    Range,
    /// All of it: few rows.
    All,
}

/// What a node needs of its inputs; none where it does not work on ranges.
fn needs(node: &dyn ExecutionPlan) -> Option<Vec<Need>> {
    let n_inputs = node.children().len();
    if node.is::<PerNeuronExec>() {
        return Some(vec![Need::Range; n_inputs]);
    }
    if node.is::<LayerFilterExec>() || node.is::<SimilarityExec>() {
        let needs = (0..n_inputs).map(|input| match input {
            0 => Need::Range,
            _ => Need::All,
        });
        return Some(needs.collect());
    }
    let alone = match node.downcast_ref::<AggregateExec>() {
        Some(aggregate) => matches!(
            aggregate.mode(),
            AggregateMode::Partial
                | AggregateMode::FinalPartitioned
                | AggregateMode::SinglePartitioned
        ),
        None => match node.downcast_ref::<SortExec>() {
            Some(sort) => sort.preserve_partitioning(),
            None => {
                node.is::<ProjectionExec>()
                    || node.is::<FilterExec>()
                    || node.is::<CooperativeExec>()
                    || node.is::<LocalLimitExec>()
                    || node.is::<BoundedWindowAggExec>()
                    || node.is::<WindowAggExec>()
            }
        },
    };
    (alone && n_inputs == 1).then(|| vec![Need::Range])
}

/// In how many ranges a plan can be done; none where it cannot.
pub(super) fn ranges(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    if let Some(scan) = plan.downcast_ref::<RunScan>() {
        return scan.ranges();
    }
    let needs = needs(plan.as_ref())?;
    let mut found = None;
    for (input, need) in plan.children().into_iter().zip(needs) {
        if need == Need::Range {
            let ranges = ranges(input)?;
            if found.is_some_and(|found| found != ranges) {
                return None;
            }
            found = Some(ranges);
        }
    }
    found
}

/// One range of a plan, in one partition.
pub(super) fn range_of(
    plan: &Arc<dyn ExecutionPlan>,
    range: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(scan) = plan.downcast_ref::<RunScan>() {
        return Ok(Arc::new(scan.part(range)?));
    }
    over_ranges(plan, &|input| range_of(input, range))
}

/// What stands in place of an input.
type OfInput<'a> = dyn Fn(&Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> + 'a;

/// A node over others in place of the inputs of which it needs a range.
pub(super) fn over_ranges(
    plan: &Arc<dyn ExecutionPlan>,
    other: &OfInput<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(needs) = needs(plan.as_ref()) else {
        let name = plan.name();
        return internal_err!("a node that works on ranges is required, got {name}");
    };
    let inputs = plan.children().into_iter().zip(needs);
    let inputs = inputs.map(|(input, need)| match need {
        Need::Range => other(input),
        Need::All => Ok(Arc::clone(input)),
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(inputs, options)
}

/// Whether a plan does more than read: rows that are only read come sooner out of the file than out of another process.
pub(super) fn works(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        Ok(node.is::<PerNeuronExec>() || node.is::<SimilarityExec>() || node.is::<AggregateExec>())
    })
}

/// Whether it is one of our functions that is worth a word where it stays.
pub(super) fn is_function(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<PerNeuronExec>() || plan.is::<SimilarityExec>()
}

/// Refuses a plan of which a worker does not do every node: none of them reads or writes a file that is not the store's.
pub(super) fn require_known(plan: &Arc<dyn ExecutionPlan>) -> std::result::Result<(), String> {
    let known = plan.is::<RunScan>()
        || needs(plan.as_ref()).is_some()
        || plan.is::<AggregateExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<EmptyExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<PlaceholderRowExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>();
    if !known {
        return Err(format!("workers do no {}", plan.name()));
    }
    plan.children().into_iter().try_for_each(require_known)
}

/// What must be there if no neuron comes.
pub(super) fn checks(plan: &Arc<dyn ExecutionPlan>) -> Vec<NeuronCheck> {
    let own = plan.downcast_ref::<PerNeuronExec>();
    let own = own.and_then(PerNeuronExec::check).cloned();
    let below = plan.children().into_iter().flat_map(checks);
    own.into_iter().chain(below).collect()
}
