//! Sparse autoencoders of a store, in memory while they are used and as long after as there is room.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use polysema_kernels::sae::Sae;

use super::weights;
use crate::files::loaded::Resident;
use crate::store::{Store, StoredSae};

/// One of them with what is known of it.
#[derive(Debug)]
pub struct LoadedSae {
    /// What it is and where it lies.
    pub stored: StoredSae,
    /// Its parameters.
    pub sae: Sae,
}

/// The sparse autoencoders of a store.
#[derive(Debug)]
pub struct SaeLibrary {
    store: Arc<Store>,
}

impl SaeLibrary {
    /// Those of a store, none of them read yet.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The store they are in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The run that has the latents of one as a layer, and the layer.
    ///
    /// Errors: it has none.
    pub fn layer(&self, name: &str) -> Result<(String, i32)> {
        let facts = self.store.sae(name)?.manifest;
        let run = facts.run.unwrap_or_default();
        match facts.layer {
            Some(layer) => Ok((run, layer)),
            // A run that was made again has lost it.
            None => plan_err!(
                "run '{run}' with the latents of '{name}' as a layer is required, got it without them: train or import \
                 it again"
            ),
        }
    }

    /// The one of this name as it is now. It blocks while the weights are read.
    pub fn get(&self, name: &str) -> Result<Arc<Resident<LoadedSae>>> {
        let stored = self.store.sae(name)?;
        let facts = &stored.manifest;
        let key = format!("sae {} {facts:?}", stored.hash());
        let d_out = facts.d_out.unwrap_or(facts.d_in);
        let bytes = 4 * weights::numbers(facts.d_in, d_out, facts.d_sae, facts.skip);
        let what = format!("the autoencoder '{name}'");
        self.store.loaded().get(
            &key,
            &what,
            || bytes,
            || {
                let sae = weights::load(&stored)?;
                // In memory it needs no file any more, which may be in the way of who replaces the run.
                let stored = stored.let_go();
                Ok((LoadedSae { stored, sae }, bytes))
            },
        )
    }
}
