//! Vectors in the few directions in which they vary most (principal components).
//!
//! ```text
//! X [n, d]    rows minus their mean
//! X = U S V^T the singular values descending; coordinates = X V[.., ..k] = U[.., ..k] S
//! sign        the entry of largest magnitude in each column of V is positive
//! ```
//!
//! In float64, from the eigenvectors of the smaller of X^T X and X X^T: Householder reflections to three diagonals, implicit
//! steps of QR with Wilkinson's shift. Rows are summed in the order of their numbers, whatever order they come in. A direction
//! whose variance is below rounding has coordinates 0.
//!
//! Cost: n d m + m^3 multiplications, n d + 2 m^2 numbers of memory, with m = min(n, d).
//! Source: Golub and Van Loan, Matrix Computations, 4th edition, sections 8.3.1 and 8.3.5. Numbers:
//! `tests/reference/projection.py`, NumPy's SVD.

use std::cmp::Ordering;

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// The coordinates of vectors in their principal directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// `[n, k]`
    pub coordinates: Vec<f64>,
    /// The part of the variance that each direction has, of 1; all 0 without variance. `[k]`
    pub explained: Vec<f64>,
}

/// Asked now and then: whether nobody wants the answer any more.
pub type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

/// Bytes held beside the rows for `n` vectors of width `d`.
pub fn bytes(n: usize, d: usize) -> usize {
    let m = n.min(d);
    2 * m * m * size_of::<f64>()
}

/// Projects `n` vectors of width `d` to `k` coordinates; `rows` is `[n, d]`, finite, and is used up. `None` where it was
/// cancelled.
pub fn principal_components(
    mut rows: Vec<f64>,
    d: usize,
    k: usize,
    cancelled: Cancelled,
) -> Option<Projection> {
    let n = rows.len().checked_div(d).unwrap_or(0);
    let mut projection = Projection {
        coordinates: vec![0.0; n * k],
        explained: vec![0.0; k],
    };
    // Squares must neither overflow nor vanish.
    let largest = rows.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return Some(projection);
    }
    rows.iter_mut().for_each(|x| *x /= largest);
    let order = order_of(&rows, d);
    centre(&mut rows, d, &order);
    let centred: Vec<&[f64]> = order.iter().map(|&row| &rows[row * d..][..d]).collect();
    let of_rows = n <= d;
    let matrix = if of_rows {
        gram(&centred, cancelled)
    } else {
        covariance(&centred, d, cancelled)
    };
    let m = n.min(d);
    let trace: f64 = (0..m).map(|i| matrix[i * m + i]).sum();
    let eigen = Eigen::of(matrix, m, k, cancelled)?;
    // Where rounding alone would give a direction.
    let least = trace * f64::EPSILON * n.max(d) as f64;
    for (component, (value, vector)) in eigen.pairs.iter().enumerate() {
        if *value <= least {
            continue;
        }
        let mut direction = vec![0.0; d];
        if of_rows {
            for (row, u) in centred.iter().zip(vector) {
                add(&mut direction, row, u / value.sqrt());
            }
        } else {
            direction.copy_from_slice(vector);
        }
        let sign = sign_of(&direction);
        projection.explained[component] = value / trace;
        for (&row, x) in order.iter().zip(&centred) {
            let along: f64 = dot(x, &direction);
            projection.coordinates[row * k + component] = sign * along * largest;
        }
    }
    Some(projection)
}

/// The rows by their numbers, so that sums do not depend on the order in which rows came.
fn order_of(rows: &[f64], d: usize) -> Vec<usize> {
    let row = |i: usize| &rows[i * d..][..d];
    let mut order: Vec<usize> = (0..rows.len() / d).collect();
    order.sort_by(|&a, &b| {
        let pairs = row(a).iter().zip(row(b));
        let mut by_number = pairs.map(|(a, b)| a.total_cmp(b));
        by_number.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    });
    order
}

fn centre(rows: &mut [f64], d: usize, order: &[usize]) {
    let mut mean = vec![0.0; d];
    for &i in order {
        add(&mut mean, &rows[i * d..][..d], 1.0);
    }
    let n = order.len() as f64;
    mean.iter_mut().for_each(|x| *x /= n);
    for row in rows.chunks_exact_mut(d) {
        add(row, &mean, -1.0);
    }
}

fn add(to: &mut [f64], x: &[f64], times: f64) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += times * x;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Several sums at once, which the vector unit makes of fixed places.
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// `X X^T`, `[n, n]`
fn gram(rows: &[&[f64]], cancelled: Cancelled) -> Vec<f64> {
    let n = rows.len();
    let mut out = vec![0.0; n * n];
    (out.par_chunks_exact_mut(n).enumerate()).for_each(|(i, out)| {
        if cancelled() {
            return;
        }
        for (out, row) in out.iter_mut().zip(rows) {
            *out = dot(rows[i], row);
        }
    });
    out
}

/// `X^T X`, `[d, d]`
fn covariance(rows: &[&[f64]], d: usize, cancelled: Cancelled) -> Vec<f64> {
    /// Rows of the result that stay in a core's cache while all vectors go by. Chosen, not tuned.
    const BLOCK: usize = 32;
    let mut out = vec![0.0; d * d];
    (out.par_chunks_mut(BLOCK * d).enumerate()).for_each(|(block, out)| {
        for x in rows.iter().take_while(|_| !cancelled()) {
            for (i, out) in out.chunks_exact_mut(d).enumerate() {
                add(out, x, x[block * BLOCK + i]);
            }
        }
    });
    out
}

/// So that the entry of largest magnitude becomes positive; of equal ones, but for rounding, the first counts.
fn sign_of(direction: &[f64]) -> f64 {
    let largest = direction.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let first = direction.iter().find(|x| x.abs() >= largest * (1.0 - 1e-9));
    match first {
        Some(x) if *x < 0.0 => -1.0,
        _ => 1.0,
    }
}

/// The greatest eigenvalues of a symmetric matrix with their unit vectors.
struct Eigen {
    pairs: Vec<(f64, Vec<f64>)>,
}

impl Eigen {
    /// At most `k`, descending. `matrix` is `[m, m]`.
    fn of(mut matrix: Vec<f64>, m: usize, k: usize, cancelled: Cancelled) -> Option<Self> {
        let reflections = tridiagonal(&mut matrix, m, cancelled)?;
        let mut diagonal: Vec<f64> = (0..m).map(|i| matrix[i * m + i]).collect();
        let mut beside: Vec<f64> = (1..m).map(|i| matrix[i * m + i - 1]).collect();
        drop(matrix);
        let mut vectors = vec![0.0; m * m];
        (0..m).for_each(|i| vectors[i * m + i] = 1.0);
        diagonalize(&mut diagonal, &mut beside, &mut vectors, cancelled)?;
        let mut order: Vec<usize> = (0..m).collect();
        order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a]).then(a.cmp(&b)));
        let pairs = order.into_iter().take(k).map(|i| {
            let mut vector = vectors[i * m..][..m].to_vec();
            // The reflections that made three diagonals, undone from the last.
            for (first, reflection) in reflections.iter().enumerate().rev() {
                let part = &mut vector[first + 1..];
                let along = dot(part, reflection);
                add(part, reflection, -2.0 * along);
            }
            (diagonal[i], vector)
        });
        Some(Self {
            pairs: pairs.collect(),
        })
    }
}

/// Makes a symmetric matrix zero but for three diagonals. Reflection `i`, a unit vector, is of the entries from `i + 1` on.
fn tridiagonal(a: &mut [f64], m: usize, cancelled: Cancelled) -> Option<Vec<Vec<f64>>> {
    let mut reflections = Vec::new();
    for first in 0..m.saturating_sub(2) {
        if cancelled() {
            return None;
        }
        let from = first + 1;
        let mut v: Vec<f64> = (from..m).map(|i| a[i * m + first]).collect();
        let length = dot(&v, &v).sqrt();
        let below = if v[0] > 0.0 { -length } else { length };
        v[0] -= below;
        let norm = dot(&v, &v).sqrt();
        if norm > 0.0 {
            v.iter_mut().for_each(|x| *x /= norm);
            // H A H with H = 1 - 2 v v^T is A - v w^T - w v^T.
            let p: Vec<f64> = (from..m)
                .map(|i| 2.0 * dot(&a[i * m + from..][..m - from], &v))
                .collect();
            let along = dot(&p, &v);
            let w: Vec<f64> = p.iter().zip(&v).map(|(p, v)| p - along * v).collect();
            for (i, row) in a.chunks_exact_mut(m).skip(from).enumerate() {
                let row = &mut row[from..];
                add(row, &w, -v[i]);
                add(row, &v, -w[i]);
            }
        }
        a[from * m + first] = below;
        reflections.push(v);
    }
    Some(reflections)
}

/// The eigenvalues of a matrix of three diagonals into the middle one, their vectors into the rows of what was the unit
/// matrix.
fn diagonalize(
    diagonal: &mut [f64],
    beside: &mut [f64],
    vectors: &mut [f64],
    cancelled: Cancelled,
) -> Option<()> {
    let m = diagonal.len();
    let mut end = m.saturating_sub(1);
    while end > 0 {
        if cancelled() {
            return None;
        }
        let small = |i: usize, beside: &[f64], diagonal: &[f64]| {
            let sum = diagonal[i].abs() + diagonal[i + 1].abs();
            beside[i].abs() <= f64::EPSILON * sum
        };
        if small(end - 1, beside, diagonal) {
            beside[end - 1] = 0.0;
            end -= 1;
            continue;
        }
        let mut start = end - 1;
        while start > 0 && !small(start - 1, beside, diagonal) {
            start -= 1;
        }
        step(start, end, diagonal, beside, vectors);
    }
    Some(())
}

/// One implicit step of QR on the block from `start` to `end`.
fn step(start: usize, end: usize, diagonal: &mut [f64], beside: &mut [f64], vectors: &mut [f64]) {
    let m = diagonal.len();
    let half = (diagonal[end - 1] - diagonal[end]) / 2.0;
    let b = beside[end - 1];
    let root = if half < 0.0 {
        -half.hypot(b)
    } else {
        half.hypot(b)
    };
    let shift = diagonal[end] - b * (b / (half + root));
    let (mut x, mut z) = (diagonal[start] - shift, beside[start]);
    for k in start..end {
        let r = x.hypot(z);
        let (c, s) = if r > 0.0 { (x / r, z / r) } else { (1.0, 0.0) };
        if k > start {
            beside[k - 1] = r;
        }
        let (a, b, d) = (diagonal[k], beside[k], diagonal[k + 1]);
        diagonal[k] = c * c * a + 2.0 * c * s * b + s * s * d;
        diagonal[k + 1] = s * s * a - 2.0 * c * s * b + c * c * d;
        beside[k] = c * s * (d - a) + (c * c - s * s) * b;
        x = beside[k];
        if k + 1 < end {
            z = s * beside[k + 1];
            beside[k + 1] *= c;
        }
        let (upper, lower) = vectors[k * m..][..2 * m].split_at_mut(m);
        for (u, l) in upper.iter_mut().zip(lower) {
            (*u, *l) = (c * *u + s * *l, c * *l - s * *u);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn random(n: usize) -> Vec<f64> {
        let mut random = Random::new(7);
        (0..n).map(|_| random.normal()).collect()
    }

    /// `A v = value v` for all pairs, which are of unit length, at right angles and in order.
    fn check(matrix: &[f64], m: usize) {
        let eigen = Eigen::of(matrix.to_vec(), m, m, &|| false).expect("not cancelled");
        assert_eq!(eigen.pairs.len(), m);
        for (i, (value, vector)) in eigen.pairs.iter().enumerate() {
            for (row, x) in matrix.chunks_exact(m).zip(vector) {
                assert!((dot(row, vector) - value * x).abs() < 1e-11, "{value}");
            }
            for (j, (other, of_other)) in eigen.pairs.iter().enumerate() {
                let right = if i == j { 1.0 } else { 0.0 };
                assert!((dot(vector, of_other) - right).abs() < 1e-12);
                assert!(i > j || value >= other);
            }
        }
    }

    #[test]
    fn eigenvectors_are_what_their_definition_says() {
        for m in [1, 2, 3, 8, 40] {
            let x = random(m * m);
            let symmetric: Vec<f64> = (0..m * m).map(|i| x[i] + x[i % m * m + i / m]).collect();
            check(&symmetric, m);
        }
        // Equal eigenvalues, zeros, and a matrix that is diagonal already.
        let unit: Vec<f64> = (0..25).map(|i| f64::from(u8::from(i % 6 == 0))).collect();
        check(&unit, 5);
        check(&[0.0; 16], 4);
        let ones = [1.0; 36];
        check(&ones, 6);
        check(&[2.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0], 3);
    }

    fn of(rows: &[f64], d: usize, k: usize) -> Projection {
        principal_components(rows.to_vec(), d, k, &|| false).expect("not cancelled")
    }

    #[test]
    fn wide_and_tall_matrices_agree_and_order_does_not_matter() {
        let (n, d, k) = (30, 20, 3);
        assert_eq!(principal_components(random(n * d), d, k, &|| true), None);
        let tall = random(n * d);
        let of_tall = of(&tall, d, k);
        // The same vectors with zeros behind them take the other way.
        let wide: Vec<f64> = (tall.chunks_exact(d))
            .flat_map(|row| row.iter().copied().chain([0.0; 15]))
            .collect();
        let of_wide = of(&wide, d + 15, k);
        for (a, b) in of_tall.coordinates.iter().zip(&of_wide.coordinates) {
            assert!((a - b).abs() < 1e-12 * n as f64, "{a} {b}");
        }
        let reversed: Vec<f64> = tall.chunks_exact(d).rev().flatten().copied().collect();
        let reversed = of(&reversed, d, k);
        let back: Vec<f64> = (reversed.coordinates.chunks_exact(k).rev())
            .flatten()
            .copied()
            .collect();
        assert_eq!(back, of_tall.coordinates, "bit for bit");
        let parts = of_tall.explained;
        assert!(parts[0] >= parts[1] && parts.iter().sum::<f64>() < 1.0);
    }

    #[test]
    fn what_does_not_vary_lies_at_zero() {
        assert!(of(&[], 3, 2).coordinates.is_empty());
        assert_eq!(of(&[1.0, 2.0, 3.0], 3, 2).coordinates, [0.0; 2]);
        assert_eq!(of(&[0.0; 6], 3, 1).explained, [0.0]);
        // Along one line, by huge and by tiny numbers.
        for scale in [1e300, 1e-300, 1.0] {
            let line = [1.0, 1.0, -2.0, -2.0, 1.0, 1.0].map(|x| x * scale);
            let line = of(&line, 2, 3);
            let root = 2f64.sqrt() * scale;
            for (x, expected) in line.coordinates.chunks(3).zip([root, -2.0 * root, root]) {
                assert!((x[0] / expected - 1.0).abs() < 1e-14);
                assert_eq!(x[1..], [0.0, 0.0]);
            }
            assert!((line.explained[0] - 1.0).abs() < 1e-14);
        }
    }
}
