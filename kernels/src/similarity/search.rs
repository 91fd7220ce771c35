//! Rows become their cosine similarities to one query vector: the inner loop of every search.
//!
//! ```text
//! similarity(row) = <q, row> / (|q| |row|), in [-1, 1], error <= 1e-6
//! ```
//!
//! One pass over the row, so that a search runs as fast as memory is read. A zero row has no direction: `None`. A NaN
//! or an infinity in a row gives NaN, for the caller to reject. Cost: 2 d multiplications a row.

use crate::simd::{LANES, sums_in_lanes};
use crate::vector::{cosine_similarity, norm};

/// Elements summed in float32 before the sum is put aside: 24 additions a lane keep the rounding below 1e-6.
const BLOCK: usize = 24 * LANES;

/// A sum of float32 squares within these bounds lost nothing to underflow and did not overflow.
const SAFE: std::ops::Range<f64> = 1e-20..1e30;

/// A direction to search for.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    unit: Vec<f32>,
}

impl Query {
    /// The direction of `vector`; `None` if it is zero or holds a NaN or an infinity.
    pub fn new(vector: &[f64]) -> Option<Self> {
        let length = norm(vector);
        let unit = vector.iter().map(|x| (x / length) as f32);
        (length > 0.0 && length.is_finite()).then(|| Self {
            unit: unit.collect(),
        })
    }

    /// It at length 1, `[d]`.
    pub fn unit(&self) -> &[f32] {
        &self.unit
    }

    /// A direction as [`Query::unit`] gave it.
    pub fn of_unit(unit: Vec<f32>) -> Self {
        Self { unit }
    }

    /// Width of the rows it can be compared with.
    pub fn width(&self) -> usize {
        self.unit.len()
    }

    /// Cosine of the angle between the query and a row.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn similarity(&self, row: &[f32]) -> Option<f64> {
        assert_eq!(self.unit.len(), row.len(), "a row of the query's width");
        let (mut product, mut squares) = (0.0, 0.0);
        for (q, x) in self.unit.chunks(BLOCK).zip(row.chunks(BLOCK)) {
            let lanes: [[f32; LANES]; 2] = sums_in_lanes(q, x, |q, x| [q * x, x * x]);
            let [qx, xx] = lanes.map(|sums| sums.iter().sum::<f32>());
            product += f64::from(qx);
            squares += f64::from(xx);
        }
        match SAFE.contains(&squares) {
            true => Some((product / squares.sqrt()).clamp(-1.0, 1.0)),
            // Zero, tiny, huge or not finite: float64 tells which.
            false => cosine_similarity(&self.unit, row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, naive_distance};

    fn wide(vector: &[f32]) -> Vec<f64> {
        vector.iter().copied().map(f64::from).collect()
    }

    #[test]
    fn similarities_follow_the_definition_at_every_width_and_length() {
        let mut random = Random(51);
        for d in [1, 2, 15, 16, 17, 383, 384, 385, 768, 4096, 5000] {
            for scale in [1.0, 1e-4, 1e4, 1e-30, 1e15, 1e30] {
                let q = random.vector(d);
                // Of one sign, the worst case of rounding, and of both.
                for shift in [0.0, 1.5] {
                    let mut row = random.vector(d);
                    row.iter_mut().for_each(|x| *x = (*x + shift) * scale);
                    let found = Query::new(&wide(&q)).unwrap().similarity(&row).unwrap();
                    let expected = 1.0 - naive_distance(&q, &row, None);
                    let error = (found - expected).abs();
                    assert!(error <= 1e-6, "d {d}, {scale}: {found}, {expected}");
                }
            }
        }
    }

    #[test]
    fn the_length_of_the_query_does_not_matter() {
        let row = [3.0, 4.0];
        for scale in [1e-300, 1e-30, 1.0, 1e30, 1e300] {
            let query = Query::new(&[scale, 0.0]).unwrap();
            assert!((query.similarity(&row).unwrap() - 0.6).abs() < 1e-6);
            assert_eq!(query.width(), 2);
        }
    }

    #[test]
    fn what_has_no_direction_has_no_similarity() {
        assert_eq!(Query::new(&[0.0, -0.0]), None);
        assert_eq!(Query::new(&[]), None);
        assert_eq!(Query::new(&[1.0, f64::NAN]), None);
        assert_eq!(Query::new(&[1.0, f64::INFINITY]), None);
        let query = Query::new(&[1.0, 1.0]).unwrap();
        assert_eq!(query.similarity(&[0.0, -0.0]), None);
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(query.similarity(&[bad, 1.0]).unwrap().is_nan());
        }
    }

    #[test]
    fn equal_and_opposite_directions_reach_the_ends_of_the_range() {
        let v = [0.1f32, 0.7, -0.3];
        let query = Query::new(&wide(&v)).unwrap();
        assert!(query.similarity(&v.map(|x| 7.0 * x)).unwrap() > 1.0 - 1e-6);
        assert!(query.similarity(&v.map(|x| -x)).unwrap() < -1.0 + 1e-6);
    }
}
