//! How a training went: what its steps came to, few enough points to be kept and drawn however many steps there are.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::error::Result;
use polysema_kernels::sae::StepLosses;

use crate::store::sae_training;

/// Most points; beyond it each two become one. Chosen: as many as a picture shows, 60 KB of disk.
const MOST: usize = 512;
/// Numbers of a point in a checkpoint.
const PARTS: usize = 14;

/// Steps one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Point {
    /// The last of them.
    step: u64,
    /// Rows seen until then.
    rows: u64,
    n_steps: u64,
    /// Those whose rows vary.
    n_varying: u64,
    /// Dead latents after the last.
    n_dead: u64,
    /// Of the last.
    learning_rate: f64,
    /// Over the steps, in the order of [`SUMMED`].
    sums: [f64; SUMMED],
}

/// Quantities that are summed: loss, mse, l1, sparsity, ne_loss, auxiliary, l0, and the explained variance of steps that have
/// one.
const SUMMED: usize = 8;
const EXPLAINED_VARIANCE: usize = 7;

impl Point {
    fn of(losses: &StepLosses, step: u64, rows: u64) -> Self {
        Self {
            step,
            rows,
            n_steps: 1,
            n_varying: u64::from(losses.explained_variance.is_some()),
            n_dead: losses.n_dead as u64,
            learning_rate: losses.learning_rate,
            sums: [
                losses.loss,
                losses.mse,
                losses.l1,
                losses.sparsity,
                losses.ne_loss,
                losses.auxiliary,
                losses.l0,
                losses.explained_variance.unwrap_or(0.0),
            ],
        }
    }

    /// Sums over both; `other` is later.
    fn and(&self, other: &Self) -> Self {
        Self {
            n_steps: self.n_steps + other.n_steps,
            n_varying: self.n_varying + other.n_varying,
            sums: std::array::from_fn(|at| self.sums[at] + other.sums[at]),
            ..*other
        }
    }

    fn parts(&self) -> [u64; PARTS] {
        let mut parts = [0; PARTS];
        let counts = [
            self.step,
            self.rows,
            self.n_steps,
            self.n_varying,
            self.n_dead,
        ];
        let (whole, numbers) = parts.split_at_mut(counts.len());
        whole.copy_from_slice(&counts);
        for (part, number) in numbers
            .iter_mut()
            .zip([self.learning_rate].iter().chain(&self.sums))
        {
            *part = number.to_bits();
        }
        parts
    }

    fn of_parts(parts: [u64; PARTS]) -> Self {
        let [
            step,
            rows,
            n_steps,
            n_varying,
            n_dead,
            learning_rate,
            sums @ ..,
        ] = parts;
        Self {
            step,
            rows,
            n_steps,
            n_varying,
            n_dead,
            learning_rate: f64::from_bits(learning_rate),
            sums: sums.map(f64::from_bits),
        }
    }
}

/// The points of a training, all of as many steps but the last, which may be of fewer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Curve {
    points: Vec<Point>,
}

impl Curve {
    /// Adds a step.
    pub fn push(&mut self, losses: &StepLosses, step: u64, rows: u64) {
        let point = Point::of(losses, step, rows);
        let each = self.points.first().map_or(1, |first| first.n_steps);
        match self.points.last_mut() {
            Some(last) if last.n_steps < each => *last = last.and(&point),
            _ => {
                if self.points.len() == MOST {
                    let pairs = self.points.chunks_exact(2);
                    self.points = pairs.map(|pair| pair[0].and(&pair[1])).collect();
                }
                self.points.push(point);
            }
        }
    }

    /// All of it as whole numbers, for a checkpoint: what goes on from it goes on to the same bits.
    pub fn to_numbers(&self) -> Vec<u64> {
        self.points.iter().flat_map(Point::parts).collect()
    }

    /// Of such numbers; none where they are not of whole points.
    pub fn of_numbers(numbers: &[u64]) -> Option<Self> {
        let (points, rest) = numbers.as_chunks::<PARTS>();
        let points = points.iter().map(|parts| Point::of_parts(*parts));
        rest.is_empty().then(|| Self {
            points: points.collect(),
        })
    }

    /// The rows that a store keeps of it: means over the steps of each point. None where there was no step.
    pub fn rows(&self, d_sae: usize) -> Result<Option<RecordBatch>> {
        if self.points.is_empty() {
            return Ok(None);
        }
        let count = |of: fn(&Point) -> u64| -> ArrayRef {
            let values = self.points.iter().map(|point| of(point) as i64);
            Arc::new(Int64Array::from_iter_values(values))
        };
        let number = |of: &dyn Fn(&Point) -> Option<f64>| -> ArrayRef {
            Arc::new(Float64Array::from_iter(self.points.iter().map(of)))
        };
        let mean = |at: usize| number(&|point| Some(point.sums[at] / point.n_steps as f64));
        let varying = |point: &Point| {
            let sum = point.sums[EXPLAINED_VARIANCE];
            (point.n_varying > 0).then(|| sum / point.n_varying as f64)
        };
        let mut columns = vec![
            count(|point| point.step),
            count(|point| point.n_steps),
            count(|point| point.rows),
        ];
        columns.extend((0..EXPLAINED_VARIANCE).map(mean));
        columns.extend([
            number(&|point| Some(100.0 * point.n_dead as f64 / d_sae as f64)),
            number(&varying),
            number(&|point| Some(point.learning_rate)),
        ]);
        Ok(Some(RecordBatch::try_new(
            sae_training::columns(),
            columns,
        )?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{Float64Type, Int64Type};

    fn losses(step: u64) -> StepLosses {
        StepLosses {
            loss: step as f64,
            mse: 2.0 * step as f64,
            l1: 1.0,
            sparsity: 1.0,
            ne_loss: 0.0,
            auxiliary: 0.25,
            l0: 4.0,
            n_dead: step as usize % 8,
            explained_variance: (!step.is_multiple_of(3)).then_some(0.5),
            learning_rate: 1.0 / step as f64,
        }
    }

    fn after(steps: u64) -> Curve {
        let mut curve = Curve::default();
        for step in 1..=steps {
            curve.push(&losses(step), step, 10 * step);
        }
        curve
    }

    #[test]
    fn every_step_counts_once_however_many_there_are() {
        for steps in [1, 2, 511, 512, 513, 514, 1023, 1024, 1025, 5000] {
            let rows = after(steps).rows(8).unwrap().unwrap();
            let count = |at: usize| {
                rows.column(at)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            };
            let number = |at: usize| rows.column(at).as_primitive::<Float64Type>().clone();
            assert!(rows.num_rows() <= MOST && rows.num_rows() as u64 >= steps.min(256));
            let (ends, n_steps) = (count(0), count(1));
            assert_eq!(n_steps.iter().sum::<i64>() as u64, steps);
            assert_eq!(ends.last(), Some(&(steps as i64)));
            let (loss, varying) = (number(3), number(11));
            let mut first = 1;
            for (at, end) in ends.iter().enumerate() {
                assert_eq!(count(2)[at], 10 * end);
                // The mean of numbers one after the other.
                assert_eq!(loss.value(at), (first + end) as f64 / 2.0, "{steps}");
                assert_eq!(number(10).value(at), 12.5 * (end % 8) as f64);
                assert_eq!(number(12).value(at), 1.0 / *end as f64);
                let none = first == *end && end % 3 == 0;
                assert_eq!((!none).then_some(0.5), varying.iter().nth(at).unwrap());
                first = end + 1;
            }
        }
        assert!(after(0).rows(8).unwrap().is_none());
    }

    #[test]
    fn what_a_checkpoint_has_goes_on_to_the_same_points() {
        for kept in [0, 1, 511, 512, 700, 1500] {
            let mut curve = Curve::of_numbers(&after(kept).to_numbers()).unwrap();
            for step in kept + 1..=2000 {
                curve.push(&losses(step), step, 10 * step);
            }
            assert_eq!(curve, after(2000), "{kept}");
        }
        assert!(Curve::of_numbers(&[0; PARTS + 1]).is_none());
    }
}
