//! Leaves out neurons that a join or a subquery turned out not to want, batch by batch as a scan gets to them.

use std::sync::Arc;

use datafusion::arrow::array::Int32Array;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::DynamicFilterTracking;
use datafusion::physical_plan::filter_pushdown::ChildPushdownResult;
use polysema_udfs::arrow::key_filter::KeyFilter;

use super::partitions::Piece;
use super::selection::IntSet;

/// The offered filters that are on the key, with those known; `None` when there is none of them.
pub(super) fn taken(
    known: Option<&KeyFilter>,
    offered: &ChildPushdownResult,
    schema: &Schema,
) -> Result<Option<KeyFilter>> {
    let filters = offered.parent_filters.iter().map(|result| &result.filter);
    let fitting: Vec<_> = filters
        .filter(|filter| KeyFilter::fits(filter, schema))
        .cloned()
        .collect();
    match fitting.is_empty() {
        true => Ok(None),
        false => KeyFilter::and(known, fitting).map(Some),
    }
}

/// Whether a filter that was taken lets nothing more pass than the scan does: one that may become stricter after a batch
/// was read stays with whoever asked.
pub(super) fn is_kept(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    KeyFilter::fits(filter, schema)
        && !DynamicFilterTracking::classify(filter).contains_dynamic_filter()
}

/// What of a piece the filter lets pass by now; `None` when nothing is.
pub(super) fn narrowed(piece: &Piece, filter: Option<&KeyFilter>) -> Result<Option<Piece>> {
    let Some(filter) = filter else {
        return Ok(Some(piece.clone()));
    };
    // Within the piece's bounds, so every neuron is 32 bits wide.
    let neurons = piece.neurons();
    let neurons = neurons.ranges().iter();
    let neurons = neurons.flat_map(|(first, last)| *first as i32..=*last as i32);
    let neurons: Int32Array = neurons.collect();
    let layers = Int32Array::from_value(piece.layer, neurons.len());
    let passed = filter.keeps(&layers, &neurons)?;
    if passed.false_count() == 0 {
        return Ok(Some(piece.clone()));
    }
    if passed.true_count() == 0 {
        return Ok(None);
    }
    let kept = passed.values().set_indices().map(|i| neurons.value(i));
    Ok(Some(Piece {
        keep: Some(IntSet::of_ascending(kept)),
        ..piece.clone()
    }))
}
