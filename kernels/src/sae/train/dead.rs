//! What is done for latents that are never active.

use rayon::prelude::*;

use super::options::TrainOptions;
use super::scratch::Buffers;
use super::select;
use crate::network::matmul::{Matrix, Output, Parallelism, multiply};
use crate::random::Random;
use crate::sae::{Sae, Variant};
use crate::simd::{dot, wide};

/// Share of the mean encoder norm that a new latent gets: Bricken et al. 2023, appendix "neuron resampling".
const NEW_NORM: f32 = 0.2;

/// Latents not active for the options' number of steps.
pub(super) fn dead_latents(idle: &[u64], options: &TrainOptions) -> Vec<usize> {
    let dead = |j: &usize| idle[*j] >= options.dead_after_steps;
    (0..idle.len()).filter(dead).collect()
}

/// Adds the gradient of the auxiliary loss to `work`'s, and gives the loss, weighted.
///
/// ```text
/// e = x - y                                                             constant
/// L = coefficient mean (sum_j max(z[j], 0) W_dec[j] - e)^2 / mean (e - mean e)^2
///     j: the k dead latents of highest pre-activation z on the row
/// ```
///
/// `mean e` is the batch's, of each dimension. Nothing is lost where `e` is the same in all rows.
/// Source: Gao et al. 2024, A.2, and the authors' code, which divides by the variance.
pub(super) fn auxiliary(
    sae: &Sae,
    x: &[f32],
    dead: &[usize],
    (k, coefficient): (usize, f32),
    work: &mut Buffers,
) -> f64 {
    let (d, n, m) = (sae.d_in, work.n, dead.len());
    if m == 0 {
        return 0.0;
    }
    let input = if sae.centered { &work.centred } else { x };
    let (w_enc, w_dec) = (gather(&sae.w_enc, dead, d), gather(&sae.w_dec, dead, d));
    let rows = |x| Matrix::new(x, n, d, d);
    let w_dec = Matrix::new(&w_dec, m, d, d);
    let mut z = vec![0.0; m * n]; // [n_dead, n]
    times(
        Matrix::new(&w_enc, m, d, d),
        rows(input).transposed(),
        &mut z,
    );
    let bias = match &sae.variant {
        Variant::Gated { b_gate, .. } => b_gate,
        _ => &sae.b_enc,
    };
    for (z, j) in z.chunks_exact_mut(n).zip(dead) {
        z.iter_mut().for_each(|z| *z += bias[*j]);
    }
    select::top_k(&mut z, n, k);

    let codes = Matrix::new(&z, m, n, n);
    let mut error = vec![0.0; n * d];
    times(codes.transposed(), w_dec, &mut error);
    let loss = auxiliary_error(&work.dy, d, coefficient, &mut error);

    let mut dz = vec![0.0; m * n];
    times(w_dec, rows(&error).transposed(), &mut dz);
    for (dz, z) in dz.iter_mut().zip(&z) {
        if *z == 0.0 {
            *dz = 0.0;
        }
    }
    let (mut by_enc, mut by_dec) = (vec![0.0; m * d], vec![0.0; m * d]);
    times(Matrix::new(&dz, m, n, n), rows(input), &mut by_enc);
    times(codes, rows(&error), &mut by_dec);
    for (i, &j) in dead.iter().enumerate() {
        let (from, to) = (i * d..(i + 1) * d, j * d..(j + 1) * d);
        let grads = &mut work.grads;
        add(&mut grads.w_enc[to.clone()], &by_enc[from.clone()]);
        add(&mut grads.w_dec[to.clone()], &by_dec[from]);
        let sum: f32 = dz[i * n..(i + 1) * n].iter().sum();
        grads.latents[j].by[0] += sum;
        if sae.centered {
            for (g, w) in grads.b_dec.iter_mut().zip(&sae.w_enc[to]) {
                *g -= sum * w;
            }
        }
    }
    loss
}

/// The rows of `w` of the dead latents.
fn gather(w: &[f32], dead: &[usize], d: usize) -> Vec<f32> {
    let rows = dead.iter().map(|j| &w[j * d..(j + 1) * d]);
    rows.flatten().copied().collect()
}

fn times(lhs: Matrix<'_>, rhs: Matrix<'_>, out: &mut [f32]) {
    multiply(lhs, rhs, 1.0, Output::Replace, out, Parallelism::Rayon(0));
}

/// The loss; `out` `[n, d]`, the dead latents' reconstruction, becomes the loss's derivative by it. `dy` is the residual,
/// negative and scaled.
fn auxiliary_error(dy: &[f32], d: usize, coefficient: f32, out: &mut [f32]) -> f64 {
    const BLOCK: usize = 1 << 13;
    let variance = squares_around_mean(dy, d);
    if variance <= 0.0 {
        out.fill(0.0);
        return 0.0;
    }
    let half = 0.5 * dy.len() as f32;
    let variance = variance * f64::from(half).powi(2);
    let scale = (2.0 * f64::from(coefficient) / variance) as f32;
    let parts: Vec<f64> = out
        .par_chunks_mut(BLOCK)
        .zip(dy.par_chunks(BLOCK))
        .map(|(out, dy)| {
            let mut square = 0.0;
            for (out, dy) in out.iter_mut().zip(dy) {
                *out += dy * half;
                square += f64::from(*out).powi(2);
                *out *= scale;
            }
            square
        })
        .collect();
    f64::from(coefficient) * parts.iter().sum::<f64>() / variance
}

/// Sum of the squared distances of the rows `x` `[n, d]` from their mean.
fn squares_around_mean(x: &[f32], d: usize) -> f64 {
    let (mut sums, mut squares) = (vec![0.0; d], 0.0);
    let first = &x[..d];
    for row in x.chunks_exact(d) {
        for ((sum, x), first) in sums.iter_mut().zip(row).zip(first) {
            let from_first = f64::from(*x) - f64::from(*first);
            *sum += from_first;
            squares += from_first * from_first;
        }
    }
    squares - sums.iter().map(|s| s * s).sum::<f64>() / (x.len() / d) as f64
}

fn add(sum: &mut [f32], x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(s, x)| *s += x);
}

/// Where dead latents start anew.
pub(super) struct Sample {
    /// `[d_in]`, of norm 1
    pub(super) direction: Vec<f32>,
    /// Norm of the encoder row.
    pub(super) encoder_norm: f32,
}

/// A direction for each of `n_new` latents: a row of the batch, drawn with a probability proportional to the square
/// of its squared error; none where the reconstruction is perfect.
pub(super) fn resample(
    sae: &Sae,
    x: &[f32],
    work: &Buffers,
    idle: &[u64],
    n_new: usize,
    random: &mut Random,
) -> Vec<Sample> {
    let d = sae.d_in;
    let input = if sae.centered { &work.centred } else { x };
    let mut total = 0.0;
    let ends: Vec<f64> = work
        .dy
        .chunks_exact(d)
        .map(|dy| {
            total += f64::from(wide!(dot(dy, dy))).powi(2);
            total
        })
        .collect();
    if total <= 0.0 || !total.is_finite() {
        return Vec::new();
    }
    let alive = sae
        .w_enc
        .chunks_exact(d)
        .zip(idle)
        .filter(|(_, i)| **i == 0);
    let (mut norms, mut n_alive) = (0.0, 0);
    for (w, _) in alive {
        norms += wide!(dot(w, w)).sqrt();
        n_alive += 1;
    }
    let encoder_norm = NEW_NORM
        * if n_alive > 0 {
            norms / n_alive as f32
        } else {
            1.0
        };
    (0..n_new)
        .map(|_| {
            let at = random.uniform() * total;
            let row = ends.partition_point(|end| *end <= at).min(ends.len() - 1);
            let mut direction = input[row * d..(row + 1) * d].to_vec();
            crate::sae::init::normalise(&mut direction);
            Sample {
                direction,
                encoder_norm,
            }
        })
        .collect()
}
