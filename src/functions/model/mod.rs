//! What a model makes of a corpus, of a document and of its neurons' output; a classifier of labelled images, and the end of
//! a job.

mod activations;
mod cancel_job;
mod drop_model;
mod drop_run;
mod explain_text;
mod import_run;
mod ingest;
mod logit_effects;
mod token_activations;
mod token_importance;
mod token_losses;
mod train_mlp;

use std::sync::Arc;

use polysema_udfs::calls::Function;

use crate::saes::SaeLibrary;
use crate::store::Store;

/// The chapter's functions over one store, in reading order.
pub(super) fn functions(store: &Arc<Store>) -> Vec<Function> {
    let saes = Arc::new(SaeLibrary::new(Arc::clone(store)));
    vec![
        ingest::function(Arc::clone(store)),
        import_run::function(Arc::clone(store)),
        activations::function(Arc::clone(store)),
        token_losses::function(Arc::clone(store)),
        logit_effects::function(&saes),
        token_activations::function(&saes),
        token_importance::function(&saes),
        explain_text::function(&saes),
        train_mlp::function(Arc::clone(store)),
        cancel_job::function(store),
        drop_run::function(store),
        drop_model::function(store),
    ]
}
