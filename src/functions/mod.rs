//! The SQL functions that need the store or a model; the rest are in `polysema-udfs`. A function `f` of chapter `c` is
//! `c/f.rs`; the files beside the chapters are what functions share.

mod arguments;
mod codes;
mod corpora;
mod corpus_pass;
mod fired_features;
mod layer_reader;
mod model;
mod pixel_layers;
mod progress;
mod removal;
mod row_vectors;
mod run_model;
mod sae;
mod sources;
mod vision;

use std::sync::Arc;

use polysema_udfs::calls::Function;

use crate::store::Store;

/// The engine's functions over one store, in reading order.
pub fn functions(store: &Arc<Store>) -> Vec<Function> {
    let mut functions = model::functions(store);
    functions.extend(sae::functions(store));
    functions.extend(vision::functions(store));
    functions
}
