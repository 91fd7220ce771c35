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
//! Above 400 lines with its tests, since statistics, peaks and troughs share one walk over the positions.

use std::ops::Range;

use crate::simd::wide;

/// Buckets of a histogram.
pub const N_BUCKETS: usize = 64;

/// The bits of 2^-6 without the mantissa bits an edge never has.
const FIRST_EDGE: i32 = (127 - 6) << 1;

/// Neurons whose running values stay in registers while the positions pass by.
const LANES: usize = 16;
/// Neurons and positions whose activations are copied side by side before they are looked at. A wide layer's rows lie pages
/// apart, and loads that nothing is done with wait for memory together: four times as fast, measured on 3072 neurons.
const TILE: usize = 64;
const ROWS: usize = 32;

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

    /// Adds what another one has seen of the same neurons.
    ///
    /// # Panics
    /// If that is of more or fewer neurons.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.max.len(), other.max.len(), "the same neurons");
        for (max, seen) in self.max.iter_mut().zip(&other.max) {
            *max = max.max(*seen);
        }
        for (sum, seen) in self.sum.iter_mut().zip(&other.sum) {
            *sum += seen;
        }
        for (active, seen) in self.active.iter_mut().zip(&other.active) {
            *active += seen;
        }
        let counts = self.histogram.iter_mut().flatten();
        for (count, seen) in counts.zip(other.histogram.iter().flatten()) {
            *count += seen;
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
        let mut finite = true;
        for at in (0..width).step_by(TILE) {
            let width = TILE.min(width - at);
            let n = positions.len() as u32;
            let inactive: [u32; TILE] =
                std::array::from_fn(|lane| self.histogram.get(at + lane).map_or(0, |h| h[0]));
            let histogram = &mut self.histogram[at..at + width];
            let mut seen = Running::NONE;
            let mut tile = [[0.0; TILE]; ROWS];
            for pos in positions.clone().step_by(ROWS) {
                let end = positions.end.min(pos + ROWS);
                let rows = side_by_side(values, stride, first + at, width, pos..end, &mut tile);
                for lane in (0..width - width % LANES).step_by(LANES) {
                    lanes::<LANES>(rows, pos, lane, &mut seen, histogram);
                }
                for lane in width - width % LANES..width {
                    lanes::<1>(rows, pos, lane, &mut seen, histogram);
                }
            }
            for (lane, inactive) in inactive[..width].iter().enumerate() {
                let neuron = at + lane;
                self.max[neuron] = self.max[neuron].max(seen.max[lane]);
                self.sum[neuron] += f64::from(seen.sum[lane]);
                self.active[neuron] += n - (self.histogram[neuron][0] - inactive);
                peaks[neuron] = Peak {
                    activation: seen.max[lane],
                    pos: seen.argmax[lane],
                };
            }
            // What is not finite stays so in a sum; a sum may also overflow.
            finite &= seen.sum[..width].iter().all(|sum| sum.is_finite())
                || positions
                    .clone()
                    .flat_map(|pos| &values[pos * stride + first + at..][..width])
                    .all(|value| value.is_finite());
        }
        finite
    }
}

/// Finds where each of a range of neurons is least active in one document: the negated activations' peaks. Arguments and
/// panics as of [`Activity::observe`].
pub fn troughs(
    values: &[f32],
    stride: usize,
    first: usize,
    positions: Range<usize>,
    peaks: &mut [Peak],
) {
    assert!(first + peaks.len() <= stride && positions.end * stride <= values.len());
    wide!(all_troughs(values, stride, first, positions, peaks));
}

#[inline(always)]
fn all_troughs(
    values: &[f32],
    stride: usize,
    first: usize,
    positions: Range<usize>,
    peaks: &mut [Peak],
) {
    for (tile, peaks) in peaks.chunks_mut(TILE).enumerate() {
        let (first, width) = (first + tile * TILE, peaks.len());
        let mut seen = Running::NONE;
        let mut copy = [[0.0; TILE]; ROWS];
        for pos in positions.clone().step_by(ROWS) {
            let end = positions.end.min(pos + ROWS);
            let rows = side_by_side(values, stride, first, width, pos..end, &mut copy);
            // What lies behind the width is looked at for nothing.
            for (row, values) in rows.iter().enumerate() {
                seen.raise(values, (pos + row) as u32);
            }
        }
        for (lane, peak) in peaks.iter_mut().enumerate() {
            *peak = Peak {
                activation: seen.max[lane],
                pos: seen.argmax[lane],
            };
        }
    }
}

/// What neurons of one tile have shown in a document so far.
struct Running {
    max: [f32; TILE],
    argmax: [u32; TILE],
    sum: [f32; TILE],
}

impl Running {
    const NONE: Self = Self {
        max: [f32::NEG_INFINITY; TILE],
        argmax: [0; TILE],
        sum: [0.0; TILE],
    };

    /// Raises the maxima of negated activations.
    #[inline(always)]
    fn raise(&mut self, values: &[f32; TILE], pos: u32) {
        for (lane, value) in values.iter().enumerate() {
            let negated = -value;
            let higher = negated > self.max[lane];
            self.max[lane] = if higher { negated } else { self.max[lane] };
            self.argmax[lane] = if higher { pos } else { self.argmax[lane] };
        }
    }
}

/// The activations of `width` neurons from `first` on at some positions, side by side. A function and no loop around a
/// closure, which would be compiled for every processor.
#[inline(always)]
fn side_by_side<'t>(
    values: &[f32],
    stride: usize,
    first: usize,
    width: usize,
    positions: Range<usize>,
    tile: &'t mut [[f32; TILE]; ROWS],
) -> &'t [[f32; TILE]] {
    let rows = &mut tile[..positions.len()];
    for (row, pos) in rows.iter_mut().zip(positions) {
        let start = pos * stride + first;
        match width {
            TILE => row.copy_from_slice(&values[start..start + TILE]),
            _ => row[..width].copy_from_slice(&values[start..start + width]),
        }
    }
    rows
}

/// Adds `L` neurons from `at` on, at the positions from `first` on.
#[inline(always)]
fn lanes<const L: usize>(
    rows: &[[f32; TILE]],
    first: usize,
    at: usize,
    seen: &mut Running,
    histogram: &mut [[u32; N_BUCKETS]],
) {
    #[inline(always)]
    fn part<const L: usize, T>(all: &mut [T], at: usize) -> &mut [T; L] {
        (&mut all[at..at + L])
            .try_into()
            .expect("a slice of L elements is an array of L elements")
    }
    let histogram: &mut [[u32; N_BUCKETS]; L] = part(histogram, at);
    let seen_max: &mut [f32; L] = part(&mut seen.max, at);
    let seen_argmax: &mut [u32; L] = part(&mut seen.argmax, at);
    let seen_sum: &mut [f32; L] = part(&mut seen.sum, at);
    let (mut max, mut argmax, mut sum) = (*seen_max, *seen_argmax, *seen_sum);
    for (row, values) in rows.iter().enumerate() {
        let values: &[f32; L] = values[at..at + L]
            .try_into()
            .expect("a slice of L elements is an array of L elements");
        let mut bucket = [0u32; L];
        for lane in 0..L {
            let value = values[lane];
            let higher = value > max[lane];
            max[lane] = if higher { value } else { max[lane] };
            argmax[lane] = if higher {
                (first + row) as u32
            } else {
                argmax[lane]
            };
            sum[lane] += value;
            bucket[lane] = bucket_of(value) as u32;
        }
        for lane in 0..L {
            histogram[lane][bucket[lane] as usize % N_BUCKETS] += 1;
        }
    }
    (*seen_max, *seen_argmax, *seen_sum) = (max, argmax, sum);
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
        for shape in [(23, 50, 3, 41), (70, 200, 5, 64), (33, 150, 1, 145)] {
            check(shape);
        }
    }

    fn check((seq, stride, first, width): (usize, usize, usize, usize)) {
        let values = sample(seq, stride);
        let mut activity = Activity::new(width);
        let mut peaks = vec![Peak::NONE; width];
        assert!(activity.observe(&values, stride, first, 1..seq, &mut peaks));
        let mut least = vec![Peak::NONE; width];
        troughs(&values, stride, first, 1..seq, &mut least);
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
            let min = column.iter().copied().fold(f32::INFINITY, f32::min);
            let first_min = column.iter().position(|&v| v == min).unwrap() + 1;
            let expected = Peak {
                activation: -min,
                pos: first_min as u32,
            };
            assert_eq!(least[neuron], expected);
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
