//! What is done for latents that are never active.

use rayon::prelude::*;

use super::forward::Reconstruction;
use super::options::TrainOptions;
use super::select;
use super::work::Work;
use super::{Sae, Variant};
use crate::matmul::{Matrix, Output, Parallelism, multiply};
use crate::random::Random;
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
/// e = x - y                                          constant
/// L = coefficient mean (sum_j z[j] W_dec[j] - e)^2    j: the k dead latents of highest z on the row
/// ```
///
/// `z` is the pre-activation, negative ones too, since those of a dead latent mostly are.
pub(super) fn auxiliary(
    sae: &Sae,
    x: &[f32],
    dead: &[usize],
    (k, coefficient): (usize, f32),
    work: &mut Work,
) -> f64 {
    let (d, n, m) = (sae.d_in, work.n, dead.len());
    if m == 0 {
        return 0.0;
    }
    let input = if sae.centered { &work.centred } else { x };
    let bias = match &sae.variant {
        Variant::Gated { b_gate, .. } => b_gate,
        _ => &sae.b_enc,
    };
    let gather = |w: &[f32]| -> Vec<f32> {
        dead.iter()
            .flat_map(|j| w[j * d..(j + 1) * d].to_vec())
            .collect()
    };
    let (w_enc, w_dec) = (gather(&sae.w_enc), gather(&sae.w_dec));
    let times = |lhs: Matrix<'_>, rhs: Matrix<'_>, out: &mut [f32]| {
        multiply(lhs, rhs, 1.0, Output::Replace, out, Parallelism::Rayon(0));
    };
    let (rows, latents) = (|x| Matrix::new(x, n, d, d), |w| Matrix::new(w, m, d, d));
    let mut z = vec![0.0; m * n]; // [n_dead, n]
    times(latents(&w_enc), rows(input).transposed(), &mut z);
    for (z, j) in z.chunks_exact_mut(n).zip(dead) {
        z.iter_mut().for_each(|z| *z += bias[*j]);
    }
    select::top_k(&mut z, n, k, f32::NEG_INFINITY);

    let mut error = vec![0.0; n * d];
    times(
        Matrix::new(&z, m, n, n).transposed(),
        latents(&w_dec),
        &mut error,
    );
    // `dy` is the residual, negative and scaled.
    let half = 0.5 * (n * d) as f32;
    let scale = coefficient / half;
    let parts: Vec<f64> = error
        .par_chunks_mut(16 * d)
        .zip(work.dy.par_chunks(16 * d))
        .map(|(error, dy)| {
            let mut square = 0.0;
            for (error, dy) in error.iter_mut().zip(dy) {
                *error += dy * half;
                square += f64::from(*error).powi(2);
                *error *= scale;
            }
            square
        })
        .collect();
    let loss = f64::from(coefficient) * parts.iter().sum::<f64>() / (n * d) as f64;

    let mut dz = vec![0.0; m * n];
    times(latents(&w_dec), rows(&error).transposed(), &mut dz);
    for (dz, z) in dz.iter_mut().zip(&z) {
        if *z == 0.0 {
            *dz = 0.0;
        }
    }
    let (mut by_enc, mut by_dec) = (vec![0.0; m * d], vec![0.0; m * d]);
    times(Matrix::new(&dz, m, n, n), rows(input), &mut by_enc);
    times(Matrix::new(&z, m, n, n), rows(&error), &mut by_dec);
    let grads = &mut work.grads;
    for (i, &j) in dead.iter().enumerate() {
        let (from, to) = (i * d..(i + 1) * d, j * d..(j + 1) * d);
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
    work: &Work,
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
            total += f64::from(wide(|| dot(dy, dy))).powi(2);
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
        norms += wide(|| dot(w, w)).sqrt();
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
            super::init::normalise(&mut direction);
            Sample {
                direction,
                encoder_norm,
            }
        })
        .collect()
}

/// Mean and variance of a batch as the losses report them.
pub(super) fn explained(sums: &Reconstruction) -> f64 {
    if sums.variance > 0.0 {
        1.0 - sums.error / sums.variance
    } else {
        0.0
    }
}
