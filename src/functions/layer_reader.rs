//! What the neurons of a run's layer make of a pass of its model: those of the model, or an autoencoder's latents.

use std::sync::Arc;

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::at_least;

use super::run_model::AskedRun;
use crate::files::loaded::Resident;
use crate::jobs::JobContext;
use crate::models::{Capture, HookPoint, Input, LayerNorm, LoadedModel, Model};
use crate::options::Word;
use crate::saes::LoadedSae;
use crate::store::{LayerRow, Run};

/// Rows whose codes are in memory at once. Chosen, not tuned.
const ROWS: usize = 32;

/// A layer and where in a pass it is read.
pub struct LayerReader {
    /// Which layer.
    pub row: LayerRow,
    /// Where the vectors are that its neurons receive.
    pub received: HookPoint,
    neurons: Units,
}

enum Units {
    /// Of the model, whose activations are at a place of it.
    OfModel(HookPoint),
    /// Latents, which are made of the vectors received.
    OfSae(Arc<Resident<LoadedSae>>),
}

impl LayerReader {
    /// A layer of the run that is asked.
    ///
    /// Errors: the autoencoder whose latents it has is gone or another one.
    pub fn open(asked: &AskedRun, model: &dyn Model, row: &LayerRow) -> Result<Self> {
        let facts = asked.run.manifest();
        if row.kind != "sae" {
            let Some(layer_norm) = LayerNorm::parse(&facts.layer_norm) else {
                return exec_err!(
                    "a convention of the layer norm is required of run '{}', got '{}'",
                    facts.run,
                    facts.layer_norm
                );
            };
            let layer = row.layer as usize;
            return Ok(Self {
                row: row.clone(),
                received: model.received_at(layer, layer_norm)?,
                neurons: Units::OfModel(model.activation_at(layer)),
            });
        }
        let sae = asked.saes.get(&row.name)?;
        let manifest = &sae.stored.manifest;
        let hook = manifest.hook.as_deref();
        let (Some(hook), true) = (hook, manifest.run.as_ref() == Some(&facts.run)) else {
            return plan_err!(
                "the autoencoder '{}' over the model of run '{}' is required, got one of {}",
                row.name,
                facts.run,
                manifest.run.as_deref().unwrap_or("no run")
            );
        };
        Ok(Self {
            row: row.clone(),
            received: HookPoint::parse(hook)?,
            neurons: Units::OfSae(sae),
        })
    }

    /// The places that a pass must keep.
    pub fn places(&self) -> impl Iterator<Item = HookPoint> {
        let activation = match &self.neurons {
            Units::OfModel(activation) => Some(*activation),
            Units::OfSae(_) => None,
        };
        [Some(self.received), activation].into_iter().flatten()
    }

    /// The place without which there are no activations.
    pub fn activation_place(&self) -> HookPoint {
        match &self.neurons {
            Units::OfModel(activation) => *activation,
            Units::OfSae(_) => self.received,
        }
    }

    /// Calls `visit` with the activations of all neurons at each of these rows of a pass, one row after the other.
    ///
    /// Errors: one is not finite.
    pub fn activations(
        &self,
        seen: &Capture,
        rows: impl IntoIterator<Item = usize>,
        visit: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let n = self.row.n_neurons as usize;
        let mut shown =
            |row: usize, values: &[f32]| match values.iter().position(|x| !x.is_finite()) {
                None => visit(row, values),
                Some(neuron) => exec_err!(
                    "finite activations are required, got {} of layer {}, neuron {neuron}",
                    values[neuron],
                    self.row.layer
                ),
            };
        match &self.neurons {
            Units::OfModel(activation) => {
                let values = seen.at(*activation)?;
                rows.into_iter()
                    .try_for_each(|row| shown(row, &values[row * n..(row + 1) * n]))
            }
            Units::OfSae(sae) => {
                let received = seen.at(self.received)?;
                let d = sae.sae.d_in;
                let rows: Vec<usize> = rows.into_iter().collect();
                let (mut x, mut codes) = (vec![], vec![]);
                for rows in rows.chunks(ROWS) {
                    x.clear();
                    let vectors = rows.iter().map(|row| &received[row * d..(row + 1) * d]);
                    vectors.for_each(|vector| x.extend_from_slice(vector));
                    sae.sae.encode(&x, &mut codes);
                    let codes = rows.iter().zip(codes.chunks_exact(n));
                    codes
                        .into_iter()
                        .try_for_each(|(row, codes)| shown(*row, codes))?;
                }
                Ok(())
            }
        }
    }

    /// The activation of one neuron at each of these rows.
    pub fn of_neuron(
        &self,
        seen: &Capture,
        rows: impl IntoIterator<Item = usize>,
        neuron: i32,
    ) -> Result<Vec<f32>> {
        let mut found = vec![];
        self.activations(seen, rows, &mut |_, values| {
            found.push(values[neuron as usize]);
            Ok(())
        })?;
        Ok(found)
    }

    /// What the neurons of the layer received at a row, as their input weights are multiplied with it. `[d_in]`
    pub fn received(&self, seen: &Capture, row: usize) -> Result<Vec<f32>> {
        let d = self.row.d_in as usize;
        let vector = &seen.at(self.received)?[row * d..(row + 1) * d];
        Ok(match &self.neurons {
            Units::OfModel(_) => vector.to_vec(),
            Units::OfSae(sae) => sae.sae.input(vector, &mut vec![]).to_vec(),
        })
    }
}

/// A document of a run as its model reads it.
pub struct StoredDocument {
    /// Of all its tokens.
    pub ids: Vec<u32>,
    /// What a reader sees of each.
    pub texts: Vec<Option<String>>,
}

impl StoredDocument {
    /// The document of this number.
    pub fn read(run: &Run, doc_id: i32) -> Result<Self> {
        let (mut ids, mut texts) = (vec![], vec![]);
        for token in run.document(doc_id)? {
            let Some(id) = token.id else {
                return exec_err!(
                    "token ids are required of document {doc_id} of run '{}', got none",
                    run.name()
                );
            };
            ids.push(id);
            texts.push(token.text);
        }
        match ids.is_empty() {
            false => Ok(Self { ids, texts }),
            true => exec_err!(
                "tokens of document {doc_id} of run '{}' are required, got none",
                run.name()
            ),
        }
    }
}

/// Refuses a model that reads no text.
pub fn require_text(loaded: &LoadedModel) -> Result<()> {
    match loaded.model.d_vocab() {
        0 => exec_err!(
            "a model that reads token ids is required, got architecture {}, which reads images",
            loaded.model.architecture()
        ),
        _ => Ok(()),
    }
}

/// Reserves what a pass over so many documents takes at most, what is kept of `layers` included; how many of them fit.
pub fn hold_pass(
    memory: &MemoryReservation,
    model: &dyn Model,
    layers: &[LayerReader],
    most: usize,
    seq: usize,
) -> Result<usize> {
    let kept = layers
        .iter()
        .map(|layer| (layer.row.d_in + layer.row.n_neurons) as usize);
    let kept = kept.sum::<usize>() * size_of::<f32>();
    let mut n = most;
    loop {
        let bytes = model.pass_bytes(n, seq) + n * seq * (kept + size_of::<u32>());
        let of = format_args!("a pass over {n} documents of {seq} positions");
        match at_least(memory, bytes, of) {
            Err(_) if n > 1 => n = n.div_ceil(2),
            Err(error) => return Err(error),
            Ok(()) => return Ok(n),
        }
    }
}

/// One pass over documents of `seq` token ids, which keeps what `places` are.
pub fn pass(
    model: &dyn Model,
    ids: &[u32],
    seq: usize,
    places: impl IntoIterator<Item = HookPoint>,
    context: &JobContext,
) -> Result<Capture> {
    context.tick()?;
    let mut seen = Capture::new(places);
    model.forward(Input::Tokens { ids, seq }, &mut seen)?;
    context.tick()?;
    Ok(seen)
}
