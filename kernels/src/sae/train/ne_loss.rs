//! The neuron embedding loss of a latent, its gradient by the latent's weights, and the averages it compares with.
//!
//! ```text
//! L = sum over active (b, j) of 1 - cos(havg[j] * w[j], h[b] * w[j])
//! v = (w / max |w|)^2,  num[b] = h[b] . (havg v),  q[b] = h[b]^2 . v,  r = havg^2 . v,  cos = num / sqrt(q r)
//! dL/dv = -havg sum_b h[b] / sqrt(q r) + sum_b h[b]^2 cos / 2q + havg^2 / 2r sum_b cos
//! havg <- m havg + (1 - m) h[b]    for each active b in turn; the first one ever is stored as it is
//! ```
//!
//! Weight decay drives the weights of dead latents below 1e-15, whose squares float32 cannot hold: each row is scaled
//! by its largest magnitude first, which the cosine does not see. `havg` and `h` are constants to the gradient;
//! where embeddings are of `x - b_dec`, `b_dec` is not.
//! Source: Foote 2024, equations 4 to 6. Above 400 lines with its tests, which reach into it.

use super::scratch::{LatentSums, Scratch, fill};
use crate::network::matmul::{Matrix, Output, Parallelism, multiply};
use crate::simd::{LANES, SparseTerm, add_terms, dot, total, wide};

/// A row of weights all smaller has no direction: its gradient, which grows as the inverse, overflows when squared.
const LEAST_WEIGHT: f32 = 1e-15;

/// Weight of a row in an average from which on older rows are below a float's rounding.
const LEAST_SHARE: f32 = 1e-12;

/// The average vector on which each latent was active.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Averages {
    /// `[d_sae, d_in]`
    pub(super) h: Vec<f32>,
    /// 1 once a latent was active. `[d_sae]`
    pub(super) seen: Vec<u8>,
}

/// What the loss of one block of latents is computed from.
pub(super) struct LatentBlock<'a> {
    /// `[n, d_in]`
    pub(super) h: &'a [f32],
    /// `[n, d_in]`, squared
    pub(super) squares: &'a [f32],
    /// `[block, n]`
    pub(super) a: &'a [f32],
    /// `[block, d_in]`
    pub(super) w: &'a [f32],
    /// `[block, d_in]`
    pub(super) averages: &'a [f32],
    /// `[block]`
    pub(super) seen: &'a [u8],
    /// Weight of the loss in the gradient.
    pub(super) weight: f32,
    /// Whether `h` is `x - b_dec`, of which `b_dec` is no constant.
    pub(super) centred: bool,
}

/// A latent's squared, scaled weights, set up in `v` and, times its average, in `p`.
#[derive(Clone, Copy)]
struct Direction {
    /// `1 / max |w|`
    scale: f32,
    /// Squared norm of the average's embedding; 0 for a latent that costs nothing.
    r: f32,
}

impl Direction {
    #[inline(always)]
    fn of(w: &[f32], average: &[f32], seen: bool, v: &mut [f32], p: &mut [f32]) -> Self {
        let largest = w
            .iter()
            .fold(0.0f32, |l, w| if w.abs() > l { w.abs() } else { l });
        if !seen || largest < LEAST_WEIGHT {
            v.fill(0.0);
            p.fill(0.0);
            return Self { scale: 0.0, r: 0.0 };
        }
        let scale = 1.0 / largest;
        for k in 0..w.len() {
            let u = w[k] * scale;
            v[k] = flush(u * u);
            p[k] = flush(average[k] * v[k]);
        }
        Self {
            scale,
            r: dot(p, average),
        }
    }

    /// Adds `weight dL/dw` to `grad`, from the sums of `h / sqrt(q r)`, of `h^2 cos / q` and of `cos`.
    #[inline(always)]
    fn add_gradient(
        self,
        (w, average): (&[f32], &[f32]),
        (by_h, by_square, cosines): (&[f32], &[f32], f32),
        weight: f32,
        grad: &mut [f32],
    ) {
        let by_average = cosines / (2.0 * self.r);
        let outer = 2.0 * weight * self.scale * self.scale;
        for k in 0..w.len() {
            let x = average[k];
            let by_v = 0.5 * by_square[k] - x * by_h[k] + x * x * by_average;
            // In this order the small scaled weight meets the large scale last.
            grad[k] += outer * w[k] * by_v;
        }
    }
}

/// A denormal number is 0: most processors compute with them a hundred times slower.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// One active entry: its cosine and the factors of `h` and `h^2` in the gradient.
#[inline(always)]
fn entry(active: bool, num: f32, q: f32, r: f32) -> (f32, f32, f32, f32) {
    // What is denormal has too few digits for a direction. The product of the roots is as far from float32's ends as
    // the norms are, that of the squares is not.
    let counts = active && q.min(r) >= f32::MIN_POSITIVE;
    let norms = if counts { q.sqrt() * r.sqrt() } else { 1.0 };
    let by_h = if counts { 1.0 / norms } else { 0.0 };
    let cos = num * by_h;
    let by_square = cos / if counts { q } else { 1.0 };
    (if counts { 1.0 - cos } else { 0.0 }, cos, by_h, by_square)
}

impl LatentBlock<'_> {
    /// The loss of the block, with its gradient added to `grad` `[block, d_in]`, and to the scratch's `by_centre` if
    /// centred: four products, or five.
    pub(super) fn dense(&self, grad: &mut [f32], scratch: &mut Scratch) -> f64 {
        let n_latents = self.seen.len();
        let d = self.w.len() / n_latents;
        let n = self.h.len() / d;
        let v = fill(&mut scratch.v, n_latents * d);
        let p = fill(&mut scratch.p, n_latents * d);
        let directions: Vec<Direction> = (0..n_latents)
            .map(|j| {
                let at = j * d..(j + 1) * d;
                let (w, average) = (&self.w[at.clone()], &self.averages[at.clone()]);
                let (v, p) = (&mut v[at.clone()], &mut p[at]);
                wide!(Direction::of(w, average, self.seen[j] != 0, v, p))
            })
            .collect();
        let num = fill(&mut scratch.num, n_latents * n);
        let q = fill(&mut scratch.q, n_latents * n);
        let times = |lhs: &[f32], rhs: Matrix<'_>, k: usize, out: &mut [f32]| {
            let lhs = Matrix::new(lhs, n_latents, k, k);
            multiply(lhs, rhs, 1.0, Output::Replace, out, Parallelism::None);
        };
        let h = Matrix::new(self.h, n, d, d);
        let squares = Matrix::new(self.squares, n, d, d);
        times(p, h.transposed(), d, num);
        times(v, squares.transposed(), d, q);
        let mut cost = 0.0;
        let mut cosines = vec![0.0; n_latents];
        for j in 0..n_latents {
            let at = j * n..(j + 1) * n;
            let (num, q) = (&mut num[at.clone()], &mut q[at.clone()]);
            let (sum, cos) = wide!(entries(&self.a[at], directions[j].r, num, q));
            cost += f64::from(sum);
            cosines[j] = cos;
        }
        let by_h = fill(&mut scratch.by_h, n_latents * d);
        let by_square = fill(&mut scratch.by_square, n_latents * d);
        times(num, h, n, by_h);
        times(q, squares, n, by_square);
        for (j, direction) in directions.iter().enumerate().filter(|(_, x)| x.r > 0.0) {
            let at = j * d..(j + 1) * d;
            let vectors = (&self.w[at.clone()], &self.averages[at.clone()]);
            let sums = (&by_h[at.clone()], &by_square[at.clone()], cosines[j]);
            wide!(direction.add_gradient(vectors, sums, self.weight, &mut grad[at]));
        }
        if self.centred {
            times(q, h, n, by_h);
            for j in 0..n_latents {
                let at = j * d..(j + 1) * d;
                let factors: f32 = num[j * n..(j + 1) * n].iter().sum();
                let vectors = (&v[at.clone()], &p[at.clone()]);
                self.add_by_centre(vectors, factors, &by_h[at], &mut scratch.by_centre);
            }
        }
        cost
    }

    /// The loss of latent `j` of the block, whose active rows are those of `active`, with its gradient added to
    /// `grad` `[d_in]`, and to `by_centre` `[d_in]` if centred.
    pub(super) fn sparse(
        &self,
        j: usize,
        active: &[SparseTerm],
        (grad, by_centre): (&mut [f32], &mut [f32]),
        s: &mut LatentSums,
    ) -> f64 {
        let d = grad.len();
        let at = j * d..(j + 1) * d;
        let (w, average) = (&self.w[at.clone()], &self.averages[at]);
        s.resize(d);
        wide!({
            let seen = self.seen[j] != 0;
            let direction = Direction::of(w, average, seen, &mut s.v, &mut s.p);
            if direction.r <= 0.0 {
                return 0.0;
            }
            let (mut cost, mut cosines) = (0.0f64, 0.0f32);
            for &SparseTerm { row, .. } in active {
                let at = row as usize * d..(row as usize + 1) * d;
                let num = dot(&s.p, &self.h[at.clone()]);
                let q = dot(&s.v, &self.squares[at]);
                let (loss, cos, by_h, by_square) = entry(true, num, q, direction.r);
                cost += f64::from(loss);
                cosines += cos;
                s.h_terms.push(SparseTerm { row, factor: by_h });
                let factor = by_square;
                s.square_terms.push(SparseTerm { row, factor });
            }
            add_terms(&s.h_terms, self.h, &mut s.by_h);
            add_terms(&s.square_terms, self.squares, &mut s.by_square);
            let sums = (&s.by_h[..], &s.by_square[..], cosines);
            direction.add_gradient((w, average), sums, self.weight, grad);
            if self.centred {
                s.by_h.fill(0.0);
                add_terms(&s.square_terms, self.h, &mut s.by_h);
                let factors = s.h_terms.iter().map(|term| term.factor).sum();
                self.add_by_centre((&s.v, &s.p), factors, &s.by_h, by_centre);
            }
            cost
        })
    }

    /// Adds the derivative by `h`, summed over the batch: `v sum h cos / q - havg v sum 1 / sqrt(q r)`, from the sums
    /// `by_h` of `h cos / q` and `factors` of `1 / sqrt(q r)`.
    fn add_by_centre(
        &self,
        (v, p): (&[f32], &[f32]),
        factors: f32,
        by_h: &[f32],
        by_centre: &mut [f32],
    ) {
        for (k, sum) in by_centre.iter_mut().enumerate() {
            *sum += self.weight * (v[k] * by_h[k] - p[k] * factors);
        }
    }
}

/// Turns `num` and `q` of a latent's row into the factors of `h` and `h^2`; the sums of the loss and of the cosines.
#[inline(always)]
fn entries(a: &[f32], r: f32, num: &mut [f32], q: &mut [f32]) -> (f32, f32) {
    let (mut losses, mut cosines) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (num_chunks, num_rest) = num.as_chunks_mut::<LANES>();
    let (q_chunks, q_rest) = q.as_chunks_mut::<LANES>();
    for ((a, num), q) in a_chunks.iter().zip(num_chunks).zip(q_chunks) {
        for i in 0..LANES {
            let (loss, cos, by_h, by_square) = entry(a[i] > 0.0, num[i], q[i], r);
            losses[i] += loss;
            cosines[i] += cos;
            num[i] = by_h;
            q[i] = by_square;
        }
    }
    for (i, ((a, num), q)) in a_rest.iter().zip(num_rest).zip(q_rest).enumerate() {
        let (loss, cos, by_h, by_square) = entry(*a > 0.0, *num, *q, r);
        losses[i] += loss;
        cosines[i] += cos;
        *num = by_h;
        *q = by_square;
    }
    (total(losses), total(cosines))
}

/// Takes a batch into a latent's average: `a` `[n]` are its activations on the rows `h` `[n, d_in]`, `n_active` of
/// them positive. Each active row's weight is known from how many come after it, so the old ones are left out.
pub(super) fn update_average(
    a: &[f32],
    n_active: u32,
    h: &[f32],
    momentum: f32,
    (average, seen): (&mut [f32], &mut u8),
    terms: &mut Vec<SparseTerm>,
) {
    if n_active == 0 {
        return;
    }
    terms.clear();
    // What the newer rows leave for an older one.
    let mut share = 1.0f32;
    let mut left = n_active;
    for (b, _) in a.iter().enumerate().rev().filter(|(_, a)| **a > 0.0) {
        if share < LEAST_SHARE {
            break;
        }
        left -= 1;
        let first = left == 0 && *seen == 0;
        let factor = if first {
            share
        } else {
            share * (1.0 - momentum)
        };
        terms.push(SparseTerm {
            row: b as u32,
            factor,
        });
        share *= momentum;
    }
    let keeps = if *seen == 0 || left > 0 { 0.0 } else { share };
    wide!({
        for x in average.iter_mut() {
            *x = flush(*x * keeps);
        }
        add_terms(terms, h, average);
    });
    *seen = 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Row after row as equation 6 reads.
    fn naive(a: &[f32], h: &[f32], m: f64, average: &mut [f64], seen: &mut bool) {
        let d = average.len();
        for (h, _) in h.chunks(d).zip(a).filter(|(_, a)| **a > 0.0) {
            for (x, h) in average.iter_mut().zip(h) {
                *x = if *seen {
                    m * *x + (1.0 - m) * f64::from(*h)
                } else {
                    f64::from(*h)
                };
            }
            *seen = true;
        }
    }

    #[test]
    fn averages_equal_the_loop() {
        let (d, n) = (9, 700);
        let mut random = Random::new(1);
        for (momentum, density) in [
            (0.9, 0.6),
            (0.9, 0.01),
            (0.0, 0.5),
            (0.999, 1.0),
            (0.5, 0.0),
        ] {
            let (mut average, mut seen) = (vec![0.0f32; d], 0u8);
            let (mut expected, mut was_seen) = (vec![0.0; d], false);
            for batch in 0..3 {
                let h: Vec<f32> = (0..n * d).map(|_| random.normal() as f32).collect();
                let a: Vec<f32> = (0..n)
                    .map(|_| f32::from(u8::from(random.uniform() < density)))
                    .collect();
                let n_active = a.iter().filter(|a| **a > 0.0).count() as u32;
                let to = (&mut average[..], &mut seen);
                update_average(&a, n_active, &h, momentum, to, &mut Vec::new());
                naive(&a, &h, f64::from(momentum), &mut expected, &mut was_seen);
                assert_eq!(seen != 0, was_seen);
                for (found, expected) in average.iter().zip(&expected) {
                    let near = (f64::from(*found) - expected).abs() < 1e-5;
                    assert!(near, "m {momentum}, density {density}, batch {batch}");
                }
            }
        }
    }

    /// Cosines do not see how long vectors are, whatever float32 makes of the squares of their squares.
    #[test]
    fn the_loss_does_not_depend_on_the_scale_of_the_vectors() {
        let (d, n, m) = (6, 40, 5);
        let mut random = Random::new(9);
        let mut values =
            |n: usize| -> Vec<f32> { (0..n).map(|_| random.normal() as f32).collect() };
        let (h, w, averages) = (values(n * d), values(m * d), values(m * d));
        let a: Vec<f32> = values(n * m).iter().map(|x| x.max(0.0)).collect();
        let of = |scale: f32| {
            let scaled = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| x * scale).collect() };
            let (h, averages) = (scaled(&h), scaled(&averages));
            let squares: Vec<f32> = h.iter().map(|x| x * x).collect();
            let block = LatentBlock {
                h: &h,
                squares: &squares,
                a: &a,
                w: &w,
                averages: &averages,
                seen: &[1; 5],
                weight: 1.0,
                centred: false,
            };
            let mut scratch = Scratch::default();
            let mut grad = vec![0.0; m * d];
            let dense = block.dense(&mut grad, &mut scratch);
            let (mut sparse, mut of_sparse) = (0.0, vec![0.0; m * d]);
            for (j, grad) in of_sparse.chunks_exact_mut(d).enumerate() {
                let rows = a[j * n..(j + 1) * n].iter().enumerate();
                let active: Vec<SparseTerm> = (rows.filter(|(_, a)| **a > 0.0))
                    .map(|(b, a)| SparseTerm {
                        row: b as u32,
                        factor: *a,
                    })
                    .collect();
                let mut sums = LatentSums::default();
                sparse += block.sparse(j, &active, (grad, &mut vec![0.0; d]), &mut sums);
            }
            (dense, sparse, grad, of_sparse)
        };
        let (loss, _, grad, _) = of(1.0);
        assert!(loss > 10.0);
        for scale in [1e-16, 1e-8, 1e-3, 1e9, 1e12, 1e16] {
            let (dense, sparse, by_dense, by_sparse) = of(scale);
            for (found, by) in [(dense, by_dense), (sparse, by_sparse)] {
                assert!(
                    (found - loss).abs() < 1e-4 * loss,
                    "{scale}: {found}, expected {loss}"
                );
                for (x, y) in by.iter().zip(&grad) {
                    assert!(
                        (x - y).abs() < 1e-3 * (1.0 + y.abs()),
                        "{scale}: {x}, expected {y}"
                    );
                }
            }
        }
    }
}
