//! Running statistics of neurons over the positions of documents: the inner loop of ingest.
//!
//! One pass over a document's activations `[seq, width]` finds each neuron's peak and adds to its sum, its count of
//! active positions and its histogram. The buckets, `lower < activation <= upper`, have fixed edges:
//!
//! ```text
//! bucket 0         (-inf, 0]
//! bucket 1         (0, 2^-6]
//! bucket 2 + i     (edge(i), edge(i + 1)],  edge(i) = 2^(-6 + i/2) for even i, 1.5 * 2^(-6 + (i-1)/2) for odd i
//! bucket 63        (edge(61), inf),  edge(61) = 1.5 * 2^24
//! ```
//!
//! The edges are floats with at most one mantissa bit, so a value's bucket is read off its bits.

use std::ops::Range;

use crate::simd::wide;

/// Buckets of a histogram.
pub const N_BUCKETS: usize = 64;

/// The bits of 2^-6 without the mantissa bits an edge never has.
const FIRST_EDGE: i32 = (127 - 6) << 1;

/// Neurons whose running values stay in registers while the positions pass by.
const LANES: usize = 16;

/// Lower and upper end of a bucket; the upper one belongs to it.
pub fn bucket_edges(bucket: usize) -> (f32, f32) {
    let edge = |i: usize| f32::from_bits(((FIRST_EDGE + i as i32) as u32) << 22);
    match bucket {
        0 => (f32::NEG_INFINITY, 0.0),
        1 => (0.0, edge(0)),
        _ if bucket + 1 < N_BUCKETS => (edge(bucket - 2), edge(bucket - 1)),
        _ => (edge(N_BUCKETS - 3), f32::INFINITY),
    }
}

/// The bucket a finite activation belongs to.
#[inline(always)]
pub fn bucket_of(activation: f32) -> usize {
    // One less than the bits, so that an edge falls below itself. Negative numbers have negative bits and are
    // masked out together with both zeros.
    let half_octave = (activation.to_bits() as i32).wrapping_sub(1) >> 22;
    let bucket = (half_octave - FIRST_EDGE + 2).clamp(1, N_BUCKETS as i32 - 1);
    if activation > 0.0 { bucket as usize } else { 0 }
}

/// Where a neuron is most active in one document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// The largest activation.
    pub activation: f32,
    /// The first position that has it.
    pub pos: u32,
}

impl Peak {
    /// The peak of no position at all.
    pub const NONE: Peak = Peak {
        activation: f32::NEG_INFINITY,
        pos: 0,
    };
}

/// Statistics of a range of neurons over all positions seen so far.
#[derive(Debug, Clone)]
pub struct Activity {
    /// Largest activation. `[width]`
    pub max: Vec<f32>,
    /// Sum of the activations. `[width]`
    pub sum: Vec<f64>,
    /// Positions with an activation above zero. `[width]`
    pub active: Vec<u32>,
    /// Positions in each bucket. `[width, N_BUCKETS]`
    pub histogram: Vec<[u32; N_BUCKETS]>,
}

impl Activity {
    /// Bytes of one neuron.
    pub const BYTES_A_NEURON: usize =
        size_of::<f32>() + size_of::<f64>() + size_of::<u32>() * (1 + N_BUCKETS);

    /// Statistics of `width` neurons that have seen nothing.
    pub fn new(width: usize) -> Self {
        Activity {
            max: vec![f32::NEG_INFINITY; width],
            sum: vec![0.0; width],
            active: vec![0; width],
            histogram: vec![[0; N_BUCKETS]; width],
        }
    }

    /// Adds one document: the given positions of `values`, whose rows are `stride` apart and whose column `first` is
    /// this range's first neuron. Returns false, with `peaks` unfinished, if an activation is NaN or infinite.
    ///
    /// # Panics
    /// If a row lies outside `values` or `peaks` is not one per neuron.
    pub fn observe(
        &mut self,
        values: &[f32],
        stride: usize,
        first: usize,
        positions: Range<usize>,
        peaks: &mut [Peak],
    ) -> bool {
        let width = self.max.len();
        assert_eq!(peaks.len(), width, "one peak per neuron");
        assert!(first + width <= stride && positions.end * stride <= values.len());
        wide!(self.observe_all(values, stride, first, positions, peaks))
    }

    #[inline(always)]
    fn observe_all(
        &mut self,
        values: &[f32],
        stride: usize,
        first: usize,
        positions: Range<usize>,
        peaks: &mut [Peak],
    ) -> bool {
        let width = self.max.len();
        let blocks = width - width % LANES;
        let mut finite = true;
        for at in (0..blocks).step_by(LANES) {
            finite &= self.lanes::<LANES>(values, stride, first, at, positions.clone(), peaks);
        }
        for at in blocks..width {
            finite &= self.lanes::<1>(values, stride, first, at, positions.clone(), peaks);
        }
        finite
    }

    #[inline(always)]
    fn lanes<const L: usize>(
        &mut self,
        values: &[f32],
        stride: usize,
        first: usize,
        at: usize,
        positions: Range<usize>,
        peaks: &mut [Peak],
    ) -> bool {
        let histogram: &mut [[u32; N_BUCKETS]; L] = (&mut self.histogram[at..at + L])
            .try_into()
            .expect("a slice of L elements is an array of L elements");
        let mut max = [f32::NEG_INFINITY; L];
        let mut argmax = [0u32; L];
        let mut sum = [0f32; L];
        let inactive: [u32; L] = std::array::from_fn(|lane| histogram[lane][0]);
        for pos in positions.clone() {
            let start = pos * stride + first + at;
            let row: &[f32; L] = values[start..start + L]
                .try_into()
                .expect("a slice of L elements is an array of L elements");
            let mut bucket = [0u32; L];
            for lane in 0..L {
                let value = row[lane];
                let higher = value > max[lane];
                max[lane] = if higher { value } else { max[lane] };
                argmax[lane] = if higher { pos as u32 } else { argmax[lane] };
                sum[lane] += value;
                bucket[lane] = bucket_of(value) as u32;
            }
            for lane in 0..L {
                histogram[lane][bucket[lane] as usize % N_BUCKETS] += 1;
            }
        }
        for lane in 0..L {
            self.max[at + lane] = self.max[at + lane].max(max[lane]);
            self.sum[at + lane] += f64::from(sum[lane]);
            let inactive = histogram[lane][0] - inactive[lane];
            self.active[at + lane] += positions.len() as u32 - inactive;
            peaks[at + lane] = Peak {
                activation: max[lane],
                pos: argmax[lane],
            };
        }
        // What is not finite stays so in a sum; a sum may also overflow.
        sum.iter().all(|sum| sum.is_finite())
            || positions
                .flat_map(|pos| &values[pos * stride + first + at..][..L])
                .all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Activations with repeats, zeros, negatives and several magnitudes.
    fn sample(seq: usize, stride: usize) -> Vec<f32> {
        (0..seq * stride)
            .map(|i| {
                let step = (i * 2_654_435_761 % 1009) as f32;
                (step - 700.0) / 37.0
            })
            .collect()
    }

    #[test]
    fn equals_the_naive_statistics() {
        let (seq, stride, first, width) = (23, 50, 3, 41);
        let values = sample(seq, stride);
        let mut activity = Activity::new(width);
        let mut peaks = vec![Peak::NONE; width];
        assert!(activity.observe(&values, stride, first, 1..seq, &mut peaks));
        for neuron in 0..width {
            let column: Vec<f32> = (1..seq)
                .map(|pos| values[pos * stride + first + neuron])
                .collect();
            let max = column.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let first_max = column.iter().position(|&v| v == max).unwrap() + 1;
            assert_eq!(
                peaks[neuron],
                Peak {
                    activation: max,
                    pos: first_max as u32
                }
            );
            assert_eq!(activity.max[neuron], max);
            let sum: f64 = column.iter().map(|&v| f64::from(v)).sum();
            assert!((activity.sum[neuron] - sum).abs() < 1e-3);
            let active = column.iter().filter(|&&v| v > 0.0).count();
            assert_eq!(activity.active[neuron] as usize, active);
            for (bucket, &count) in activity.histogram[neuron].iter().enumerate() {
                let (lower, upper) = bucket_edges(bucket);
                let inside = column.iter().filter(|&&v| lower < v && v <= upper).count();
                assert_eq!(count as usize, inside, "neuron {neuron} bucket {bucket}");
            }
        }
    }

    #[test]
    fn documents_add_up_and_the_first_of_equal_peaks_counts() {
        let mut activity = Activity::new(1);
        let mut peaks = [Peak::NONE];
        activity.observe(&[1.0, 3.0, 3.0], 1, 0, 0..3, &mut peaks);
        assert_eq!(peaks[0].pos, 1);
        activity.observe(&[-2.0, -1.0], 1, 0, 0..2, &mut peaks);
        assert_eq!(
            peaks[0],
            Peak {
                activation: -1.0,
                pos: 1
            }
        );
        assert_eq!(activity.max[0], 3.0);
        assert_eq!(activity.sum[0], 4.0);
        assert_eq!(activity.active[0], 3);
        assert_eq!(activity.histogram[0].iter().sum::<u32>(), 5);
    }

    #[test]
    fn edges_join_and_belong_to_the_bucket_below() {
        for bucket in 1..N_BUCKETS {
            let (lower, upper) = bucket_edges(bucket);
            assert_eq!(lower, bucket_edges(bucket - 1).1);
            assert_eq!(bucket_of(lower), bucket - 1);
            if upper.is_finite() {
                assert_eq!(bucket_of(upper), bucket);
                assert_eq!(bucket_of(f32::from_bits(upper.to_bits() + 1)), bucket + 1);
            }
        }
        assert_eq!(bucket_of(-0.0), 0);
        assert_eq!(bucket_of(f32::MIN_POSITIVE), 1);
        assert_eq!(bucket_of(f32::MAX), N_BUCKETS - 1);
        assert_eq!(bucket_edges(2), (0.015_625, 0.023_437_5));
        assert_eq!(bucket_edges(14), (1.0, 1.5));
    }

    #[test]
    fn every_not_finite_number_is_noticed() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..40 {
                let mut values = sample(2, 20);
                values[at] = bad;
                let mut peaks = vec![Peak::NONE; 20];
                assert!(!Activity::new(20).observe(&values, 20, 0, 0..2, &mut peaks));
            }
        }
        // A sum that overflows is no such number.
        let mut peaks = vec![Peak::NONE; 20];
        assert!(Activity::new(20).observe(&[f32::MAX; 40], 20, 0, 0..2, &mut peaks));
    }
}
