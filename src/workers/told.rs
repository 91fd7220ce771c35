//! Parts of plans that are told while they run, by a join, a limit or a subquery above them, which neurons are wanted. A worker
//! cannot be told later: its scans are narrowed to the neurons that are known to be wanted when a range begins.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::DynamicFilterTracking;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use polysema_udfs::arrow::key_filter::KeyFilter;
use polysema_udfs::per_neuron::{LayerFilterExec, PerNeuronExec};

use super::nodes::over_ranges;
use crate::store::{LayerNeurons, RunScan};

/// Whether a part of a plan is told by what is above it.
pub(super) fn is_told(part: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let (mut own, mut used, mut of_subquery) = (HashSet::new(), HashSet::new(), false);
    part.apply(|node| {
        // These say it, the others are told.
        let says =
            node.is::<LayerFilterExec>() || node.is::<SortExec>() || node.is::<AggregateExec>();
        let filters = if says { &mut own } else { &mut used };
        node.apply_expressions(&mut |expression: &Arc<dyn PhysicalExpr>| {
            of_subquery |= has_subquery(expression)?;
            if DynamicFilterTracking::classify(expression).contains_dynamic_filter() {
                expression.apply(|part| {
                    filters.extend(part.expression_id());
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(of_subquery || !used.is_subset(&own))
}

fn has_subquery(expression: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    expression.exists(|part| Ok((part.as_ref() as &dyn Any).is::<ScalarSubqueryExpr>()))
}

/// Whether what a filter keeps is known only as the query runs.
fn is_told_to(keys: &KeyFilter) -> Result<bool> {
    let predicate = keys.predicate();
    let is_dynamic = DynamicFilterTracking::classify(predicate).contains_dynamic_filter();
    Ok(is_dynamic || has_subquery(predicate)?)
}

/// A range narrowed to the neurons that are wanted: as far as is known by now, or as if it were all.
///
/// Both inputs of the per-neuron operator are narrowed to the same ones, which may become fewer between two looks.
pub(super) fn narrowed(
    range: &Arc<dyn ExecutionPlan>,
    is_known: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wanted = |scan: &RunScan, keys| scan.kept_by(Some(keys).filter(|_| is_known));
    if let Some(operator) = range.downcast_ref::<PerNeuronExec>()
        && let Some(keys) = operator.keys()
        && is_told_to(keys)?
        && let [examples, neurons] = operator.children().as_slice()
        && let Some(scan) = scan_of(neurons)
    {
        let wanted = wanted(&scan, keys)?;
        let (examples, neurons) = (only(examples, &wanted)?, only(neurons, &wanted)?);
        let (call, projection) = (Arc::new(operator.call().clone()), operator.projection());
        let operator = PerNeuronExec::try_new(call, projection.cloned(), examples, neurons)?;
        return Ok(Arc::new(operator));
    }
    let Some(scan) = range.downcast_ref::<RunScan>() else {
        return over_ranges(range, &|input| narrowed(input, is_known));
    };
    match scan.keys() {
        Some(keys) if is_told_to(keys)? => Ok(Arc::new(scan.only(&wanted(scan, keys)?)?)),
        _ => Ok(Arc::clone(range)),
    }
}

/// A plan over scans of these neurons alone.
fn only(plan: &Arc<dyn ExecutionPlan>, wanted: &[LayerNeurons]) -> Result<Arc<dyn ExecutionPlan>> {
    match plan.downcast_ref::<RunScan>() {
        Some(scan) => Ok(Arc::new(scan.only(wanted)?)),
        None => over_ranges(plan, &|input| only(input, wanted)),
    }
}

/// The scan whose ranges a plan has.
fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<RunScan> {
    match plan.downcast_ref::<RunScan>() {
        Some(scan) => Some(scan.clone()),
        None => scan_of(plan.children().first()?),
    }
}

/// Whether it is known that a range has no rows.
pub(super) fn is_empty(range: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let (mut has_aggregate, mut reads) = (false, false);
    range.apply(|node| {
        has_aggregate |= node.is::<AggregateExec>();
        reads |= node
            .downcast_ref::<RunScan>()
            .is_some_and(|scan| !scan.is_empty());
        Ok(TreeNodeRecursion::Continue)
    })?;
    // An aggregate of nothing is a row.
    Ok(!has_aggregate && !reads)
}
