//! The SQL functions that need the store or a model; the rest are in `polysema-udfs`.

mod activations;
mod import_run;
mod ingest;
mod progress;
mod row_vectors;
mod sae;
mod sources;
mod train_mlp;

use std::sync::Arc;

use polysema_udfs::calls::Function;

use crate::store::Store;

/// The engine's functions over one store, in reading order.
pub fn functions(store: &Arc<Store>) -> Vec<Function> {
    let mut functions = vec![
        ingest::function(Arc::clone(store)),
        import_run::function(Arc::clone(store)),
        activations::function(Arc::clone(store)),
        train_mlp::function(Arc::clone(store)),
    ];
    functions.extend(sae::functions(store));
    functions
}
