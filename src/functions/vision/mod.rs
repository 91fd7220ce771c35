//! Maps over the pixels of images: what a neuron of a classifier sees where.

mod activation_map;
mod importance_map;

use std::sync::Arc;

use polysema_udfs::calls::Function;

use crate::store::Store;

/// The chapter's functions over one store, in reading order.
pub(super) fn functions(store: &Arc<Store>) -> Vec<Function> {
    vec![
        activation_map::function(store),
        importance_map::function(store),
    ]
}
