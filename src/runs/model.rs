//! The model that a run was made with, loaded anew where it is not in memory.

use std::sync::Arc;

use datafusion::common::exec_err;
use datafusion::error::Result;

use crate::corpus::is_there;
use crate::files::loaded::Resident;
use crate::jobs::JobContext;
use crate::models::{LoadedModel, find_model, loaded, model_of};
use crate::store::{RunManifest, Store};

/// What the manifest of a run has in place of a convention where no model was read.
pub(super) const GIVEN: &str = "given";

/// The model of a run; `moved` is where it is now, if not where it was.
///
/// Errors: the run was made without one; it is not there, or not what it was.
pub fn model_of_run(
    store: &Store,
    facts: &RunManifest,
    moved: Option<&str>,
    context: &JobContext,
) -> Result<Arc<Resident<LoadedModel>>> {
    let run = &facts.run;
    if facts.layer_norm == GIVEN {
        return exec_err!(
            "a run of a model that read a corpus is required, got '{run}' of kind {}, made without one",
            facts.architecture
        );
    }
    let fetch = &mut context.fetch();
    let place = match moved {
        Some(model) => find_model(store, model.as_ref(), fetch)?,
        None => model_of(store, &facts.model, fetch)?,
    };
    if !is_there(&place) {
        return exec_err!(
            "the model of run '{run}' is required, got nothing at {}: the option model says where it is now",
            place.display()
        );
    }
    let loaded = loaded(store.loaded(), &place)?;
    if loaded.hash != facts.model.hash {
        return exec_err!(
            "the model that run '{run}' was made with is required in {}, got another one",
            place.display()
        );
    }
    Ok(loaded)
}
