//! What every table of a layer is written with.

use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::options::MaxActivations;
use crate::corpus::Documents;
use crate::models::NeuronWeights;

/// Rows after which a record batch ends, at the next neuron. Chosen, not tuned.
pub(super) const BATCH_ROWS: usize = 8192;

/// Called many times a second; ends the work with its error.
pub(super) type Tick<'a> = &'a mut dyn FnMut() -> Result<()>;

/// What all layers are written with.
pub(super) struct Context<'a> {
    /// The weights of a layer's neurons.
    pub(super) weights: &'a (dyn Fn(usize) -> Result<NeuronWeights> + Sync),
    /// Maxima that take the place of those found.
    pub(super) maxima: Option<&'a MaxActivations>,
    pub(super) documents: &'a Documents,
    /// Bytes of the largest layer's weights.
    pub(super) weights_bytes: usize,
    /// Of what is being written.
    pub(super) memory: MemoryReservation,
}
