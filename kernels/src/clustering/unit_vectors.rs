//! Rows of equal width, and what the sum-based kernels do to them: sums, means and dot products.

use std::ops::Range;

use crate::clustering::distance::NonFinite;
use crate::vector::dot;

/// Rows one after another.
#[derive(Debug, Default)]
pub(crate) struct RowMatrix {
    floats: Vec<f32>,
    width: usize,
    len: usize,
}

impl RowMatrix {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Floats of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Bytes held for `n` rows of width `d`.
    pub(crate) fn bytes(n: usize, d: usize) -> usize {
        n * d * size_of::<f32>()
    }

    /// Becomes `n` rows of width `d`, which are zeros.
    pub(crate) fn reset(&mut self, n: usize, d: usize) {
        (self.len, self.width) = (n, d);
        self.floats.clear();
        self.floats.reserve_exact(n * d);
        self.floats.resize(n * d, 0.0);
    }

    /// Keeps the first `n` rows.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.len = n;
        self.floats.truncate(n * self.width);
    }

    /// One row.
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.floats[i * self.width..][..self.width]
    }

    /// Some rows.
    pub(crate) fn rows(&self, range: Range<usize>) -> Vec<&[f32]> {
        range.map(|i| self.row(i)).collect()
    }

    /// One row, to be written.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.floats[i * self.width..][..self.width]
    }

    /// Becomes the unit vectors of the embeddings of `rows` under the weights `w`, or of the rows themselves. `live`
    /// becomes the rows that have a direction; the others are left out.
    pub(crate) fn embed(
        &mut self,
        rows: &[&[f32]],
        w: Option<&[f32]>,
        live: &mut Vec<u32>,
    ) -> Result<(), NonFinite> {
        self.embed_with(rows, w, live, None)
    }

    /// As [`Self::embed`]; `rest` becomes what rounding took off, so that both together have 48 bits of each number.
    pub(crate) fn embed_in_two(
        &mut self,
        rest: &mut Self,
        rows: &[&[f32]],
        w: Option<&[f32]>,
        live: &mut Vec<u32>,
    ) -> Result<(), NonFinite> {
        rest.reset(rows.len(), rows.first().map_or(0, |row| row.len()));
        let done = self.embed_with(rows, w, live, Some(rest));
        rest.truncate(live.len());
        done
    }

    fn embed_with(
        &mut self,
        rows: &[&[f32]],
        w: Option<&[f32]>,
        live: &mut Vec<u32>,
        mut rest: Option<&mut Self>,
    ) -> Result<(), NonFinite> {
        let d = rows.first().map_or(0, |row| row.len());
        self.reset(rows.len(), d);
        live.clear();
        live.reserve_exact(rows.len());
        for (i, h) in rows.iter().enumerate() {
            assert_eq!(h.len(), d, "row {i} is as wide as the first");
            let place = live.len();
            let e = self.row_mut(place);
            match w {
                None => e.copy_from_slice(h),
                Some(w) => {
                    assert_eq!(w.len(), d, "one weight a place");
                    for (e, (h, w)) in e.iter_mut().zip(h.iter().zip(w)) {
                        *e = h * w;
                    }
                }
            }
            // In float64 no square of a float32 overflows or vanishes.
            let squares = self.squares(place);
            if !squares.is_finite() {
                live.clear();
                self.truncate(0);
                return Err(NonFinite { row: i });
            }
            if squares > 0.0 {
                let factor = squares.sqrt().recip();
                if let Some(rest) = &mut rest {
                    for (rest, x) in rest.row_mut(place).iter_mut().zip(self.row(place)) {
                        *rest = in_two(f64::from(*x) * factor)[1];
                    }
                }
                for x in self.row_mut(place) {
                    *x = (f64::from(*x) * factor) as f32;
                }
                live.push(i as u32);
            }
        }
        self.truncate(live.len());
        Ok(())
    }

    /// Writes `sum / divisor`, rounded once.
    pub(crate) fn set_mean(&mut self, i: usize, sum: &[f64], divisor: f64) {
        for (x, sum) in self.row_mut(i).iter_mut().zip(sum) {
            *x = (sum / divisor) as f32;
        }
    }

    /// Copies row `from` to `to`.
    pub(crate) fn copy_within(&mut self, to: usize, from: usize) {
        let start = from * self.width;
        self.floats
            .copy_within(start..start + self.width, to * self.width);
    }

    /// `sum += weight * row`.
    pub(crate) fn add_to(&self, i: usize, weight: f64, sum: &mut [f64]) {
        for (sum, &x) in sum.iter_mut().zip(self.row(i)) {
            *sum += weight * f64::from(x);
        }
    }

    /// The dot product of a row with `other`, in float64.
    pub(crate) fn dot(&self, i: usize, other: &[f64]) -> f64 {
        dot(self.row(i), other)
    }

    /// The squared length of a row, in float64.
    pub(crate) fn squares(&self, i: usize) -> f64 {
        dot(self.row(i), self.row(i))
    }
}

/// A number rounded, and the rest rounded.
#[inline(always)]
pub(crate) fn in_two(x: f64) -> [f32; 2] {
    let high = x as f32;
    [high, (x - f64::from(high)) as f32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, slices};

    #[test]
    fn rows_move_and_add_up() {
        let mut random = Random(42);
        let rows = random.rows(9, 20);
        let (mut units, mut live) = (RowMatrix::default(), vec![]);
        units.embed(&slices(&rows), None, &mut live).unwrap();
        let mut plain = vec![0.0; units.width()];
        units.add_to(6, 1.0, &mut plain);
        units.copy_within(2, 6);
        for place in [2, 6] {
            let mut sum = vec![0.0; units.width()];
            units.add_to(place, 0.5, &mut sum);
            units.add_to(place, 0.5, &mut sum);
            assert_eq!(sum, plain);
            assert_eq!(units.dot(place, &plain), units.squares(place));
        }
        assert!((units.squares(6) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_row_that_is_not_finite_is_named_and_zero_rows_left_out() {
        let (mut units, mut live) = (RowMatrix::default(), vec![]);
        units
            .embed(&[&[0.0, 0.0], &[0.0, 3.0]], None, &mut live)
            .unwrap();
        assert_eq!((live.as_slice(), units.len()), ([1].as_slice(), 1));
        let found = units.embed(&[&[1.0], &[f32::NAN]], None, &mut live);
        assert_eq!(found, Err(NonFinite { row: 1 }));
        assert_eq!((live.len(), units.len()), (0, 0));
    }
}
