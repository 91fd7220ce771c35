//! An autoencoder out of the store, with its layer.

use datafusion::error::Result;

use super::latents::KIND;
use super::write::write_layer_rows;
use crate::jobs::JobContext;
use crate::store::{Extension, Store};

/// Removes an autoencoder, its layer of its run, or the run that was made for it, and what an interrupted training of
/// its name has left. The bytes that were in it.
///
/// Errors: there is none of this name; someone is making it. After an error it is as it was.
pub fn drop_sae(store: &Store, name: &str, context: &JobContext) -> Result<u64> {
    let found = store.sae(name);
    let training = store.training(name)?;
    if found.is_err() && !training.exists() {
        return found.map(|_| 0);
    }
    let held = store.begin_sae(name, true)?;
    let mut bytes = held.training().remove()?;
    // Read again under its lock.
    let Ok(sae) = store.sae(name) else {
        return Ok(bytes);
    };
    let run = sae.manifest.run.clone().unwrap_or_default();
    let own = run == name && store.run(&run)?.manifest().architecture == KIND;
    if own && store.saes_of(&run).len() == 1 {
        drop(sae);
        return Ok(bytes + store.drop_run(&run, true)?);
    }
    bytes += sae.size_bytes()?;
    let Extension {
        writer,
        mut facts,
        layers,
        ..
    } = store.reduce(&sae, &mut |_| context.tick())?;
    write_layer_rows(&layers, &writer)?;
    facts.counts = writer.counts();
    writer.commit(facts)?;
    Ok(bytes)
}
