//! Dot products and sparse sums of rows, in an order that does not depend on the processor.

use std::ops::AddAssign;

/// Partial sums that run side by side.
pub const LANES: usize = 16;

/// Sums of `N` terms per pair of elements, in `L` partial sums each, so that additions do not wait for each other and
/// fill vector registers; equally long.
#[inline(always)]
pub(crate) fn sums_in_lanes<A: Copy, B: Copy, S, const N: usize, const L: usize>(
    a: &[A],
    b: &[B],
    terms: impl Fn(A, B) -> [S; N],
) -> [[S; L]; N]
where
    S: Copy + Default + AddAssign,
{
    let mut sums = [[S::default(); L]; N];
    let mut add = |lane: usize, a: A, b: B| {
        for (sums, term) in sums.iter_mut().zip(terms(a, b)) {
            sums[lane] += term;
        }
    };
    let (a, a_rest) = a.as_chunks::<L>();
    let (b, b_rest) = b.as_chunks::<L>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..L {
            add(lane, a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        add(lane, a, b);
    }
    sums
}

/// `a . b`, equally long.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [sums] = sums_in_lanes(a, b, |a, b| [a * b]);
    total(sums)
}

/// The sum of partial sums, halves first.
#[inline(always)]
pub fn total(sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    let mut sums = sums;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// One term of a sparse sum of rows: which row, times what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SparseTerm {
    /// Index of the row.
    pub row: u32,
    /// Its factor.
    pub factor: f32,
}

/// `out += sum of factor rows[row]` over the terms, in their order; `rows` are as wide as `out`.
#[inline(always)]
pub fn add_terms(terms: &[SparseTerm], rows: &[f32], out: &mut [f32]) {
    let d = out.len();
    let row = |term: &SparseTerm| &rows[term.row as usize * d..][..d];
    let (fours, rest) = terms.as_chunks::<4>();
    for four in fours {
        let [a, b, c, e] = [row(&four[0]), row(&four[1]), row(&four[2]), row(&four[3])];
        let [fa, fb, fc, fe] = four.map(|term| term.factor);
        for k in 0..d {
            out[k] = (((out[k] + fa * a[k]) + fb * b[k]) + fc * c[k]) + fe * e[k];
        }
    }
    for term in rest {
        for (out, x) in out.iter_mut().zip(row(term)) {
            *out += term.factor * x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::simd::wide;

    #[test]
    fn equals_the_plain_sums() {
        let mut random = Random::new(5);
        for d in [0, 1, 15, 16, 17, 64, 100] {
            let rows: Vec<f32> = (0..9 * d).map(|_| random.normal() as f32).collect();
            let row = |i: usize| &rows[i * d..(i + 1) * d];
            let plain: f64 = row(0)
                .iter()
                .zip(row(1))
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            assert!((f64::from(wide!(dot(row(0), row(1)))) - plain).abs() < 1e-5);
            assert_eq!(wide!(dot(row(0), row(1))), dot(row(0), row(1)), "width {d}");
            let terms: Vec<SparseTerm> = (0..7)
                .map(|i| SparseTerm {
                    row: (i * 5) % 9,
                    factor: i as f32 - 2.5,
                })
                .collect();
            let (mut out, mut expected) = (vec![1.0; d], vec![1.0f32; d]);
            wide!(add_terms(&terms, &rows, &mut out));
            for term in &terms {
                for (e, x) in expected.iter_mut().zip(row(term.row as usize)) {
                    *e += term.factor * x;
                }
            }
            assert_eq!(out, expected, "width {d}");
        }
    }
}
