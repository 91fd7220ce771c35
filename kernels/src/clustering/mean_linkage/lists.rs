//! What is known of each cluster's neighbours between two scans of all.
//!
//! ```text
//! bound B_a      every cluster that is not on a's list is at least so far
//! after a, b     B = (|a| B_a + |b| B_b) / (|a| + |b|) for clusters on neither list, those on one are on the new list
//! certain        the nearest on the list, if it is not beyond the bound
//! ```
//!
//! That a third and a fourth cluster merge keeps a bound: the mean distance to both is not below the lesser of the two.

use super::means::ClusterMeans;
use super::scan::{KEPT, NearestRows};

/// A cluster and its mean distance, from when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Neighbour {
    pub(super) distance: f64,
    pub(super) name: u32,
    /// The neighbour's at that time.
    stamp: u32,
}

const NONE: Neighbour = Neighbour {
    distance: f64::INFINITY,
    name: u32::MAX,
    stamp: u32::MAX,
};

/// The neighbours of a cluster, nearest first, and how far all others are at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    len: usize,
    neighbours: [Neighbour; KEPT],
    bound: f64,
}

impl List {
    const EMPTY: Self = Self {
        len: 0,
        neighbours: [NONE; KEPT],
        bound: f64::NEG_INFINITY,
    };

    /// Of the clusters that a scan found, whose products may be off by `error`.
    pub(super) fn found(name: u32, found: &NearestRows, error: f64, means: &ClusterMeans) -> Self {
        let mut list = Self {
            bound: found
                .least()
                .map_or(f64::INFINITY, |least| 1.0 - f64::from(least) - error),
            ..Self::EMPTY
        };
        list.set(name, found.names().iter().copied(), means);
        // Of neighbours closer together than the error any may be taken: else nothing were ever certain.
        if let Some(nearest) = list.neighbours[..list.len].first() {
            list.bound = list.bound.max(nearest.distance);
        }
        list
    }

    fn names(&self) -> impl Iterator<Item = u32> {
        self.neighbours[..self.len]
            .iter()
            .map(|neighbour| neighbour.name)
    }

    /// Becomes the list of the clusters that those of these names are now, `name`'s own left out. Distances that are on
    /// the list and hold still are taken from there.
    fn set(&mut self, name: u32, names: impl Iterator<Item = u32>, means: &ClusterMeans) {
        let mut found = [NONE; 2 * KEPT];
        let mut n = 0;
        for other in names {
            let other = means.cluster_of(other);
            if other == name || found[..n].iter().any(|found| found.name == other) {
                continue;
            }
            let stamp = means.stamp(other);
            let known = self.neighbours[..self.len]
                .iter()
                .find(|known| known.name == other && known.stamp == stamp);
            found[n] = known.copied().unwrap_or_else(|| Neighbour {
                distance: means.distance(name, other),
                name: other,
                stamp,
            });
            n += 1;
        }
        let found = &mut found[..n];
        found.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.name.cmp(&b.name)));
        if let Some(left_out) = found.get(KEPT) {
            self.bound = self.bound.min(left_out.distance);
        }
        self.len = n.min(KEPT);
        self.neighbours[..self.len].copy_from_slice(&found[..self.len]);
    }

    /// Of the cluster `name` that two became, from the lists and sizes of its parts.
    pub(super) fn joined(name: u32, parts: [(&Self, u32); 2], means: &ClusterMeans) -> Self {
        let [(a, size_a), (b, size_b)] = parts.map(|(list, size)| (list, f64::from(size)));
        let mut list = Self {
            bound: (size_a * a.bound + size_b * b.bound) / (size_a + size_b),
            ..Self::EMPTY
        };
        list.set(name, a.names().chain(b.names()), means);
        list
    }

    /// The nearest cluster, if the list is certain of it.
    pub(super) fn nearest(&mut self, name: u32, means: &ClusterMeans) -> Option<Neighbour> {
        let current = |neighbour: &Neighbour| {
            means.is_cluster(neighbour.name) && means.stamp(neighbour.name) == neighbour.stamp
        };
        let first = self.neighbours[..self.len].first();
        // Others that merged meanwhile have come no nearer.
        if !first.is_some_and(current) {
            let before = *self;
            self.set(name, before.names(), means);
        }
        let nearest = self.neighbours[..self.len].first();
        nearest
            .filter(|nearest| nearest.distance <= self.bound)
            .copied()
    }

    /// How far all clusters that are not on the list are at least.
    pub(super) fn bound(&self) -> f64 {
        self.bound
    }
}
