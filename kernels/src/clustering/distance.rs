//! Rows become their condensed cosine distances, the matrix every clustering and every metric reads.
//!
//! ```text
//! e = h ⊙ w  in float32 (eq. 1), or h alone
//! distance(a, b) = 1 - <e_a, e_b> / (|e_a| |e_b|), clamped to [0, 2]   (eq. 3), error <= 1e-6
//! ```
//!
//! The norms are the square roots of the Gram matrix's diagonal, so that no row is touched twice. Where one shows that
//! squares leave float32's range, all is done again on rows times powers of two, which changes no bit of the result.
//!
//! Errors: an embedding with a NaN or an infinity, also one whose product overflows. A zero embedding has no
//! direction: it is left out and counted. Cost: n² d / 2 multiplications.
//! Source: Foote 2024, equations 1 and 3. Over 400 lines because the tests hold every edge of the blocks and of float32.

use crate::condensed::resize;
use crate::simd::{Isa, Products, Weighted, on_widest};

/// Squared norms between which squares, their sums and the products of two reciprocal norms are normal numbers.
const PLAIN: std::ops::Range<f32> = 1e-18..1e18;

/// An embedding holds a NaN or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// Its place among the rows given.
    pub row: usize,
}

/// Cosine distances of one group of rows, with buffers that the next group reuses.
#[derive(Debug)]
pub struct CosineDistances {
    products: Products,
    /// Squared norms of the live rows.
    squares: Vec<f32>,
    /// Their reciprocal norms, in float64: equal rows then lie at a distance of exactly zero.
    reciprocal_norms: Vec<f64>,
    live: Vec<u32>,
    n_zero: usize,
    condensed: Vec<f32>,
}

impl Default for CosineDistances {
    fn default() -> Self {
        Self::new()
    }
}

impl CosineDistances {
    /// Empty buffers, for the widest vector unit of this machine.
    pub fn new() -> Self {
        Self::with_isa(Isa::best())
    }

    pub(crate) fn with_isa(isa: Isa) -> Self {
        Self {
            products: Products::with_isa(isa),
            squares: Vec::new(),
            reciprocal_norms: Vec::new(),
            live: Vec::new(),
            n_zero: 0,
            condensed: Vec::new(),
        }
    }

    /// Distances between the embeddings of `rows` under the weights `w`, or between the rows themselves.
    ///
    /// # Panics
    /// If a row or `w` differs in width from the first row.
    pub fn compute(&mut self, rows: &[&[f32]], w: Option<&[f32]>) -> Result<(), NonFinite> {
        self.live.clear();
        self.live.reserve_exact(rows.len());
        self.live.extend(0..rows.len() as u32);
        self.n_zero = 0;
        self.multiply(Weighted {
            rows,
            weights: w,
            scales: None,
        });
        if !self.squares.iter().all(|square| PLAIN.contains(square)) {
            self.multiply_scaled(rows, w)?;
        }
        resize(&mut self.reciprocal_norms, self.squares.len(), 0.0);
        for (norm, &square) in self.reciprocal_norms.iter_mut().zip(&self.squares) {
            *norm = f64::from(square).sqrt().recip();
        }
        on_widest(
            #[inline(always)]
            |_| cosine_distances(&mut self.condensed, &self.reciprocal_norms),
        );
        Ok(())
    }

    /// Dot products in place of distances, and squared norms.
    fn multiply(&mut self, weighted: Weighted<'_>) {
        let n = weighted.rows.len();
        resize(&mut self.squares, n, 0.0);
        resize(&mut self.condensed, n * n.saturating_sub(1) / 2, 0.0);
        let out = (&mut self.condensed[..], &mut self.squares[..]);
        self.products.gram(weighted, out.0, out.1);
    }

    /// The same where an embedding has no direction or leaves the range of its squares: every row is multiplied by
    /// the power of two that makes its largest magnitude about one, which is exact.
    #[cold]
    fn multiply_scaled(&mut self, rows: &[&[f32]], w: Option<&[f32]>) -> Result<(), NonFinite> {
        self.live.clear();
        let mut live_rows = Vec::with_capacity(rows.len());
        let mut scales = Vec::with_capacity(rows.len());
        for (row, h) in rows.iter().enumerate() {
            let largest = match largest_magnitude(h, w) {
                Some(0.0) => continue,
                Some(largest) => largest,
                None => {
                    self.live.clear();
                    self.condensed.clear();
                    return Err(NonFinite { row });
                }
            };
            let exponent = -largest.log2().floor();
            // The least and the largest power whose reciprocal is one, too.
            scales.push(exponent.clamp(-126.0, 126.0).exp2());
            self.live.push(row as u32);
            live_rows.push(*h);
        }
        self.n_zero = rows.len() - live_rows.len();
        self.multiply(Weighted {
            rows: &live_rows,
            weights: w,
            scales: Some(&scales),
        });
        Ok(())
    }

    /// The rows that have a direction, ascending: observation `i` of the matrix is row `live()[i]`.
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// How many rows have no direction because their embedding is zero.
    pub fn n_zero(&self) -> usize {
        self.n_zero
    }

    /// Distances between the live rows, condensed. Each is a multiple of 2⁻²⁴, so float64 sums of them are exact
    /// in any order.
    pub fn condensed(&self) -> &[f32] {
        &self.condensed
    }

    /// Bytes held after `n` rows of width `d`.
    pub fn bytes(n: usize, d: usize) -> usize {
        let per_row = 2 * size_of::<f32>() + size_of::<f64>() + size_of::<u32>();
        Products::bytes(n, d)
            + n * (per_row + size_of::<&[f32]>())
            + n * n.saturating_sub(1) / 2 * size_of::<f32>()
    }
}

/// Cosine distances, in place, from condensed dot products and the reciprocal norms of the rows.
#[inline(always)]
fn cosine_distances(condensed: &mut [f32], reciprocal_norms: &[f64]) {
    let mut rest = condensed;
    for (i, &norm) in reciprocal_norms.iter().enumerate() {
        let (row, below) = rest.split_at_mut(reciprocal_norms.len() - i - 1);
        for (x, other) in row.iter_mut().zip(&reciprocal_norms[i + 1..]) {
            *x = (1.0 - (f64::from(*x) * (norm * other)) as f32).clamp(0.0, 2.0);
        }
        rest = below;
    }
}

/// The largest magnitude of `h ⊙ w` (or `h`); none if an element is not finite.
fn largest_magnitude(h: &[f32], w: Option<&[f32]>) -> Option<f32> {
    let mut largest = 0.0f32;
    for (k, h) in h.iter().enumerate() {
        let e = w.map_or(*h, |w| h * w[k]);
        if !e.is_finite() {
            return None;
        }
        largest = largest.max(e.abs());
    }
    Some(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condensed::condensed_row;
    use crate::testing::{Random, naive_distance, pairs, slices};

    fn close(distances: &CosineDistances, rows: &[Vec<f32>], w: Option<&[f32]>, case: &str) {
        let live = distances.live();
        assert_eq!(
            distances.condensed().len(),
            live.len() * (live.len().max(1) - 1) / 2,
            "{case}"
        );
        for ((i, j), &found) in pairs(live.len()).zip(distances.condensed()) {
            let (a, b) = (&rows[live[i] as usize], &rows[live[j] as usize]);
            let expected = naive_distance(a, b, w).clamp(0.0, 2.0);
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= 1e-6,
                "{case}, pair {i}, {j}: {found}, expected {expected}"
            );
        }
    }

    #[test]
    fn every_vector_unit_agrees_with_the_definition() {
        let mut random = Random(1);
        let units: Vec<Isa> = Isa::available().collect();
        println!("vector units of this machine: {units:?}");
        // Around whole registers, squares, tiles, stretches and spans; then around whole blocks.
        let cases: [(&[usize], &[usize]); 2] = [
            (
                &[0, 1, 2, 3, 4, 5, 8, 15, 17, 33],
                &[1, 3, 15, 16, 17, 64, 192, 193, 385, 768, 769, 1000],
            ),
            (&[127, 128, 129, 250, 257], &[1, 20, 200, 800]),
        ];
        for (ns, ds) in cases {
            for (n, d) in ns.iter().flat_map(|n| ds.iter().map(|d| (*n, *d))) {
                let (rows, w) = (random.rows(n, d), random.vector(d));
                for w in [None, Some(w.as_slice())] {
                    let mut fused: Option<Vec<f32>> = None;
                    for &isa in &units {
                        let mut distances = CosineDistances::with_isa(isa);
                        distances.compute(&slices(&rows), w).unwrap();
                        close(&distances, &rows, w, &format!("{isa:?}, n {n}, d {d}"));
                        if !matches!(isa, Isa::Portable) {
                            let first = fused.get_or_insert_with(|| distances.condensed().to_vec());
                            assert_eq!(first, distances.condensed(), "equal bits, n {n}, d {d}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn long_rows_of_one_sign_keep_their_precision() {
        let mut random = Random(2);
        for d in [4096, 50_000] {
            let mut rows = vec![vec![0.1f32; d], vec![0.3; d]];
            rows.extend((0..3).map(|_| random.vector(d).iter().map(|x| x.abs() + 0.2).collect()));
            for isa in Isa::available() {
                let mut distances = CosineDistances::with_isa(isa);
                distances.compute(&slices(&rows), None).unwrap();
                close(&distances, &rows, None, &format!("{isa:?}, d {d}"));
            }
        }
    }

    #[test]
    fn magnitude_does_not_matter() {
        let mut random = Random(3);
        let rows = random.rows(9, 70);
        let mut distances = CosineDistances::new();
        distances.compute(&slices(&rows), None).unwrap();
        let expected = distances.condensed().to_vec();
        // Powers of two, so that the scaled rows are the same directions exactly.
        for (case, exponents) in [
            ("tiny", [-100, -90]),
            ("huge", [100, 126]),
            ("mixed", [-100, 126]),
        ] {
            let scaled: Vec<Vec<f32>> = rows
                .iter()
                .enumerate()
                .map(|(i, row)| {
                    row.iter()
                        .map(|x| x * 2f32.powi(exponents[i % 2]))
                        .collect()
                })
                .collect();
            distances.compute(&slices(&scaled), None).unwrap();
            assert_eq!(distances.condensed(), expected, "{case}");
        }
        let decimal: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| row.iter().map(|x| x * 1e-30).collect())
            .collect();
        distances.compute(&slices(&decimal), None).unwrap();
        close(&distances, &decimal, None, "1e-30");
        // The least float32 there is still points somewhere.
        let least = f32::from_bits(1);
        distances
            .compute(&[&[least, 0.0], &[0.0, f32::MAX], &[least, least]], None)
            .unwrap();
        let sixty = 1.0 - 0.5f32.sqrt();
        for (found, expected) in distances.condensed().iter().zip([1.0, sixty, sixty]) {
            assert!(
                (found - expected).abs() <= 1e-6,
                "{found}, expected {expected}"
            );
        }
    }

    #[test]
    fn equal_and_scaled_rows_lie_at_zero() {
        let mut random = Random(8);
        for d in [3, 100, 768] {
            let row = random.vector(d);
            let doubled: Vec<f32> = row.iter().map(|x| 2.0 * x).collect();
            for isa in Isa::available() {
                let mut distances = CosineDistances::with_isa(isa);
                distances.compute(&[&row, &row, &doubled], None).unwrap();
                assert_eq!(distances.condensed(), [0.0; 3], "{isa:?}, d {d}");
            }
        }
    }

    #[test]
    fn distances_follow_a_permutation_of_the_rows() {
        let mut random = Random(4);
        let rows = random.rows(23, 100);
        let order = random.permutation(23);
        let moved: Vec<Vec<f32>> = order.iter().map(|&i| rows[i].clone()).collect();
        let (mut plain, mut permuted) = (CosineDistances::new(), CosineDistances::new());
        plain.compute(&slices(&rows), None).unwrap();
        permuted.compute(&slices(&moved), None).unwrap();
        for ((i, j), &found) in pairs(23).zip(permuted.condensed()) {
            let (a, b) = (order[i].min(order[j]), order[i].max(order[j]));
            assert_eq!(found, plain.condensed()[condensed_row(23, a) + b - a - 1]);
        }
    }

    #[test]
    fn zero_rows_are_left_out_and_counted() {
        let mut random = Random(5);
        let mut rows = random.rows(9, 20);
        let w: Vec<f32> = (0..20).map(|k| if k == 3 { 0.0 } else { 1.5 }).collect();
        rows[0] = vec![0.0; 20];
        rows[4] = vec![-0.0; 20];
        // Its only element meets a zero weight.
        rows[7] = (0..20).map(|k| if k == 3 { 9.0 } else { 0.0 }).collect();
        let mut distances = CosineDistances::new();
        distances.compute(&slices(&rows), Some(&w)).unwrap();
        assert_eq!(distances.live(), [1, 2, 3, 5, 6, 8]);
        assert_eq!(distances.n_zero(), 3);
        close(&distances, &rows, Some(&w), "zeros");
        distances.compute(&slices(&rows), None).unwrap();
        assert_eq!(distances.n_zero(), 2);
        distances.compute(&[&[], &[]], None).unwrap();
        assert_eq!(
            (distances.live().len(), distances.n_zero()),
            (0, 2),
            "no dimension, no direction"
        );
    }

    #[test]
    fn a_row_that_is_not_finite_is_named() {
        let fine = [1.0f32, 2.0, 3.0];
        let mut distances = CosineDistances::new();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = distances.compute(&[&fine, &fine, &[1.0, bad, 0.0]], None);
            assert_eq!(found, Err(NonFinite { row: 2 }));
            assert!(distances.live().is_empty() && distances.condensed().is_empty());
            let found = distances.compute(&[&fine, &fine], Some(&[1.0, bad, 0.0]));
            assert_eq!(found, Err(NonFinite { row: 0 }));
        }
        let found = distances.compute(&[&fine, &[1.0, 1e20, 1.0]], Some(&[1.0, 1e20, 1.0]));
        assert_eq!(found, Err(NonFinite { row: 1 }), "the product overflows");
        distances.compute(&[&fine, &fine], None).unwrap();
        assert_eq!(distances.live(), [0, 1], "usable after an error");
    }

    #[test]
    fn buffers_forget_the_group_before() {
        let mut random = Random(6);
        let mut reused = CosineDistances::new();
        for (n, d) in [
            (30, 100),
            (3, 200),
            (31, 5),
            (2, 768),
            (17, 33),
            (1, 1),
            (18, 33),
        ] {
            let rows = random.rows(n, d);
            let mut fresh = CosineDistances::new();
            reused.compute(&slices(&rows), None).unwrap();
            fresh.compute(&slices(&rows), None).unwrap();
            assert_eq!(reused.condensed(), fresh.condensed(), "n {n}, d {d}");
            let held = fresh.products.held()
                + fresh.squares.capacity() * size_of::<f32>()
                + fresh.reciprocal_norms.capacity() * size_of::<f64>()
                + fresh.live.capacity() * size_of::<u32>()
                + fresh.condensed.capacity() * size_of::<f32>();
            assert!(held <= CosineDistances::bytes(n, d), "n {n}, d {d}: {held}");
        }
    }

    #[test]
    fn every_distance_is_in_range_and_a_multiple_of_two_to_the_minus_24() {
        let mut random = Random(7);
        let mut rows = random.rows(40, 300);
        rows.push(rows[0].clone());
        rows.push(rows[0].iter().map(|x| -x).collect());
        let mut distances = CosineDistances::new();
        distances.compute(&slices(&rows), None).unwrap();
        for &x in distances.condensed() {
            assert!((0.0..=2.0).contains(&x));
            assert_eq!((x * 16_777_216.0).fract(), 0.0, "{x}");
        }
    }
}
