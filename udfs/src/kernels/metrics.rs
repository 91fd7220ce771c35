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
