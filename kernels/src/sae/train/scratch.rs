//! The matrices of one training step, kept between steps, and the blocks its threads share out.
//!
//! Codes lie latent-major `[d_sae, n]`: a block of latents is then one slice of every matrix, and a latent's row
//! over the batch is what its bias, its gradient and its average are sums over. Block sizes depend on shapes only,
//! and each block's sums are added in the blocks' order: results do not depend on the number of threads.

use std::sync::{Mutex, MutexGuard};

use crate::sae::{Sae, Variant};
use crate::simd::SparseTerm;

/// Everything a step computes before its update.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Rows of the batch.
    pub(super) n: usize,
    /// `x - b_dec`, if centered. `[n, d_in]`
    pub(super) centred: Vec<f32>,
    /// Squares of the vectors that embeddings are of. `[n, d_in]`
    pub(super) squares: Vec<f32>,
    /// Activations. `[d_sae, n]`
    pub(super) a: Vec<f32>,
    /// `z` of a jump ReLU, `W_enc x` of a gated one. `[d_sae, n]`
    pub(super) pre: Vec<f32>,
    /// Activations of a gated one's gates. `[d_sae, n]`
    pub(super) gate: Vec<f32>,
    /// Of each latent over the batch. `[d_sae]`
    pub(super) stats: Vec<Stats>,
    /// Derivative of the loss by the reconstruction. `[n, d_in]`
    pub(super) dy: Vec<f32>,
    /// The same by the gates' reconstruction. `[n, d_in]`
    pub(super) dy_gate: Vec<f32>,
    /// Gradients of the parameters.
    pub(super) grads: Gradients,
    scratch: Vec<Mutex<Scratch>>,
}

/// A latent over one batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stats {
    /// Rows on which it is active.
    pub(super) n: u32,
    /// Sum of its activations.
    pub(super) sum: f32,
    /// Sum of its gate's activations.
    pub(super) gate: f32,
}

/// One gradient for each parameter.
#[derive(Debug, Default)]
pub(super) struct Gradients {
    /// `[d_sae, d_in]`
    pub(super) w_enc: Vec<f32>,
    /// `[d_sae, d_in]`
    pub(super) w_dec: Vec<f32>,
    /// `[d_in]`
    pub(super) b_dec: Vec<f32>,
    /// `[d_sae]`
    pub(super) latents: Vec<LatentGradient>,
}

/// Of the parameters with one number a latent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct LatentGradient {
    /// `b_enc`, or `b_gate`, `r_mag`, `b_mag`; `b_enc`, `log threshold`.
    pub(super) by: [f32; 3],
    /// By `W_enc x`, summed over the batch.
    pub(super) pre: f32,
}

/// What one thread needs for one block of latents.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// `[block, n]` each
    pub(super) da: Vec<f32>,
    pub(super) da_gate: Vec<f32>,
    pub(super) num: Vec<f32>,
    pub(super) q: Vec<f32>,
    /// `[block, d_in]` each
    pub(super) v: Vec<f32>,
    pub(super) p: Vec<f32>,
    pub(super) by_h: Vec<f32>,
    pub(super) by_square: Vec<f32>,
    /// Derivative by what the embedding loss is centred on. `[d_in]`
    pub(super) by_centre: Vec<f32>,
    pub(super) terms: Vec<SparseTerm>,
    pub(super) more_terms: Vec<SparseTerm>,
    pub(super) sums: LatentSums,
}

/// What one latent's sparse sums are made in.
#[derive(Debug, Default)]
pub(super) struct LatentSums {
    pub(super) v: Vec<f32>,
    pub(super) p: Vec<f32>,
    pub(super) by_h: Vec<f32>,
    pub(super) by_square: Vec<f32>,
    pub(super) h_terms: Vec<SparseTerm>,
    pub(super) square_terms: Vec<SparseTerm>,
}

impl LatentSums {
    pub(super) fn resize(&mut self, d: usize) {
        for buffer in [
            &mut self.v,
            &mut self.p,
            &mut self.by_h,
            &mut self.by_square,
        ] {
            buffer.clear();
            buffer.resize(d, 0.0);
        }
        self.h_terms.clear();
        self.square_terms.clear();
    }
}

impl Buffers {
    /// Sizes for a batch of `n` rows.
    pub(super) fn resize(&mut self, sae: &Sae, n: usize, embeddings: bool) {
        let (d, m) = (sae.d_in, sae.d_sae);
        self.n = n;
        let keep = |needed: bool, len: usize| if needed { len } else { 0 };
        let gated = matches!(sae.variant, Variant::Gated { .. });
        let jump = matches!(sae.variant, Variant::JumpRelu { .. });
        self.centred.resize(keep(sae.centered, n * d), 0.0);
        self.squares.resize(keep(embeddings, n * d), 0.0);
        self.a.resize(m * n, 0.0);
        self.pre.resize(keep(gated || jump, m * n), 0.0);
        self.gate.resize(keep(gated, m * n), 0.0);
        self.stats.resize(m, Stats::default());
        self.dy.resize(n * d, 0.0);
        self.dy_gate.resize(keep(gated, n * d), 0.0);
        self.grads.w_enc.resize(m * d, 0.0);
        self.grads.w_dec.resize(m * d, 0.0);
        self.grads.b_dec.resize(d, 0.0);
        self.grads.latents.resize(m, LatentGradient::default());
        let threads = rayon::current_num_threads().max(1);
        self.scratch
            .resize_with(threads.max(self.scratch.len()), Mutex::default);
    }

    /// Floats of all threads' scratch, terms counted as two.
    pub(super) fn scratch_floats(d_in: usize, d_sae: usize, n: usize) -> usize {
        let block = latent_block(d_sae);
        let matrices = block
            .saturating_mul(n.saturating_add(d_in))
            .saturating_mul(4);
        let vectors = d_in.saturating_mul(5).saturating_add(n.saturating_mul(8));
        matrices
            .saturating_add(vectors)
            .saturating_mul(rayon::current_num_threads().max(1))
    }

    /// The scratch of this thread. A task takes it once and starts no other task while it holds it.
    pub(super) fn scratch(&self) -> MutexGuard<'_, Scratch> {
        let thread = rayon::current_thread_index().unwrap_or(0);
        let lock = self.scratch[thread % self.scratch.len()].lock();
        // What a panicking task left is overwritten by the next.
        lock.unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Latents of one task.
pub(super) fn latent_block(d_sae: usize) -> usize {
    (d_sae / 8).next_multiple_of(16).clamp(16, 256)
}

/// Rows of one task.
pub(super) fn row_block(n: usize) -> usize {
    (n / 8).next_multiple_of(16).clamp(32, 256)
}

/// A slice of the needed length, whatever it held.
pub(super) fn fill(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
