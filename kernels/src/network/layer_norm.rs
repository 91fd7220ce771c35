//! Norms of rows, cut in two where the definitions cut them: the normalised vector, then scale and bias.
//!
//! ```text
//! layer norm    normalized = (x - mean(x)) / sqrt(var(x) + epsilon)      var with divisor d
//! RMS norm      normalized = x / sqrt(mean(x^2) + epsilon)
//! out           gamma normalized + beta
//! ```
//!
//! Source: Ba, Kiros and Hinton 2016, equation 4; Zhang and Sennrich 2019, equation 4.

use crate::network::activation::fused;
use crate::simd::{LANES, sums_in_lanes, widest};

/// What a row is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// The standard deviation, after the mean is taken off.
    Layer,
    /// The root of the mean square.
    Rms,
}

/// What follows the normalisation.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// `[d]`
    pub gamma: &'a [f32],
    /// `[d]`
    pub beta: &'a [f32],
}

/// The norm of every row of width `d` of `x` into `out`, which is as long; without `affine` the normalised vectors.
pub fn normalize(
    norm: Norm,
    x: &[f32],
    d: usize,
    epsilon: f32,
    affine: Option<Affine<'_>>,
    out: &mut [f32],
) {
    widest!(normalize_as(norm, x, d, epsilon, affine, out));
}

#[inline(always)]
fn normalize_as<const FMA: bool>(
    norm: Norm,
    x: &[f32],
    d: usize,
    epsilon: f32,
    affine: Option<Affine<'_>>,
    out: &mut [f32],
) {
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        let mean = match norm {
            Norm::Layer => sum(x, |v| v) / d as f32,
            Norm::Rms => 0.0,
        };
        // A second pass over the row, which is in cache: the one-pass form cancels on large means.
        let variance = sum(x, |v| (v - mean) * (v - mean)) / d as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        match affine {
            None => {
                for (o, v) in out.iter_mut().zip(x) {
                    *o = (v - mean) * inverse;
                }
            }
            Some(Affine { gamma, beta }) => {
                for ((o, v), (g, b)) in out.iter_mut().zip(x).zip(gamma.iter().zip(beta)) {
                    *o = fused::<FMA>((v - mean) * inverse, *g, *b);
                }
            }
        }
    }
}

/// `out = gamma normalized + beta` of every row, bit for bit what [`normalize`] gives in one go.
pub fn scale_rows(normalized: &[f32], affine: Affine<'_>, out: &mut [f32]) {
    widest!(scale_rows_as(normalized, affine, out));
}

#[inline(always)]
fn scale_rows_as<const FMA: bool>(normalized: &[f32], affine: Affine<'_>, out: &mut [f32]) {
    let d = affine.gamma.len();
    for (x, out) in normalized.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        for ((o, v), (g, b)) in out
            .iter_mut()
            .zip(x)
            .zip(affine.gamma.iter().zip(affine.beta))
        {
            *o = fused::<FMA>(*v, *g, *b);
        }
    }
}

/// Sum of `f` over a row, in lanes that do not depend on the instruction set.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let [sums]: [[f32; LANES]; 1] = sums_in_lanes(x, x, |v, _| [f(v)]);
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize, d: usize, offset: f32) -> Vec<f32> {
        (0..n * d)
            .map(|i| offset + ((i * 7919) % 1013) as f32 / 500.0 - 1.0)
            .collect()
    }

    fn naive(norm: Norm, x: &[f32], epsilon: f32) -> Vec<f64> {
        let d = x.len() as f64;
        let mean = match norm {
            Norm::Layer => x.iter().map(|v| f64::from(*v)).sum::<f64>() / d,
            Norm::Rms => 0.0,
        };
        let variance = x
            .iter()
            .map(|v| (f64::from(*v) - mean).powi(2))
            .sum::<f64>()
            / d;
        x.iter()
            .map(|v| (f64::from(*v) - mean) / (variance + f64::from(epsilon)).sqrt())
            .collect()
    }

    #[test]
    fn agrees_with_float64() {
        for (d, offset) in [
            (1, 0.0),
            (5, 3.0),
            (16, 0.0),
            (48, -2.0),
            (77, 0.0),
            (768, 40.0),
        ] {
            let x = rows(3, d, offset);
            let mut out = vec![0.0; x.len()];
            for norm in [Norm::Layer, Norm::Rms] {
                normalize(norm, &x, d, 1e-5, None, &mut out);
                for (row, came) in x.chunks_exact(d).zip(out.chunks_exact(d)) {
                    for (expected, came) in naive(norm, row, 1e-5).iter().zip(came) {
                        assert!(
                            (expected - f64::from(*came)).abs() < 2e-5,
                            "{norm:?} {d}: {expected} {came}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn two_steps_equal_one() {
        let d = 37;
        let x = rows(4, d, 0.5);
        let (gamma, beta) = (rows(1, d, 1.0), rows(1, d, 0.1));
        let affine = Affine {
            gamma: &gamma,
            beta: &beta,
        };
        let (mut whole, mut half, mut scaled) =
            (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
        normalize(Norm::Layer, &x, d, 1e-5, Some(affine), &mut whole);
        normalize(Norm::Layer, &x, d, 1e-5, None, &mut half);
        scale_rows(&half, affine, &mut scaled);
        assert_eq!(whole, scaled);
        normalize_as::<false>(Norm::Layer, &x, d, 1e-5, Some(affine), &mut half);
        assert!(whole.iter().zip(&half).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn constant_row_gives_zero() {
        let mut out = vec![1.0; 8];
        normalize(Norm::Layer, &[3.5; 8], 8, 1e-5, None, &mut out);
        assert_eq!(out, [0.0; 8]);
    }
}
