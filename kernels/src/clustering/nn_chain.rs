//! Average linkage by chains of nearest neighbours, for groups whose whole square matrix is small.
//!
//! The merges are kodama's, bit for bit and tie for tie. Its condensed matrix is walked element by element, though, and
//! a branch is guessed at each; of a square matrix whole rows are read, which vector units do without a branch: 100
//! observations take a third of the time, which was a fifth of all work on a neuron
//! (`cargo bench --workspace --bench neuron -- linkage`).
//!
//! Errors: none. Cost: n², memory 4 n² bytes. Source: Müllner 2011, figure 6.

use crate::clustering::dendrogram::{Labels, Merge, Step};
use crate::condensed::resize;
use crate::simd::wide;

/// Most observations taken: their square is 4 MiB, beyond which what is saved goes in waiting for memory.
pub(crate) const MOST: usize = 1024;

/// Columns taken at once.
const LANES: usize = 8;

type Lane = [f32; LANES];

/// Farther than any observation.
const OUT: f32 = f32::INFINITY;

/// Merges one matrix after another in the same buffers.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// All dissimilarities, `OUT` on the diagonal and behind the last column.
    square: Vec<Lane>,
    /// `OUT` where an observation's cluster goes by another's name, else 0.
    gone: Vec<Lane>,
    sizes: Vec<f32>,
    /// Each is the nearest neighbour of the one before.
    chain: Vec<u32>,
    merges: Vec<Merge>,
    labels: Labels,
}

impl Chain {
    /// Appends the `n - 1` merges of `n` observations to `steps`, which are empty.
    pub(crate) fn average(&mut self, condensed: &[f32], n: usize, steps: &mut Vec<Step>) {
        assert!(n <= MOST, "at most {MOST} observations, got {n}");
        if n < 2 {
            return;
        }
        wide!({
            self.fill(condensed, n);
            self.merge(n);
            self.labels.label(&self.merges, n, steps);
        });
    }

    /// Bytes held after `n` observations.
    pub(crate) fn bytes(n: usize) -> usize {
        let stride = n.next_multiple_of(LANES);
        let per_row = 3 * size_of::<u32>() + size_of::<Merge>();
        stride * (stride * size_of::<f32>() + per_row) + Labels::bytes(n)
    }

    #[inline(always)]
    fn fill(&mut self, condensed: &[f32], n: usize) {
        let lines = n.div_ceil(LANES);
        let stride = lines * LANES;
        resize(&mut self.square, n * lines, [OUT; LANES]);
        let square = self.square.as_flattened_mut();
        let mut rest = condensed;
        for i in 0..n {
            let (right, below) = rest.split_at(n - i - 1);
            let (row, rows_below) = square[i * stride..].split_at_mut(stride);
            row[i] = OUT;
            row[i + 1..n].copy_from_slice(right);
            row[n..].fill(OUT);
            for (row, x) in rows_below.chunks_exact_mut(stride).zip(right) {
                row[i] = *x;
            }
            rest = below;
        }
        self.gone.clear();
        self.gone.resize(lines, [0.0; LANES]);
        self.sizes.clear();
        self.sizes.resize(n, 1.0);
    }

    /// The nearest to an observation, the first of several.
    #[inline(always)]
    fn nearest(&self, i: usize) -> (f32, usize) {
        let row = &self.square[i * self.gone.len()..][..self.gone.len()];
        let (mut least, mut places) = ([OUT; LANES], [0; LANES]);
        let mut at = std::array::from_fn::<u32, LANES, _>(|k| k as u32);
        for (row, gone) in row.iter().zip(&self.gone) {
            for k in 0..LANES {
                let x = larger(row[k], gone[k]);
                places[k] = if x < least[k] { at[k] } else { places[k] };
                least[k] = lesser(x, least[k]);
                at[k] += LANES as u32;
            }
        }
        let mut halves = least;
        for half in [4, 2, 1] {
            for k in 0..half {
                halves[k] = lesser(halves[k], halves[k + half]);
            }
        }
        let distance = halves[0];
        for k in 0..LANES {
            places[k] = if least[k] == distance {
                places[k]
            } else {
                u32::MAX
            };
        }
        for half in [4, 2, 1] {
            for k in 0..half {
                places[k] = places[k].min(places[k + half]);
            }
        }
        (distance, places[0] as usize)
    }

    #[inline(always)]
    fn merge(&mut self, n: usize) {
        self.chain.clear();
        self.merges.clear();
        let mut start = 0;
        for _ in 1..n {
            let (mut a, mut b, mut distance);
            if self.chain.len() < 4 {
                while self.gone.as_flattened()[start] != 0.0 {
                    start += 1;
                }
                a = start;
                self.chain.clear();
                self.chain.push(a as u32);
                (distance, b) = self.nearest(a);
            } else {
                // The chain before the last merge still holds, up to what was nearest to one of its parts.
                self.chain.truncate(self.chain.len() - 2);
                b = self.chain.pop().expect("at least two are left") as usize;
                a = self.chain[self.chain.len() - 1] as usize;
                distance = self.square.as_flattened()[a * self.gone.len() * LANES + b];
            }
            loop {
                self.chain.push(b as u32);
                let (least, nearest) = self.nearest(b);
                if least < distance {
                    (distance, a) = (least, nearest);
                }
                b = a;
                a = self.chain[self.chain.len() - 1] as usize;
                if b == self.chain[self.chain.len() - 2] as usize {
                    break;
                }
            }
            self.join(a.min(b), a.max(b));
            self.merges.push(Merge {
                first: a.min(b) as u32,
                second: a.max(b) as u32,
                dissimilarity: distance,
            });
        }
    }

    /// The row and column of `b` become those of both clusters.
    #[inline(always)]
    fn join(&mut self, a: usize, b: usize) {
        let lines = self.gone.len();
        let (size_a, size_b) = (self.sizes[a], self.sizes[b]);
        let (above, below) = self.square.split_at_mut(b * lines);
        let row_b = &mut below[..lines];
        for (y, x) in row_b.iter_mut().zip(&above[a * lines..][..lines]) {
            for k in 0..LANES {
                y[k] = (size_a * x[k] + size_b * y[k]) / (size_a + size_b);
            }
        }
        row_b.as_flattened_mut()[b] = OUT;
        self.gone.as_flattened_mut()[a] = OUT;
        self.sizes[b] = size_a + size_b;
        let stride = lines * LANES;
        let (above, rest) = self.square.as_flattened_mut().split_at_mut(b * stride);
        let (row, below) = rest.split_at_mut(stride);
        for (other, x) in above.chunks_exact_mut(stride).zip(&*row) {
            other[b] = *x;
        }
        for (other, x) in below.chunks_exact_mut(stride).zip(&row[b + 1..]) {
            other[b] = *x;
        }
    }
}

// One instruction each, unlike `f32::min` and `f32::max`, which take care of NaN.

#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
