//! Sparse autoencoders: trained, measured, compared, exchanged. Their latents are neurons of a layer, so that every
//! function of a neuron takes them.

mod drop_sae;
mod export_sae;
mod feature_density;
mod feature_splitting;
mod import_sae;
mod sae_decode;
mod sae_encode;
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
    vec![
        train_sae::function(store),
        import_sae::function(&saes),
        export_sae::function(&saes),
        sae_metrics::function(&saes),
        feature_density::function(&saes),
        sae_encode::function(&saes),
        sae_decode::function(&saes),
        sae_matches::function(&saes),
        feature_splitting::function(&saes),
        drop_sae::function(store),
    ]
}
