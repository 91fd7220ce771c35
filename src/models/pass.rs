//! One forward pass: values on their way through the blocks, offered to the hooks where they ask for them.

use std::sync::Arc;

use datafusion::error::Result;
use rayon::prelude::*;

use super::error::invalid;
use super::{HookPoint, Hooks, Site};

/// Values a parallel task handles at a time: 64 KiB, which stays in a core's cache. Chosen, not tuned.
const TASK: usize = 16_384;

/// Activations on their way. A hook may have kept them; then nobody changes them.
pub(super) type Floats = Arc<Vec<f32>>;

/// The state of a pass: its hooks, its shape and buffers that the next block may reuse.
pub(super) struct Pass<'h> {
    hooks: &'h mut dyn Hooks,
    pub(super) batch: usize,
    pub(super) seq: usize,
    /// Weights that lie in a narrower type, as float32 while they are multiplied.
    pub(super) widened: Vec<f32>,
    spare: Vec<Floats>,
}

impl<'h> Pass<'h> {
    pub(super) fn new(hooks: &'h mut dyn Hooks, batch: usize, seq: usize) -> Self {
        Self {
            hooks,
            batch,
            seq,
            widened: Vec::new(),
            spare: Vec::new(),
        }
    }

    pub(super) fn wants(&self, layer: usize, site: Site) -> bool {
        self.hooks.wants(HookPoint { layer, site })
    }

    pub(super) fn done(&self) -> bool {
        self.hooks.done()
    }

    /// Shows a value of `width` values per position to the hooks if they want it, and goes on with theirs.
    pub(super) fn offer(
        &mut self,
        layer: usize,
        site: Site,
        value: Floats,
        width: usize,
    ) -> Result<Floats> {
        let dims = [self.batch, self.seq, width];
        self.offer_shaped(layer, site, value, &dims)
    }

    /// As [`Pass::offer`] for a value of another shape.
    pub(super) fn offer_shaped(
        &mut self,
        layer: usize,
        site: Site,
        value: Floats,
        dims: &[usize],
    ) -> Result<Floats> {
        let hook = HookPoint { layer, site };
        if !self.hooks.wants(hook) {
            return Ok(value);
        }
        match self.hooks.visit(hook, &value, dims)? {
            None => Ok(value),
            Some(replaced) if replaced.len() == value.len() => {
                self.recycle(value);
                Ok(Arc::new(replaced))
            }
            Some(other) => Err(invalid(format!(
                "{hook}: a replacement of {} values, of shape {dims:?}, is required, got {}",
                value.len(),
                other.len()
            ))),
        }
    }

    /// A buffer of `len` values with arbitrary content: one that is read no more if there is one, since fresh memory
    /// costs page faults.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<f32> {
        let unread = |buffer: &Floats| buffer.len() == len && Arc::strong_count(buffer) == 1;
        let found = self.spare.iter().position(unread);
        let buffer = found.and_then(|i| Arc::try_unwrap(self.spare.swap_remove(i)).ok());
        buffer.unwrap_or_else(|| vec![0.0; len])
    }

    /// Takes a value back that the pass reads no more; a hook may read it still.
    pub(super) fn recycle(&mut self, value: Floats) {
        self.spare.push(value);
    }
}

/// Calls `f(first value, rows)` for groups of rows of `out` on all threads.
pub(super) fn for_rows(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let step = (TASK / width).max(1) * width;
    if out.len() <= step {
        return f(0, out);
    }
    out.par_chunks_mut(step)
        .enumerate()
        .for_each(|(i, rows)| f(i * step, rows));
}
