//! A training batch forwards: codes, reconstruction, and the derivative of its error.

use rayon::prelude::*;

use super::scratch::{Buffers, Stats, latent_block, row_block};
use super::select;
use crate::network::matmul::{Matrix, Output, Parallelism, multiply};
use crate::sae::encode::{above, gated};
use crate::sae::{Sae, Variant};
use crate::simd::{LANES, dot, total, wide};

/// Fills `a`, `pre`, `gate` and `stats` for the rows `x` `[n, d_in]`, centred if the encoder is.
pub(super) fn encode(sae: &Sae, x: &[f32], work: &mut Buffers) {
    let (d, n) = (sae.d_in, work.n);
    let block = latent_block(sae.d_sae);
    let rows = Matrix::new(x, n, d, d).transposed();
    let product = |i: usize, out: &mut [f32]| {
        let w = &sae.w_enc[i * block * d..];
        let w = Matrix::new(w, out.len() / n, d, d);
        multiply(w, rows, 1.0, Output::Replace, out, Parallelism::None);
    };
    let (a, stats) = (&mut work.a, &mut work.stats);
    let codes = a.par_chunks_mut(block * n).zip(stats.par_chunks_mut(block));
    match &sae.variant {
        Variant::Gated { .. } => {
            let pre = work.pre.par_chunks_mut(block * n);
            let gate = work.gate.par_chunks_mut(block * n);
            let blocks = codes.zip(pre).zip(gate).enumerate();
            blocks.for_each(|(i, (((a, stats), pre), gate))| {
                product(i, pre);
                let rows = a.chunks_exact_mut(n).zip(pre.chunks_exact(n));
                let rows = rows.zip(gate.chunks_exact_mut(n)).zip(stats);
                for (r, (((a, p), gate), stats)) in rows.enumerate() {
                    open_gate(sae, i * block + r, p, a, gate);
                    *stats = summarise(a);
                    stats.gate = summarise(gate).sum;
                }
            });
        }
        Variant::JumpRelu { threshold } => {
            let blocks = codes.zip(work.pre.par_chunks_mut(block * n)).enumerate();
            blocks.for_each(|(i, ((a, stats), pre))| {
                product(i, pre);
                let rows = a.chunks_exact_mut(n).zip(pre.chunks_exact_mut(n));
                for (r, ((a, z), stats)) in rows.zip(stats).enumerate() {
                    let j = i * block + r;
                    for (a, z) in a.iter_mut().zip(z) {
                        *z += sae.b_enc[j];
                        *a = above(*z, threshold[j]);
                    }
                    *stats = summarise(a);
                }
            });
        }
        _ => codes.enumerate().for_each(|(i, (a, stats))| {
            product(i, a);
            for (r, (a, stats)) in a.chunks_exact_mut(n).zip(stats).enumerate() {
                let bias = sae.b_enc[i * block + r];
                wide!(a.iter_mut().for_each(|z| *z = (*z + bias).max(0.0)));
                *stats = summarise(a);
            }
        }),
    }
    match sae.variant {
        Variant::TopK { k } => select::top_k(&mut work.a, n, k),
        Variant::BatchTopK { k, .. } => select::top_k_of_all(&mut work.a, n, k),
        _ => return,
    }
    let rows = work.a.par_chunks_exact(n).with_min_len(16);
    rows.zip(&mut work.stats)
        .for_each(|(a, stats)| *stats = summarise(a));
}

/// Activations and open gate of latent `j` of a gated one, from its row `p` of `W_enc x`.
fn open_gate(sae: &Sae, j: usize, p: &[f32], a: &mut [f32], gate: &mut [f32]) {
    let Variant::Gated {
        b_gate,
        r_mag,
        b_mag,
    } = &sae.variant
    else {
        return;
    };
    let scale = r_mag[j].exp();
    for ((a, p), gate) in a.iter_mut().zip(p).zip(gate) {
        [*gate, *a] = gated(*p, b_gate[j], scale, b_mag[j]);
    }
}

/// Sum and number of the positive values of a row without negative ones.
fn summarise(a: &[f32]) -> Stats {
    wide!({
        let (mut sums, mut counts) = ([0.0f32; LANES], [0u32; LANES]);
        let (chunks, rest) = a.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                sums[i] += chunk[i];
                counts[i] += u32::from(chunk[i] > 0.0);
            }
        }
        for (i, a) in rest.iter().enumerate() {
            sums[i] += a;
            counts[i] += u32::from(*a > 0.0);
        }
        Stats {
            n: counts.iter().sum(),
            sum: total(sums),
            gate: 0.0,
        }
    })
}

/// Sums over a batch of its reconstruction.
#[derive(Debug, Clone, Default)]
pub(super) struct Reconstruction {
    /// Sum of the squared errors.
    pub(super) error: f64,
    /// Sum of the squared distances from the batch's mean; 0 where all rows are equal.
    pub(super) variance: f64,
    /// Sum over the rows of the derivative of the error. `[d_in]`
    pub(super) by_bias: Vec<f32>,
}

impl Reconstruction {
    /// Share of the variance that is explained; none where there is none.
    pub(super) fn explained(&self) -> Option<f64> {
        (self.variance > 0.0).then(|| 1.0 - self.error / self.variance)
    }
}

/// Reconstructs the rows `x` from the codes `a` `[d_sae, n]` and fills `dy` with the derivative of the mean squared
/// error.
pub(super) fn reconstruct(
    sae: &Sae,
    x: &[f32],
    a: &[f32],
    sparse: Option<&[Stats]>,
    dy: &mut [f32],
) -> Reconstruction {
    let (d, m) = (sae.d_in, sae.d_sae);
    let n = x.len() / d;
    let block = row_block(n);
    let scale = 2.0 / (n * d) as f32;
    let first = &x[..d];
    let parts: Vec<Part> = x
        .par_chunks(block * d)
        .zip(dy.par_chunks_mut(block * d))
        .enumerate()
        .map(|(i, (x, y))| {
            for row in y.chunks_exact_mut(d) {
                row.copy_from_slice(&sae.b_dec);
            }
            let a = &a[i * block..];
            match sparse {
                Some(stats) => add_active(sae, a, n, stats, y),
                None => {
                    let codes = Matrix::new(a, m, y.len() / d, n).transposed();
                    let w_dec = Matrix::new(&sae.w_dec, m, d, d);
                    multiply(codes, w_dec, 1.0, Output::Accumulate, y, Parallelism::None);
                }
            }
            wide!(Part::of(x, y, first, scale))
        })
        .collect();
    total_of(&parts, n, d)
}

/// `y += a W_dec` for the rows of `y`, one active latent after the other; `a` begins at the first row's column.
fn add_active(sae: &Sae, a: &[f32], n: usize, stats: &[Stats], y: &mut [f32]) {
    let d = sae.d_in;
    let rows = y.len() / d;
    wide!({
        for (j, w) in sae.w_dec.chunks_exact(d).enumerate() {
            if stats[j].n == 0 {
                continue;
            }
            for (y, &a) in y.chunks_exact_mut(d).zip(&a[j * n..j * n + rows]) {
                if a > 0.0 {
                    for (y, w) in y.iter_mut().zip(w) {
                        *y += a * w;
                    }
                }
            }
        }
    });
}

/// Sums over one block of rows.
struct Part {
    error: f64,
    /// Of the distances from the batch's first row: of values far from 0 the sums would cancel.
    squares: f64,
    sums: Vec<f64>,
    by_bias: Vec<f32>,
}

impl Part {
    /// `y` becomes `scale (y - x)`.
    #[inline(always)]
    fn of(x: &[f32], y: &mut [f32], first: &[f32], scale: f32) -> Self {
        let d = first.len();
        let mut part = Self {
            error: 0.0,
            squares: 0.0,
            sums: vec![0.0; d],
            by_bias: vec![0.0; d],
        };
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            for k in 0..d {
                let from_first = f64::from(x[k]) - f64::from(first[k]);
                part.sums[k] += from_first;
                part.squares += from_first * from_first;
                y[k] -= x[k];
            }
            part.error += f64::from(dot(y, y));
            for (y, sum) in y.iter_mut().zip(&mut part.by_bias) {
                *y *= scale;
                *sum += *y;
            }
        }
        part
    }
}

fn total_of(parts: &[Part], n: usize, d: usize) -> Reconstruction {
    let mut sums = vec![0.0; d];
    let mut found = Reconstruction {
        by_bias: vec![0.0; d],
        ..Reconstruction::default()
    };
    for part in parts {
        found.error += part.error;
        found.variance += part.squares;
        sums.iter_mut().zip(&part.sums).for_each(|(s, x)| *s += x);
        let by_bias = found.by_bias.iter_mut().zip(&part.by_bias);
        by_bias.for_each(|(s, x)| *s += x);
    }
    found.variance -= sums.iter().map(|s| s * s).sum::<f64>() / n as f64;
    found
}
