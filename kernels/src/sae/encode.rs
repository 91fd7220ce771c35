//! Vectors to codes and back with trained parameters, in parallel over blocks of rows. Above 400 lines with the tests of each
//! formula.

use rayon::prelude::*;

use super::model::{InputNorm, Sae, Variant};
use crate::network::matmul::{Matrix, Output, Parallelism, multiply};
use crate::simd::{SparseTerm, add_terms, wide};

/// Rows of one task: enough that packing the weights for each costs little.
const ROWS: usize = 128;

/// Below one active latent in so many, sums over the active ones cost less than products over all: estimated for a
/// product at 16 operations a cycle.
pub(crate) const SPARSE: usize = 10;

impl Sae {
    /// The code `[n, d_sae]` of the rows `x` `[n, d_in]`; `out` is resized. With trained parameters: batch top-k
    /// goes by its threshold. Of equal activations at the edge of a top-k, the lowest latents stay.
    pub fn encode(&self, x: &[f32], out: &mut Vec<f32>) {
        let (d, m) = (self.d_in, self.d_sae);
        assert!(x.len().is_multiple_of(d), "the rows are d_in wide");
        out.clear();
        out.resize(x.len() / d * m, 0.0);
        x.par_chunks(ROWS * d)
            .zip(out.par_chunks_mut(ROWS * m))
            .for_each_init(
                || (Vec::new(), Vec::new(), Vec::new()),
                |(input, centred, scratch), (x, out)| {
                    let x = self.centred(self.input(x, input), centred);
                    let n = x.len() / d;
                    let w_enc = Matrix::new(&self.w_enc, m, d, d).transposed();
                    let x = Matrix::new(x, n, d, d);
                    multiply(x, w_enc, 1.0, Output::Replace, out, Parallelism::None);
                    for row in out.chunks_exact_mut(m) {
                        self.activate(row, scratch);
                    }
                },
            );
    }

    /// The vectors `[n, d_in]` as they are encoded: each without its length where the autoencoder takes that off. What
    /// latents are multiplied with, but for `b_dec`.
    pub fn input<'a>(&self, x: &'a [f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        if self.norm == InputNorm::None {
            return x;
        }
        buffer.resize(x.len(), 0.0);
        let rows = x.chunks_exact(self.d_in);
        for (x, out) in rows.zip(buffer.chunks_exact_mut(self.d_in)) {
            self.norm.apply(x, out);
        }
        buffer
    }

    /// What the autoencoder makes of the vectors `x` `[n, d_in]` with the codes `[n, d_sae]`, `[n, d_out]`; `out` is resized.
    pub fn reconstruct(&self, x: &[f32], codes: &[f32], out: &mut Vec<f32>) {
        self.decode(codes, out);
        if !self.reads_vector_again() {
            return;
        }
        let (d, d_out) = (self.d_in, self.d_out());
        x.par_chunks(ROWS * d)
            .zip(out.par_chunks_mut(ROWS * d_out))
            .for_each(|(x, out)| {
                if self.norm != InputNorm::None {
                    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d_out)) {
                        let [mean, length] = self.norm.of(x);
                        for y in out {
                            *y = (f64::from(*y) * length + mean) as f32;
                        }
                    }
                }
                if !self.w_skip.is_empty() {
                    let w_skip = Matrix::new(&self.w_skip, d_out, d, d).transposed();
                    let x = Matrix::new(x, x.len() / d, d, d);
                    multiply(x, w_skip, 1.0, Output::Accumulate, out, Parallelism::None);
                }
            });
    }

    /// The vectors `[n, d_out]` that the codes `[n, d_sae]` stand for; `out` is resized.
    pub fn decode(&self, codes: &[f32], out: &mut Vec<f32>) {
        let (d, m) = (self.d_out(), self.d_sae);
        assert!(codes.len().is_multiple_of(m), "the codes are d_sae wide");
        out.clear();
        out.resize(codes.len() / m * d, 0.0);
        codes
            .par_chunks(ROWS * m)
            .zip(out.par_chunks_mut(ROWS * d))
            .for_each(|(codes, out)| {
                for row in out.chunks_exact_mut(d) {
                    row.copy_from_slice(&self.b_dec);
                }
                if codes.iter().filter(|a| **a != 0.0).count() * SPARSE <= codes.len() {
                    self.decode_sparse(codes, out);
                } else {
                    let codes = Matrix::new(codes, codes.len() / m, m, m);
                    let w_dec = Matrix::new(&self.w_dec, m, d, d);
                    multiply(
                        codes,
                        w_dec,
                        1.0,
                        Output::Accumulate,
                        out,
                        Parallelism::None,
                    );
                }
            });
    }

    fn decode_sparse(&self, codes: &[f32], out: &mut [f32]) {
        let mut terms = Vec::new();
        for (code, out) in codes
            .chunks_exact(self.d_sae)
            .zip(out.chunks_exact_mut(self.d_out()))
        {
            terms.clear();
            terms.extend(code.iter().enumerate().filter(|(_, a)| **a != 0.0).map(
                |(j, &factor)| SparseTerm {
                    row: j as u32,
                    factor,
                },
            ));
            wide!(add_terms(&terms, &self.w_dec, out));
        }
    }

    /// The pre-activation's part that does not depend on the vector:
    ///
    /// ```text
    /// W_enc x + latent_bias = W_enc (x - b_dec) + b_enc      b_gate for b_enc of a gated one
    /// ```
    pub fn latent_bias(&self) -> Vec<f32> {
        let bias = match &self.variant {
            Variant::Gated { b_gate, .. } => b_gate,
            _ => &self.b_enc,
        };
        if !self.centered {
            return bias.clone();
        }
        let centre = |w: &[f32]| -> f64 {
            let terms = w.iter().zip(&self.b_dec);
            terms.map(|(w, b)| f64::from(*w) * f64::from(*b)).sum()
        };
        let rows = self.w_enc.chunks_exact(self.d_in);
        bias.iter()
            .zip(rows)
            .map(|(b, w)| (f64::from(*b) - centre(w)) as f32)
            .collect()
    }

    /// What the encoder multiplies: `x`, or `x - b_dec` in `buffer`.
    pub(crate) fn centred<'a>(&self, x: &'a [f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        if !self.centered {
            return x;
        }
        buffer.resize(x.len(), 0.0);
        let rows = x.chunks_exact(self.d_in);
        for (x, out) in rows.zip(buffer.chunks_exact_mut(self.d_in)) {
            for ((out, x), b) in out.iter_mut().zip(x).zip(&self.b_dec) {
                *out = x - b;
            }
        }
        buffer
    }

    /// `W_enc x` of one row becomes its code.
    fn activate(&self, row: &mut [f32], scratch: &mut Vec<f32>) {
        if let Variant::Gated {
            b_gate,
            r_mag,
            b_mag,
        } = &self.variant
        {
            for (j, p) in row.iter_mut().enumerate() {
                [_, *p] = gated(*p, b_gate[j], r_mag[j].exp(), b_mag[j]);
            }
            return;
        }
        for (z, b) in row.iter_mut().zip(&self.b_enc) {
            *z += b;
        }
        match &self.variant {
            Variant::Relu => row.iter_mut().for_each(|z| *z = z.max(0.0)),
            Variant::TopK { k } => keep_largest(row, *k, scratch),
            Variant::BatchTopK { threshold, .. } => {
                let least = threshold.max(0.0);
                row.iter_mut().for_each(|z| *z = above(*z, least));
            }
            Variant::JumpRelu { threshold } => {
                for (z, t) in row.iter_mut().zip(threshold) {
                    *z = above(*z, *t);
                }
            }
            Variant::Gated { .. } => {}
        }
    }
}

/// How far the gate of a gated latent is open, and its activation, from `W_enc x`; `scale` is `exp(r_mag)`.
#[inline(always)]
pub(crate) fn gated(p: f32, b_gate: f32, scale: f32, b_mag: f32) -> [f32; 2] {
    let gate = (p + b_gate).max(0.0);
    let magnitude = (scale * p + b_mag).max(0.0);
    [gate, if gate > 0.0 { magnitude } else { 0.0 }]
}

/// `z` where it exceeds `threshold`, else 0.
pub(crate) fn above(z: f32, threshold: f32) -> f32 {
    if z > threshold { z } else { 0.0 }
}

/// Sets all but the `k` largest positive values to 0; of equal ones the first stay.
pub(crate) fn keep_largest(row: &mut [f32], k: usize, scratch: &mut Vec<f32>) {
    scratch.clear();
    scratch.extend(row.iter().copied().filter(|z| *z > 0.0));
    let (edge, mut n_edge) = edge_of(scratch, k);
    for z in row {
        if *z == edge && n_edge > 0 {
            n_edge -= 1;
        } else {
            *z = above(*z, edge);
        }
    }
}

/// What the `k` largest of some positive values lie above, and how many that equal it belong to them.
pub(crate) fn edge_of(values: &mut [f32], k: usize) -> (f32, usize) {
    if values.len() <= k {
        return (0.0, 0);
    }
    let Some(last) = k.checked_sub(1) else {
        return (f32::INFINITY, 0);
    };
    let (larger, &mut edge, _) = values.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
    (edge, k - larger.iter().filter(|z| **z > edge).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::sae::Init;

    fn rows(n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n).map(|_| random.normal() as f32).collect()
    }

    fn untrained(name: &str, centered: bool) -> Sae {
        let mut variant = Variant::untrained(name, 40, 3).unwrap();
        match &mut variant {
            Variant::BatchTopK { threshold, .. } => *threshold = 0.4,
            Variant::JumpRelu { threshold } => threshold.fill(0.3),
            Variant::Gated { b_mag, .. } => b_mag.fill(0.2),
            _ => {}
        }
        Sae::init(7, 40, variant, centered, Init::Uniform, 1)
    }

    /// The code of one row by the formulas of the variants, in float64.
    fn naive(sae: &Sae, x: &[f32]) -> Vec<f64> {
        let pre: Vec<f64> = sae
            .w_enc
            .chunks(7)
            .map(|w| {
                let centre = |k: usize| if sae.centered { sae.b_dec[k] } else { 0.0 };
                let terms = (0..7).map(|k| f64::from(w[k]) * f64::from(x[k] - centre(k)));
                terms.sum()
            })
            .collect();
        let z = |j: usize| pre[j] + f64::from(sae.b_enc[j]);
        let code = |j: usize| match &sae.variant {
            Variant::Relu => z(j).max(0.0),
            Variant::TopK { k } => {
                let above = (0..40).filter(|i| z(*i) > z(j)).count();
                if above < *k { z(j).max(0.0) } else { 0.0 }
            }
            Variant::BatchTopK { threshold, .. } => {
                let t = f64::from(*threshold);
                if z(j) > t { z(j) } else { 0.0 }
            }
            Variant::JumpRelu { threshold } => {
                let t = f64::from(threshold[j]);
                if z(j) > t { z(j) } else { 0.0 }
            }
            Variant::Gated {
                b_gate,
                r_mag,
                b_mag,
            } => {
                let magnitude = f64::from(r_mag[j]).exp() * pre[j] + f64::from(b_mag[j]);
                let open = pre[j] + f64::from(b_gate[j]) > 0.0;
                if open { magnitude.max(0.0) } else { 0.0 }
            }
        };
        (0..40).map(code).collect()
    }

    #[test]
    fn equals_the_formulas() {
        // More rows than one task takes, and a last task that is short.
        let x = rows(7 * 300, 2);
        for (name, centered) in Variant::NAMES.iter().flat_map(|n| [(n, true), (n, false)]) {
            let sae = untrained(name, centered);
            let (mut codes, mut back) = (vec![9.0], vec![9.0]);
            sae.encode(&x, &mut codes);
            sae.decode(&codes, &mut back);
            assert_eq!((codes.len(), back.len()), (300 * 40, x.len()));
            for (i, (x, code)) in x.chunks(7).zip(codes.chunks(40)).enumerate() {
                for (found, expected) in code.iter().zip(naive(&sae, x)) {
                    assert!(
                        (f64::from(*found) - expected).abs() < 1e-6,
                        "{name}, row {i}"
                    );
                }
                for k in 0..7 {
                    let sum: f64 = (0..40)
                        .map(|j| f64::from(code[j]) * f64::from(sae.w_dec[j * 7 + k]))
                        .sum();
                    let expected = sum + f64::from(sae.b_dec[k]);
                    assert!(
                        (f64::from(back[i * 7 + k]) - expected).abs() < 1e-5,
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn transcoders_and_norms_equal_the_formulas() {
        let x = rows(7 * 300, 2);
        for norm in [InputNorm::Rms, InputNorm::Standard] {
            let mut sae = untrained("topk", true);
            sae.norm = norm;
            let (mut buffer, mut codes, mut back) = (vec![], vec![], vec![]);
            sae.encode(&x, &mut codes);
            sae.reconstruct(&x, &codes, &mut back);
            let input = sae.input(&x, &mut buffer).to_vec();
            for (i, x) in x.chunks(7).enumerate() {
                let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                let mean = match norm {
                    InputNorm::Standard => x.iter().sum::<f64>() / 7.0,
                    _ => 0.0,
                };
                let squares: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
                let (length, epsilon) = match norm {
                    InputNorm::Standard => ((squares / 6.0).sqrt(), 1e-5),
                    _ => ((squares / 7.0).sqrt(), 0.0),
                };
                let u: Vec<f32> = x
                    .iter()
                    .map(|x| ((x - mean) / (length + epsilon)) as f32)
                    .collect();
                for (k, u) in u.iter().enumerate() {
                    assert!((input[i * 7 + k] - u).abs() < 1e-6, "{norm:?}, row {i}");
                }
                let code = &codes[i * 40..][..40];
                for (found, expected) in code.iter().zip(naive(&sae, &u)) {
                    assert!(
                        (f64::from(*found) - expected).abs() < 1e-6,
                        "{norm:?}, row {i}"
                    );
                }
                for k in 0..7 {
                    let terms =
                        (0..40).map(|j| f64::from(code[j]) * f64::from(sae.w_dec[j * 7 + k]));
                    let expected = (terms.sum::<f64>() + f64::from(sae.b_dec[k])) * length + mean;
                    assert!(
                        (f64::from(back[i * 7 + k]) - expected).abs() < 1e-5,
                        "{norm:?}"
                    );
                }
            }
        }
        // A vector of zeros has no direction, and comes back as zeros.
        let mut sae = untrained("relu", false);
        sae.norm = InputNorm::Rms;
        let (mut codes, mut back) = (vec![], vec![]);
        sae.encode(&[0.0; 7], &mut codes);
        sae.reconstruct(&[0.0; 7], &codes, &mut back);
        assert_eq!(back, [0.0; 7]);

        let mut sae = untrained("relu", false);
        (sae.w_dec, sae.b_dec) = (rows(40 * 5, 4), rows(5, 5));
        sae.w_skip = rows(5 * 7, 6);
        sae.encode(&x, &mut codes);
        sae.reconstruct(&x, &codes, &mut back);
        assert_eq!(back.len(), 300 * 5);
        for (i, (x, code)) in x.chunks(7).zip(codes.chunks(40)).enumerate() {
            for k in 0..5 {
                let terms = (0..40).map(|j| f64::from(code[j]) * f64::from(sae.w_dec[j * 5 + k]));
                let skipped = (0..7).map(|j| f64::from(x[j]) * f64::from(sae.w_skip[k * 7 + j]));
                let expected = terms.sum::<f64>() + f64::from(sae.b_dec[k]) + skipped.sum::<f64>();
                assert!(
                    (f64::from(back[i * 5 + k]) - expected).abs() < 1e-4,
                    "row {i}"
                );
            }
        }
    }

    #[test]
    fn latent_bias_serves_the_vector_as_given() {
        for name in ["relu", "gated"] {
            let sae = untrained(name, true);
            let x = rows(7, 3);
            for (j, (w, bias)) in sae.w_enc.chunks(7).zip(sae.latent_bias()).enumerate() {
                let sum: f32 = w.iter().zip(&x).map(|(w, x)| w * x).sum();
                let centred: f32 = (0..7).map(|k| w[k] * (x[k] - sae.b_dec[k])).sum();
                let own = match &sae.variant {
                    Variant::Gated { b_gate, .. } => b_gate[j],
                    _ => sae.b_enc[j],
                };
                assert!((sum + bias - centred - own).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_lowest_of_equal_latents_stay() {
        let mut scratch = Vec::new();
        for (k, expected) in [
            (0, [0.0; 5]),
            (2, [1.0, 0.0, 2.0, 0.0, 0.0]),
            (3, [1.0, 1.0, 2.0, 0.0, 0.0]),
            (9, [1.0, 1.0, 2.0, 1.0, 0.0]),
        ] {
            let mut row = [1.0, 1.0, 2.0, 1.0, -3.0];
            keep_largest(&mut row, k, &mut scratch);
            assert_eq!(row, expected, "k {k}");
        }
    }
}
