//! What the matrix of distances says of flat clusters, from sums of unit vectors instead: n d work and memory, where
//! the matrix takes n² of both.
//!
//! ```text
//! s = Σ u over a cluster of size m
//! Σ over the other members j of <u_i, u_j>  = <u_i, s> - |u_i|²
//! mean distance between clusters A and B    = 1 - <s_A, s_B> / (|A| |B|)
//! ```
//!
//! Errors: none. Cost: n d, the silhouette n d times the number of clusters. Source: definitions of `clusters`,
//! `metrics` and `quality`, which are the same numbers to float32 precision.

use crate::clustering::flat_clusters::FlatClusters;
use crate::clustering::metrics::Polysemanticity;
use crate::clustering::quality::of_one;
use crate::clustering::unit_vectors::RowMatrix;
use crate::simd::Products;

/// Clusters whose means are multiplied with all rows at once. Chosen, not tuned.
const BLOCK: usize = 32;

/// Unit vectors with their clusters.
#[derive(Debug)]
pub struct UnitSums<'a> {
    units: &'a RowMatrix,
    clusters: &'a FlatClusters,
    members: Vec<Vec<u32>>,
    /// For each observation, the sum of its distances to the others of its cluster.
    own: Vec<f64>,
}

impl<'a> UnitSums<'a> {
    pub(crate) fn new(units: &'a RowMatrix, clusters: &'a FlatClusters) -> Self {
        assert_eq!(units.len(), clusters.labels.len(), "one label a row");
        let members = clusters.members();
        let mut own = vec![0.0; units.len()];
        for members in &members {
            let sum = sum_of(units, members);
            for &i in members {
                let i = i as usize;
                let similarity = units.dot(i, &sum) - units.squares(i);
                // Rounding may leave a hair below 0 between equal vectors.
                own[i] = ((members.len() - 1) as f64 - similarity).max(0.0);
            }
        }
        Self {
            units,
            clusters,
            members,
            own,
        }
    }

    /// The central observation of each cluster, the smallest on ties, as [`crate::medoids`].
    pub fn medoids(&self) -> Vec<u32> {
        // Distances are told apart to 2⁻²⁴, as those of the matrix: two members of a pair tie.
        let rounded = |&i: &u32| (self.own[i as usize] * 16_777_216.0).round() as i64;
        let medoid = |members: &Vec<u32>| members.iter().copied().min_by_key(rounded);
        self.members
            .iter()
            .map(|members| medoid(members).expect("no cluster is empty"))
            .collect()
    }

    /// The mean distance over the pairs inside each cluster, `None` for a cluster of one, as [`crate::mean_distances`].
    pub fn mean_distances(&self) -> Vec<Option<f64>> {
        let mean = |members: &Vec<u32>| {
            let pairs = (members.len() * (members.len() - 1)) as f64;
            let sum: f64 = members.iter().map(|&i| self.own[i as usize]).sum();
            (pairs > 0.0).then(|| sum / pairs)
        };
        self.members.iter().map(mean).collect()
    }

    /// The mean distance over the pairs of one member of cluster `from` and one of each cluster, as
    /// [`crate::mean_distances_from`].
    pub fn mean_distances_from(&self, from: u32) -> Vec<Option<f64>> {
        let origin = &self.members[from as usize];
        let sum = sum_of(self.units, origin);
        let mut means = self.mean_distances();
        for (label, members) in self.members.iter().enumerate() {
            if label != from as usize {
                let similarity: f64 = members
                    .iter()
                    .map(|&i| self.units.dot(i as usize, &sum))
                    .sum();
                let mean = 1.0 - similarity / (origin.len() * members.len()) as f64;
                means[label] = Some(mean.clamp(0.0, 2.0));
            }
        }
        means
    }

    /// The metrics, as [`crate::polysemanticity`]; `max_distance` is over all pairs.
    pub fn polysemanticity(&self, max_distance: Option<f64>) -> Polysemanticity {
        let n = self.units.len();
        let all: Vec<u32> = (0..n as u32).collect();
        let sum = sum_of(self.units, &all);
        let squares: f64 = (0..n).map(|i| self.units.squares(i)).sum();
        let length: f64 = sum.iter().map(|x| x * x).sum();
        let pairs = (n * n.saturating_sub(1) / 2) as f64;
        let total = (pairs - (length - squares) / 2.0).max(0.0);
        let within = |size: &u32| f64::from(*size) * f64::from(size - 1) / 2.0;
        let intra_pairs: f64 = self.clusters.sizes.iter().map(within).sum();
        let intra = self.own.iter().sum::<f64>() / 2.0;
        let mean = |sum: f64, pairs: f64| (pairs > 0.0).then(|| sum.max(0.0) / pairs);
        Polysemanticity {
            n_clusters: (n > 0).then_some(self.clusters.sizes.len() as u32),
            max_distance,
            mean_distance: mean(total, pairs),
            intra_cluster_distance: mean(intra, intra_pairs),
            inter_cluster_distance: mean(total - intra, pairs - intra_pairs),
        }
    }

    /// The mean silhouette; `None` below two clusters, as [`crate::silhouette`].
    pub fn silhouette(&self) -> Option<f64> {
        let n = self.units.len();
        if self.members.len() < 2 {
            return None;
        }
        let mut nearest = vec![f64::INFINITY; n];
        let (mut means, mut products) = (RowMatrix::default(), Products::default());
        let mut similarities = Vec::with_capacity(BLOCK * BLOCK.min(self.members.len()));
        for (part, clusters) in self.members.chunks(BLOCK).enumerate() {
            means.reset(clusters.len(), self.units.width());
            for (place, members) in clusters.iter().enumerate() {
                let sum = sum_of(self.units, members);
                means.set_mean(place, &sum, members.len() as f64);
            }
            let columns = means.rows(0..means.len());
            for first in (0..n).step_by(BLOCK) {
                let end = n.min(first + BLOCK);
                let rows = self.units.rows(first..end);
                similarities.resize(rows.len() * columns.len(), 0.0);
                products.cross(&rows, &columns, &mut similarities);
                for (i, similarities) in (first..end).zip(similarities.chunks_exact(clusters.len()))
                {
                    let own = (self.clusters.labels[i] as usize).wrapping_sub(part * BLOCK);
                    for (place, &dot) in similarities.iter().enumerate() {
                        if place != own {
                            nearest[i] = nearest[i].min(f64::from(1.0 - dot).max(0.0));
                        }
                    }
                }
            }
        }
        let sizes = &self.clusters.sizes;
        let of_one = |i: usize| {
            of_one(
                self.own[i],
                sizes[self.clusters.labels[i] as usize],
                nearest[i],
            )
        };
        Some((0..n).map(of_one).sum::<f64>() / n as f64)
    }

    /// Bytes held for `n` rows of width `d` besides the rows.
    pub fn bytes(n: usize, d: usize) -> usize {
        let block = BLOCK.min(n);
        let per_row = 2 * size_of::<f64>() + size_of::<u32>() + size_of::<Vec<u32>>();
        RowMatrix::bytes(block, d)
            + Products::bytes(block, d)
            + block * (block * size_of::<f32>() + 2 * size_of::<&[f32]>())
            + n * per_row
            + d * size_of::<f64>()
    }
}

fn sum_of(units: &RowMatrix, members: &[u32]) -> Vec<f64> {
    let mut sum = vec![0.0; units.width()];
    for &i in members {
        units.add_to(i as usize, 1.0, &mut sum);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, slices};
    use crate::{
        CosineDistances, mean_distances, mean_distances_from, medoids, polysemanticity, silhouette,
    };

    fn near(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-6,
            (a, b) => a == b,
        }
    }

    #[test]
    fn sums_say_what_the_matrix_says() {
        let mut random = Random(51);
        for (n, n_clusters) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (2, 2),
            (9, 3),
            (40, 1),
            (150, 90),
            (150, 150),
        ] {
            let rows = random.rows(n, 40);
            let (mut units, mut live) = (RowMatrix::default(), vec![]);
            units.embed(&slices(&rows), None, &mut live).unwrap();
            let mut distances = CosineDistances::new();
            distances.compute(&slices(&rows), None).unwrap();
            let condensed = distances.condensed();
            let labels: Vec<u32> = (0..n).map(|i| (i % n_clusters) as u32).collect();
            let sizes = (0..n_clusters.min(n))
                .map(|k| (0..n).filter(|i| i % n_clusters == k).count() as u32);
            let clusters = FlatClusters {
                labels,
                sizes: sizes.collect(),
            };
            let sums = UnitSums::new(&units, &clusters);
            let case = format!("n {n}, {n_clusters} clusters");
            assert_eq!(sums.medoids(), medoids(condensed, &clusters), "{case}");
            assert!(
                near(sums.silhouette(), silhouette(condensed, &clusters)),
                "{case}"
            );
            let pairs = sums
                .mean_distances()
                .into_iter()
                .zip(mean_distances(condensed, &clusters));
            assert!(pairs.into_iter().all(|(a, b)| near(a, b)), "{case}");
            if n > 0 {
                let from = (n_clusters.min(n) - 1) as u32;
                let expected = mean_distances_from(condensed, &clusters, from);
                let pairs = sums.mean_distances_from(from).into_iter().zip(expected);
                assert!(pairs.into_iter().all(|(a, b)| near(a, b)), "{case}");
            }
            let expected = polysemanticity(condensed, &clusters);
            let found = sums.polysemanticity(expected.max_distance);
            assert_eq!(found.n_clusters, expected.n_clusters, "{case}");
            assert!(near(found.mean_distance, expected.mean_distance), "{case}");
            assert!(
                near(
                    found.intra_cluster_distance,
                    expected.intra_cluster_distance
                ),
                "{case}"
            );
            assert!(
                near(
                    found.inter_cluster_distance,
                    expected.inter_cluster_distance
                ),
                "{case}"
            );
        }
    }

    #[test]
    fn equal_rows_are_no_distance_apart_and_the_first_is_central() {
        let rows = vec![vec![0.3f32, 0.1, 0.7]; 5];
        let (mut units, mut live) = (RowMatrix::default(), vec![]);
        units.embed(&slices(&rows), None, &mut live).unwrap();
        let clusters = FlatClusters {
            labels: vec![0; 5],
            sizes: vec![5],
        };
        let sums = UnitSums::new(&units, &clusters);
        assert_eq!(sums.medoids(), [0]);
        assert!(sums.mean_distances()[0].is_some_and(|mean| (0.0..1e-7).contains(&mean)));
    }
}
