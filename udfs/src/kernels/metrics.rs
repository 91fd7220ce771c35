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

use super::clusters::FlatClusters;
use super::distance::condensed_row;

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
    let (mut max, mut intra, mut inter) = (0.0f32, Sum::default(), Sum::default());
    for (i, &label) in labels.iter().enumerate() {
        let row = &condensed[condensed_row(n, i)..][..n - i - 1];
        max = row.iter().copied().fold(max, f32::max);
        for (&distance, &other) in row.iter().zip(&labels[i + 1..]) {
            let sum = if label == other {
                &mut intra
            } else {
                &mut inter
            };
            sum.add(distance);
        }
    }
    let all = Sum {
        total: intra.total + inter.total,
        pairs: intra.pairs + inter.pairs,
    };
    Polysemanticity {
        n_clusters: (n > 0).then_some(clusters.sizes.len() as u32),
        max_distance: (all.pairs > 0).then_some(f64::from(max)),
        mean_distance: all.mean(),
        intra_cluster_distance: intra.mean(),
        inter_cluster_distance: inter.mean(),
    }
}

#[derive(Clone, Copy, Default)]
struct Sum {
    total: f64,
    pairs: u64,
}

impl Sum {
    fn add(&mut self, distance: f32) {
        self.total += f64::from(distance);
        self.pairs += 1;
    }

    fn mean(self) -> Option<f64> {
        (self.pairs > 0).then(|| self.total / self.pairs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::clusters::flat_clusters;
    use super::super::distance::CosineDistances;
    use super::super::linkage::{Linkage, Linker};
    use super::super::testing::{Random, pairs, slices};
    use super::*;

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
