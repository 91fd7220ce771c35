//! Distances and their flat clusters become the polysemanticity metrics of one neuron.
//!
//! ```text
//! over the pairs a < b of n embeddings
//! max_distance, mean_distance     all pairs
//! intra_cluster_distance          mean over all pairs in one cluster, pooled over clusters
//! inter_cluster_distance          mean over all pairs in different clusters, pooled
//! ```
//!
//! Errors: none. An undefined metric is `None`. Source: Foote 2024, section 3.3.1.

use crate::clustering::flat_clusters::FlatClusters;
use crate::condensed::condensed_row;
use crate::simd::wide;

/// Pairs taken at once.
const LANES: usize = 8;

/// The metrics of one group of embeddings. Distances are cosine distances in [0, 2].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Polysemanticity {
    /// Flat clusters; `None` without embeddings.
    pub n_clusters: Option<u32>,
    /// Over all pairs; `None` below two embeddings.
    pub max_distance: Option<f64>,
    /// Over all pairs; `None` below two embeddings.
    pub mean_distance: Option<f64>,
    /// Over the pairs inside clusters; `None` if every cluster has one member.
    pub intra_cluster_distance: Option<f64>,
    /// Over the pairs across clusters; `None` below two clusters.
    pub inter_cluster_distance: Option<f64>,
}

/// The metrics of the embeddings whose condensed distances and clusters are given.
///
/// # Panics
/// If `condensed` is not the matrix of the clusters' observations.
pub fn polysemanticity(condensed: &[f32], clusters: &FlatClusters) -> Polysemanticity {
    let labels = &clusters.labels;
    let n = labels.len();
    assert_eq!(
        condensed.len(),
        n * n.saturating_sub(1) / 2,
        "one distance per pair"
    );
    let sums = wide!(Sums::of(condensed, labels));
    let pairs = condensed.len() as u64;
    let all = Sum {
        total: sums.all.iter().sum(),
        pairs,
    };
    let intra = Sum {
        total: sums.intra.iter().sum(),
        pairs: sums.pairs.iter().map(|&pairs| u64::from(pairs)).sum(),
    };
    let inter = Sum {
        total: all.total - intra.total,
        pairs: all.pairs - intra.pairs,
    };
    Polysemanticity {
        n_clusters: (n > 0).then_some(clusters.sizes.len() as u32),
        max_distance: (all.pairs > 0)
            .then(|| f64::from(sums.max.iter().copied().fold(0.0, f32::max))),
        mean_distance: all.mean(),
        intra_cluster_distance: intra.mean(),
        inter_cluster_distance: inter.mean(),
    }
}

/// Sums over pairs, several side by side: they cannot differ from one, as sums of distances are exact in float64.
#[derive(Default)]
struct Sums {
    max: [f32; LANES],
    all: [f64; LANES],
    intra: [f64; LANES],
    pairs: [u32; LANES],
}

impl Sums {
    #[inline(always)]
    fn of(condensed: &[f32], labels: &[u32]) -> Self {
        let mut sums = Self::default();
        for (i, &label) in labels.iter().enumerate() {
            let row = &condensed[condensed_row(labels.len(), i)..][..labels.len() - i - 1];
            let (lines, rest) = row.as_chunks::<LANES>();
            let (others, last) = labels[i + 1..].as_chunks::<LANES>();
            for (line, others) in lines.iter().zip(others) {
                sums.add(line, others, label);
            }
            // Pairs of distance zero with a label that nobody has fill the last line.
            let (mut line, mut others) = ([0.0; LANES], [u32::MAX; LANES]);
            line[..rest.len()].copy_from_slice(rest);
            others[..last.len()].copy_from_slice(last);
            sums.add(&line, &others, label);
        }
        sums
    }

    /// Without a branch: whether two examples share a cluster is as good as random to the processor.
    #[inline(always)]
    fn add(&mut self, distances: &[f32; LANES], others: &[u32; LANES], label: u32) {
        for k in 0..LANES {
            let (distance, same) = (distances[k], others[k] == label);
            self.max[k] = if distance > self.max[k] {
                distance
            } else {
                self.max[k]
            };
            self.all[k] += f64::from(distance);
            self.intra[k] += f64::from(if same { distance } else { 0.0 });
            self.pairs[k] += u32::from(same);
        }
    }
}

#[derive(Clone, Copy)]
struct Sum {
    total: f64,
    pairs: u64,
}

impl Sum {
    fn mean(self) -> Option<f64> {
        (self.pairs > 0).then(|| self.total / self.pairs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clustering::distance::CosineDistances;
    use crate::clustering::flat_clusters::flat_clusters;
    use crate::clustering::linkage::{Linkage, Linker};
    use crate::testing::{Random, pairs, slices};

    fn naive_mean(distances: impl Iterator<Item = f64>) -> Option<f64> {
        let all: Vec<f64> = distances.collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    fn near(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-12,
            (a, b) => a == b,
        }
    }

    #[test]
    fn metrics_are_means_over_their_pairs() {
        let mut random = Random(31);
        for n in [0, 1, 2, 3, 30, 61] {
            let condensed: Vec<f32> = pairs(n).map(|_| (2.0 * random.uniform()) as f32).collect();
            for n_clusters in [1, 2, 7, 61] {
                let labels: Vec<u32> = (0..n).map(|i| (i % n_clusters) as u32).collect();
                let sizes: Vec<u32> = (0..n_clusters.min(n))
                    .map(|k| (0..n).filter(|i| i % n_clusters == k).count() as u32)
                    .collect();
                let clusters = FlatClusters { labels, sizes };
                let found = polysemanticity(&condensed, &clusters);
                let all = || pairs(n).zip(condensed.iter().map(|&x| f64::from(x)));
                let same = |(i, j): (usize, usize)| i % n_clusters == j % n_clusters;
                let intra = naive_mean(all().filter(|&(p, _)| same(p)).map(|(_, x)| x));
                let inter = naive_mean(all().filter(|&(p, _)| !same(p)).map(|(_, x)| x));
                let case = format!("n {n}, {n_clusters} clusters: {found:?}");
                assert!(near(found.intra_cluster_distance, intra), "{case}");
                assert!(near(found.inter_cluster_distance, inter), "{case}");
                assert!(
                    near(found.mean_distance, naive_mean(all().map(|(_, x)| x))),
                    "{case}"
                );
                let max = all().map(|(_, x)| x).reduce(f64::max);
                assert_eq!(found.max_distance, max, "{case}");
                assert_eq!(
                    found.n_clusters,
                    (n > 0).then_some(n_clusters.min(n) as u32),
                    "{case}"
                );
            }
        }
    }

    #[test]
    fn average_linkage_keeps_the_intra_cluster_distance_below_the_threshold() {
        let mut random = Random(32);
        let (mut distances, mut linker) = (CosineDistances::new(), Linker::new());
        for n in [5, 20, 60] {
            let rows = random.rows(n, 40);
            distances.compute(&slices(&rows), None).unwrap();
            let steps = linker.link(distances.condensed(), n, Linkage::Average);
            for threshold in [0.1, 0.3, 0.5, 0.9, 1.4] {
                let clusters = flat_clusters(steps, n, threshold, false);
                let found = polysemanticity(distances.condensed(), &clusters);
                assert!(
                    found
                        .intra_cluster_distance
                        .is_none_or(|intra| intra <= threshold + 1e-6)
                );
            }
        }
    }
}
