//! The gradient of a batch's loss by every parameter, one block of latents after the other.

use rayon::prelude::*;

use super::ne_loss::{Averages, LatentBlock};
use super::options::{Reduction, TrainOptions};
use super::scratch::{Buffers, Gradients, LatentGradient, Scratch, Stats, fill, latent_block};
use crate::network::matmul::{Matrix, Output, Parallelism, multiply};
use crate::sae::encode::SPARSE;
use crate::sae::{Sae, Variant};
use crate::simd::{LANES, SparseTerm, add_terms, dot, total, wide};

/// Sums over all latents.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    /// Of the neuron embedding loss, unweighted.
    pub(super) ne_loss: f64,
    /// Of the squares of the gradient by everything but `b_dec`.
    pub(super) square: f64,
    /// What reaches the encoder's input. `[d_in]`
    by_input: Vec<f32>,
}

/// What a step's gradient depends on.
pub(super) struct Backward<'a> {
    pub(super) sae: &'a Sae,
    pub(super) options: &'a TrainOptions,
    /// `[n, d_in]`, as given
    pub(super) x: &'a [f32],
    /// Where the embedding loss is switched on.
    pub(super) averages: Option<&'a Averages>,
}

impl Backward<'_> {
    /// Fills the gradients of `work` after the forward pass. `by_bias` is the reconstruction's by `b_dec`.
    pub(super) fn gradients(&self, work: &mut Buffers, by_bias: &[f32]) -> Totals {
        let d = self.sae.d_in;
        let block = latent_block(self.sae.d_sae);
        let mut grads = std::mem::take(&mut work.grads);
        let shared = &*work;
        let parts: Vec<Totals> = grads
            .w_enc
            .par_chunks_mut(block * d)
            .zip(grads.w_dec.par_chunks_mut(block * d))
            .zip(grads.latents.par_chunks_mut(block))
            .enumerate()
            .map(|(i, ((w_enc, w_dec), latents))| {
                let mut scratch = shared.scratch();
                let view = BlockView::new(self, shared, i * block, latents.len());
                view.gradients(w_enc, w_dec, latents, &mut scratch)
            })
            .collect();
        let mut sum = Totals {
            by_input: vec![0.0; d],
            ..Totals::default()
        };
        for part in &parts {
            sum.ne_loss += part.ne_loss;
            sum.square += part.square;
            add(&mut sum.by_input, &part.by_input);
        }
        grads.b_dec.copy_from_slice(by_bias);
        if self.sae.centered {
            grads
                .b_dec
                .iter_mut()
                .zip(&sum.by_input)
                .for_each(|(g, x)| *g -= x);
        }
        work.grads = grads;
        sum
    }

    /// The weight of a term that is a sum over rows.
    pub(super) fn per_row(&self, weight: f32) -> f32 {
        per_row(self.options, weight, self.x.len() / self.sae.d_in)
    }
}

/// The factor of a sum over the `n` rows of a batch in the loss.
pub(super) fn per_row(options: &TrainOptions, weight: f32, n: usize) -> f32 {
    match options.reduction {
        Reduction::Sum => weight,
        Reduction::Mean => weight / n as f32,
    }
}

fn add(sum: &mut [f32], x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(s, x)| *s += x);
}

/// A block of latents of every matrix.
struct BlockView<'a> {
    step: &'a Backward<'a>,
    first: usize,
    n: usize,
    /// What the encoder multiplied, `[n, d_in]`
    input: &'a [f32],
    dy: &'a [f32],
    dy_gate: &'a [f32],
    squares: &'a [f32],
    /// `[block, n]` each
    a: &'a [f32],
    pre: &'a [f32],
    stats: &'a [Stats],
    /// `[block, d_in]` each
    w_enc: &'a [f32],
    w_dec: &'a [f32],
}

impl<'a> BlockView<'a> {
    fn new(step: &'a Backward<'a>, work: &'a Buffers, first: usize, n_latents: usize) -> Self {
        let (d, n) = (step.sae.d_in, work.n);
        let codes = first * n..(first + n_latents) * n;
        let rows = first * d..(first + n_latents) * d;
        Self {
            step,
            first,
            n,
            input: if step.sae.centered {
                &work.centred
            } else {
                step.x
            },
            dy: &work.dy,
            dy_gate: &work.dy_gate,
            squares: &work.squares,
            a: &work.a[codes.clone()],
            pre: work.pre.get(codes).unwrap_or_default(),
            stats: &work.stats[first..first + n_latents],
            w_enc: &step.sae.w_enc[rows.clone()],
            w_dec: &step.sae.w_dec[rows],
        }
    }

    fn gradients(
        &self,
        w_enc: &mut [f32],
        w_dec: &mut [f32],
        latents: &mut [LatentGradient],
        scratch: &mut Scratch,
    ) -> Totals {
        let d = self.step.sae.d_in;
        let active: usize = self.stats.iter().map(|s| s.n as usize).sum();
        // Gates and thresholds have gradients beside the active entries.
        let beside = matches!(
            self.step.sae.variant,
            Variant::JumpRelu { .. } | Variant::Gated { .. }
        );
        scratch.by_centre.clear();
        scratch.by_centre.resize(d, 0.0);
        let ne_loss = if !beside && active * SPARSE <= self.a.len() {
            self.sparse(w_enc, w_dec, latents, scratch)
        } else {
            self.dense(w_enc, w_dec, latents, scratch)
        };
        let mut totals = Totals {
            ne_loss,
            by_input: scratch.by_centre.clone(),
            ..Totals::default()
        };
        wide!({
            let grads = w_enc.chunks_exact(d).zip(w_dec.chunks_exact(d));
            for (((g, h), w), latent) in grads.zip(self.w_enc.chunks_exact(d)).zip(&*latents) {
                totals.square += f64::from(dot(g, g)) + f64::from(dot(h, h));
                totals.square += latent.by.iter().map(|x| f64::from(x * x)).sum::<f64>();
                for (sum, w) in totals.by_input.iter_mut().zip(w) {
                    *sum += latent.pre * w;
                }
            }
        });
        totals
    }

    fn embedding_loss(&self) -> Option<LatentBlock<'a>> {
        let d = self.step.sae.d_in;
        let latents = self.first..self.first + self.stats.len();
        let averages = self.step.averages?;
        Some(LatentBlock {
            h: if self.step.options.ne_centered {
                self.input
            } else {
                self.step.x
            },
            squares: self.squares,
            a: self.a,
            w: self.w_enc,
            averages: &averages.h[latents.start * d..latents.end * d],
            seen: &averages.seen[latents],
            weight: self.step.per_row(self.step.options.ne_loss),
            centred: self.step.options.ne_centered && self.step.sae.centered,
        })
    }

    /// By products over all entries.
    fn dense(
        &self,
        w_enc: &mut [f32],
        w_dec: &mut [f32],
        latents: &mut [LatentGradient],
        scratch: &mut Scratch,
    ) -> f64 {
        let (d, n, m) = (self.step.sae.d_in, self.n, latents.len());
        let times = |lhs: &[f32], rhs: Matrix<'_>, out: &mut [f32]| {
            let k = lhs.len() / m;
            let lhs = Matrix::new(lhs, m, k, k);
            multiply(lhs, rhs, 1.0, Output::Replace, out, Parallelism::None);
        };
        let dy = Matrix::new(self.dy, n, d, d);
        times(self.a, dy, w_dec);
        let da = fill(&mut scratch.da, m * n);
        times(self.w_dec, dy.transposed(), da);
        let da_gate = fill(&mut scratch.da_gate, self.dy_gate.len() / d * m);
        if !da_gate.is_empty() {
            times(
                self.w_dec,
                Matrix::new(self.dy_gate, n, d, d).transposed(),
                da_gate,
            );
        }
        for (r, (da, latent)) in da.chunks_exact_mut(n).zip(&mut *latents).enumerate() {
            let at = r * n..(r + 1) * n;
            let da_gate = da_gate.get(at.clone()).unwrap_or_default();
            *latent = wide!(self.through_activation(r, at, da, da_gate));
        }
        times(da, Matrix::new(self.input, n, d, d), w_enc);
        self.embedding_loss()
            .map_or(0.0, |loss| loss.dense(w_enc, scratch))
    }

    /// By sums over the active entries, for variants whose others have no gradient.
    fn sparse(
        &self,
        w_enc: &mut [f32],
        w_dec: &mut [f32],
        latents: &mut [LatentGradient],
        scratch: &mut Scratch,
    ) -> f64 {
        let d = self.step.sae.d_in;
        let l1 = self.step.per_row(self.step.options.l1);
        let loss = self.embedding_loss();
        let mut ne_loss = 0.0;
        let grads = w_enc.chunks_exact_mut(d).zip(w_dec.chunks_exact_mut(d));
        for (r, ((w_enc, w_dec), latent)) in grads.zip(latents).enumerate() {
            w_enc.fill(0.0);
            w_dec.fill(0.0);
            *latent = LatentGradient::default();
            if self.stats[r].n == 0 {
                continue;
            }
            let (codes, back) = (&mut scratch.terms, &mut scratch.more_terms);
            codes.clear();
            let a = self.a[r * self.n..(r + 1) * self.n].iter().enumerate();
            codes.extend(a.filter(|(_, a)| **a > 0.0).map(|(b, &factor)| SparseTerm {
                row: b as u32,
                factor,
            }));
            back.clear();
            let w = &self.w_dec[r * d..(r + 1) * d];
            wide!({
                for &SparseTerm { row, .. } in &*codes {
                    let dy = &self.dy[row as usize * d..(row as usize + 1) * d];
                    let factor = dot(dy, w) + l1;
                    latent.pre += factor;
                    back.push(SparseTerm { row, factor });
                }
                add_terms(codes, self.dy, w_dec);
                add_terms(back, self.input, w_enc);
            });
            latent.by[0] = latent.pre;
            if let Some(loss) = &loss {
                ne_loss +=
                    loss.sparse(r, codes, (w_enc, &mut scratch.by_centre), &mut scratch.sums);
            }
        }
        ne_loss
    }

    /// The derivative by a latent's activations, `da` `[n]`, becomes the one by `W_enc x`; `at` are its entries of
    /// the block.
    #[inline(always)]
    fn through_activation(
        &self,
        r: usize,
        at: std::ops::Range<usize>,
        da: &mut [f32],
        da_gate: &[f32],
    ) -> LatentGradient {
        let a = &self.a[at.clone()];
        let l1 = self.step.per_row(self.step.options.l1);
        let j = self.first + r;
        match &self.step.sae.variant {
            Variant::Relu | Variant::TopK { .. } | Variant::BatchTopK { .. } => {
                let pre = mask(a, da, l1);
                LatentGradient {
                    by: [pre, 0.0, 0.0],
                    pre,
                }
            }
            Variant::JumpRelu { threshold } => {
                let by_threshold = self.by_threshold(threshold[j], &self.pre[at], da, l1);
                let pre = mask(a, da, 0.0);
                LatentGradient {
                    by: [pre, by_threshold * threshold[j], 0.0],
                    pre,
                }
            }
            Variant::Gated { b_gate, r_mag, .. } => {
                let (bias, scale) = (b_gate[j], r_mag[j].exp());
                let pre = &self.pre[at];
                let mut by = [0.0f32; 3];
                let mut sum = 0.0;
                for b in 0..a.len() {
                    let magnitude = if a[b] > 0.0 { da[b] } else { 0.0 };
                    let gate = if pre[b] + bias > 0.0 {
                        da_gate[b] + l1
                    } else {
                        0.0
                    };
                    by[0] += gate;
                    by[1] += magnitude * scale * pre[b];
                    by[2] += magnitude;
                    da[b] = magnitude * scale + gate;
                    sum += da[b];
                }
                LatentGradient { by, pre: sum }
            }
        }
    }

    /// Of a jump ReLU's loss by one threshold `t`, a step estimated by a rectangle of the bandwidth around it:
    /// of `a`, `-t / bandwidth`; of the number of active latents, `-1 / bandwidth`.
    #[inline(always)]
    fn by_threshold(&self, t: f32, z: &[f32], da: &[f32], l0: f32) -> f32 {
        let half = 0.5 * self.step.options.bandwidth;
        let terms = z.iter().zip(da).filter(|(z, _)| (*z - t).abs() < half);
        let sum: f32 = terms.map(|(_, da)| t * da + l0).sum();
        -sum / self.step.options.bandwidth
    }
}

/// `da` becomes `da + l1` where `a` is positive, else 0; the sum of it.
#[inline(always)]
fn mask(a: &[f32], da: &mut [f32], l1: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (da_chunks, da_rest) = da.as_chunks_mut::<LANES>();
    for (a, da) in a_chunks.iter().zip(da_chunks) {
        for i in 0..LANES {
            da[i] = if a[i] > 0.0 { da[i] + l1 } else { 0.0 };
            sums[i] += da[i];
        }
    }
    for (i, (a, da)) in a_rest.iter().zip(da_rest).enumerate() {
        *da = if *a > 0.0 { *da + l1 } else { 0.0 };
        sums[i] += *da;
    }
    total(sums)
}

impl Gradients {
    /// Sum of the squares of all.
    pub(super) fn square(&self) -> f64 {
        let of = |values: &[f32]| -> f64 {
            let parts: Vec<f64> = values
                .par_chunks(1 << 14)
                .map(|x| {
                    let mut sum = 0.0;
                    wide!(for x in x.chunks(256) {
                        sum += f64::from(dot(x, x));
                    });
                    sum
                })
                .collect();
            parts.iter().sum()
        };
        let latents = self.latents.iter().flat_map(|l| l.by);
        of(&self.w_enc)
            + of(&self.w_dec)
            + of(&self.b_dec)
            + latents.map(|x| f64::from(x).powi(2)).sum::<f64>()
    }
}
