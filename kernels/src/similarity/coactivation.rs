//! Which clusters occur in the same places, counted through an inverted index.
//!
//! ```text
//! count(a, b) = |A ∩ B|      A, B: the places of two clusters, among N places in all
//! expected = |A| |B| / N     what two independent sets of these sizes share on average
//! lift = count / expected
//! ```
//!
//! Cost: the sum over places of the squared number of clusters there; memory for the places twice, never for pairs of
//! clusters.

/// The places of clusters, and the clusters of places.
#[derive(Debug)]
pub struct Occurrences {
    /// Where the places of each cluster begin. `[n_clusters + 1]`
    starts: Vec<u32>,
    /// Ascending within a cluster, each once.
    places: Vec<u32>,
    /// Where the clusters of each place begin. `[n_places + 1]`
    place_starts: Vec<u32>,
    /// Ascending within a place.
    clusters: Vec<u32>,
    /// The neuron of each cluster.
    neurons: Vec<u32>,
}

/// Counts of one cluster's partners, reused from cluster to cluster.
#[derive(Debug, Default)]
pub struct Counts {
    by_cluster: Vec<u32>,
    touched: Vec<u32>,
}

impl Occurrences {
    /// From pairs of a cluster and a place, in any order, of clusters whose neurons are given.
    ///
    /// # Panics
    /// If a cluster has no neuron or a place is not below `n_places`.
    pub fn new(mut entries: Vec<(u32, u32)>, neurons: Vec<u32>, n_places: usize) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let by_cluster = starts(entries.iter().map(|entry| entry.0), neurons.len());
        let place_starts = starts(entries.iter().map(|entry| entry.1), n_places);
        let mut next = place_starts.clone();
        let mut clusters = vec![0; entries.len()];
        for &(cluster, place) in &entries {
            let at = &mut next[place as usize];
            clusters[*at as usize] = cluster;
            *at += 1;
        }
        Self {
            starts: by_cluster,
            places: entries.into_iter().map(|(_, place)| place).collect(),
            place_starts,
            clusters,
            neurons,
        }
    }

    /// Bytes held while and after it is made.
    pub fn bytes(n_entries: usize, n_clusters: usize, n_places: usize) -> usize {
        4 * size_of::<u32>() * n_entries + 3 * size_of::<u32>() * (n_clusters + n_places + 2)
    }

    /// Number of clusters.
    pub fn n_clusters(&self) -> usize {
        self.neurons.len()
    }

    /// Number of places.
    pub fn n_places(&self) -> usize {
        self.place_starts.len() - 1
    }

    /// Number of places of a cluster.
    pub fn size(&self, cluster: u32) -> u32 {
        self.starts[cluster as usize + 1] - self.starts[cluster as usize]
    }

    /// Calls `found` with every cluster of another neuron, after `cluster` and from `first` on, that shares a place
    /// with it, ascending, and how many they share.
    pub fn partners(
        &self,
        cluster: u32,
        first: u32,
        counts: &mut Counts,
        mut found: impl FnMut(u32, u32),
    ) {
        counts.by_cluster.resize(self.n_clusters(), 0);
        let own = &self.places[range(&self.starts, cluster)];
        let first = first.max(cluster + 1);
        for &place in own {
            let here = &self.clusters[range(&self.place_starts, place)];
            for &partner in &here[here.partition_point(|&c| c < first)..] {
                if self.neurons[partner as usize] != self.neurons[cluster as usize] {
                    let count = &mut counts.by_cluster[partner as usize];
                    if *count == 0 {
                        counts.touched.push(partner);
                    }
                    *count += 1;
                }
            }
        }
        counts.touched.sort_unstable();
        for partner in counts.touched.drain(..) {
            found(
                partner,
                std::mem::take(&mut counts.by_cluster[partner as usize]),
            );
        }
    }
}

/// How many places two clusters of these sizes share if they are independent.
pub fn expected(size1: u32, size2: u32, n_places: usize) -> f64 {
    f64::from(size1) * f64::from(size2) / n_places as f64
}

fn range(starts: &[u32], i: u32) -> std::ops::Range<usize> {
    starts[i as usize] as usize..starts[i as usize + 1] as usize
}

/// Where each of `n` kinds begins when `kinds` are put in order.
fn starts(kinds: impl Iterator<Item = u32>, n: usize) -> Vec<u32> {
    let mut starts = vec![0; n + 1];
    for kind in kinds {
        starts[kind as usize + 1] += 1;
    }
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    starts
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::testing::Random;

    #[test]
    fn counts_are_the_sizes_of_intersections() {
        let mut random = Random(61);
        for (n_clusters, n_places, n_entries) in [(1, 1, 1), (7, 5, 30), (40, 25, 400), (9, 60, 0)]
        {
            let entries: Vec<(u32, u32)> = (0..n_entries)
                .map(|_| {
                    (
                        random.index(n_clusters) as u32,
                        random.index(n_places) as u32,
                    )
                })
                .collect();
            let neurons: Vec<u32> = (0..n_clusters as u32).map(|c| c / 3).collect();
            let sets: Vec<HashSet<u32>> = (0..n_clusters as u32)
                .map(|c| entries.iter().filter(|e| e.0 == c).map(|e| e.1).collect())
                .collect();
            let all = Occurrences::new(entries, neurons.clone(), n_places);
            assert_eq!((all.n_clusters(), all.n_places()), (n_clusters, n_places));
            let mut counts = Counts::default();
            for first in [0, n_clusters / 2] {
                for a in 0..n_clusters {
                    assert_eq!(all.size(a as u32) as usize, sets[a].len());
                    let expected: Vec<(u32, u32)> = (first.max(a + 1)..n_clusters)
                        .filter(|&b| neurons[a] != neurons[b])
                        .map(|b| (b as u32, sets[a].intersection(&sets[b]).count() as u32))
                        .filter(|&(_, count)| count > 0)
                        .collect();
                    let mut found = vec![];
                    all.partners(a as u32, first as u32, &mut counts, |b, n| {
                        found.push((b, n))
                    });
                    assert_eq!(found, expected, "cluster {a} of {n_clusters}, from {first}");
                }
            }
        }
    }

    #[test]
    fn chance_is_independence() {
        assert_eq!(expected(10, 20, 100), 2.0);
        assert_eq!(expected(0, 20, 100), 0.0);
    }
}
