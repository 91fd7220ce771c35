//! Sparse autoencoders: trained, measured, compared, exchanged. Their latents are neurons of a layer, so that every
//! function of a neuron takes them.

mod codes;
mod exchange;
mod feature_density;
mod feature_splitting;
mod sae_matches;
mod sae_metrics;
mod train_sae;

use std::sync::Arc;

use polysema_udfs::calls::Function;

use crate::saes::SaeLibrary;
use crate::store::Store;

/// The chapter's functions over one store, in reading order.
pub(super) fn functions(store: &Arc<Store>) -> Vec<Function> {
    let saes = Arc::new(SaeLibrary::new(Arc::clone(store)));
    let mut functions = vec![train_sae::function(store)];
    functions.extend(exchange::functions(&saes));
    functions.push(sae_metrics::function(&saes));
    functions.push(feature_density::function(&saes));
    functions.extend(codes::functions(&saes));
    functions.push(sae_matches::function(&saes));
    functions.push(feature_splitting::function(&saes));
    functions
}
