//! The means of clusters of unit vectors, whose dot products are the mean similarities over pairs.
//!
//! A mean is kept in two float32, together 48 bits: what rounding adds at each of many merges stays far below float32's
//! own. Products of many with many read the first alone.

use crate::clustering::distance::NonFinite;
use crate::clustering::unit_vectors::{RowMatrix, in_two};
use crate::simd::on_widest;

/// Partial sums of a dot product.
const LANES: usize = 16;

/// Distances are told apart to 2⁻⁴⁰: pairs equally far in exact arithmetic tie, whatever the last bits of their sums.
const STEPS: f64 = (1u64 << 40) as f64;

/// Clusters, each under the name of its smallest observation.
#[derive(Debug, Default)]
pub(super) struct ClusterMeans {
    high: RowMatrix,
    low: RowMatrix,
    sizes: Vec<u32>,
    /// Whether a cluster changed since one looked: how many merges there were when it was made.
    stamps: Vec<u32>,
    /// A cluster's own name, or one on the way to the cluster that it became part of.
    into: Vec<u32>,
    n_merges: u32,
}

impl ClusterMeans {
    /// Becomes the embeddings of `rows`, each a cluster; `live` those that have a direction.
    pub(super) fn embed(
        &mut self,
        rows: &[&[f32]],
        w: Option<&[f32]>,
        live: &mut Vec<u32>,
    ) -> Result<(), NonFinite> {
        self.high.embed_in_two(&mut self.low, rows, w, live)?;
        let n = live.len();
        self.n_merges = 0;
        for (list, value) in [(&mut self.sizes, 1), (&mut self.stamps, 0)] {
            list.clear();
            list.reserve_exact(n);
            list.resize(n, value);
        }
        self.into.clear();
        self.into.reserve_exact(n);
        self.into.extend(0..n as u32);
        Ok(())
    }

    /// The means, rounded; the rows of clusters that are gone have no meaning.
    pub(super) fn rounded(&self) -> &RowMatrix {
        &self.high
    }

    /// The means, for other use: no more is asked of these clusters.
    pub(super) fn rounded_mut(&mut self) -> &mut RowMatrix {
        &mut self.high
    }

    pub(super) fn size(&self, a: u32) -> u32 {
        self.sizes[a as usize]
    }

    pub(super) fn stamp(&self, a: u32) -> u32 {
        self.stamps[a as usize]
    }

    /// Whether it is a cluster still.
    pub(super) fn is_cluster(&self, a: u32) -> bool {
        self.into[a as usize] == a
    }

    /// The cluster that `a` is, or is part of.
    pub(super) fn cluster_of(&self, mut a: u32) -> u32 {
        while self.into[a as usize] != a {
            a = self.into[a as usize];
        }
        a
    }

    /// The mean distance over the pairs of two clusters, to 2⁻⁴¹.
    pub(super) fn distance(&self, a: u32, b: u32) -> f64 {
        let [a, b] = [a as usize, b as usize];
        let parts = |i| [self.high.row(i), self.low.row(i)];
        // Nothing in it is fused, so that its bits are the same on every processor.
        let dot = on_widest(
            #[inline(always)]
            |_| dot(parts(a), parts(b)),
        );
        ((1.0 - dot).clamp(0.0, 2.0) * STEPS).round() / STEPS
    }

    /// Makes two clusters one, which goes by the smaller name.
    pub(super) fn join(&mut self, a: u32, b: u32) {
        let (into, from) = (a.min(b) as usize, a.max(b) as usize);
        let size = self.sizes[into] + self.sizes[from];
        let share = f64::from(self.sizes[from]) / f64::from(size);
        for k in 0..self.high.width() {
            let [x, y] = [into, from]
                .map(|i| f64::from(self.high.row(i)[k]) + f64::from(self.low.row(i)[k]));
            let [high, low] = in_two(x + share * (y - x));
            self.high.row_mut(into)[k] = high;
            self.low.row_mut(into)[k] = low;
        }
        self.n_merges += 1;
        self.sizes[into] = size;
        self.stamps[into] = self.n_merges;
        self.into[from] = into as u32;
    }

    /// Bytes held for `n` rows of width `d`.
    pub(super) fn bytes(n: usize, d: usize) -> usize {
        2 * RowMatrix::bytes(n, d) + 3 * n * size_of::<u32>()
    }
}

/// In an order that does not depend on the processor.
#[inline(always)]
fn dot(a: [&[f32]; 2], b: [&[f32]; 2]) -> f64 {
    let mut sums = [0.0; LANES];
    let chunks = [a[0], a[1], b[0], b[1]].map(|x| x.as_chunks::<LANES>());
    for i in 0..chunks[0].0.len() {
        let [a, a_low, b, b_low] = chunks.map(|(chunks, _)| &chunks[i]);
        for k in 0..LANES {
            sums[k] +=
                (f64::from(a[k]) + f64::from(a_low[k])) * (f64::from(b[k]) + f64::from(b_low[k]));
        }
    }
    for i in 0..chunks[0].1.len() {
        let [a, a_low, b, b_low] = chunks.map(|(_, rest)| f64::from(rest[i]));
        sums[i] += (a + a_low) * (b + b_low);
    }
    sums.iter().sum()
}
