//! A dendrogram and a threshold become flat clusters, their central members and their mean distances.
//!
//! ```text
//! flat cluster  a maximal subtree whose largest merge height is <= threshold (< if strict)
//! medoid        the member with the least summed distance to the members, which is the highest mean similarity
//! ```
//!
//! Errors: none. Cost: n for the clusters, the pairs inside clusters for the rest.
//! Source: definitions of SciPy's `fcluster(..., 'distance')`; scikit-learn's threshold is the strict one.

use super::distance::condensed_row;
use super::linkage::Step;

/// A partition of `n` observations. Ids start at 0 and go by decreasing size, ties by smallest member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatClusters {
    /// The cluster of each observation.
    pub labels: Vec<u32>,
    /// The size of each cluster, never 0.
    pub sizes: Vec<u32>,
}

const UNSET: u32 = u32::MAX;

/// Cuts the dendrogram of `n` observations at `threshold`.
///
/// # Panics
/// If `steps` is not a dendrogram of `n` observations.
pub fn flat_clusters(steps: &[Step], n: usize, threshold: f64, strict: bool) -> FlatClusters {
    assert_eq!(
        steps.len(),
        n.saturating_sub(1),
        "one merge less than observations"
    );
    // A merge may lie below its parts' under centroid and median linkage: whether a part was cut decides too.
    let mut whole = vec![true; n + steps.len()];
    for (i, step) in steps.iter().enumerate() {
        let height = f64::from(step.dissimilarity);
        let joined = if strict {
            height < threshold
        } else {
            height <= threshold
        };
        whole[n + i] = joined && whole[step.cluster1 as usize] && whole[step.cluster2 as usize];
    }
    // From the root down, a node belongs to the topmost whole subtree above it: that subtree's label.
    let mut root: Vec<u32> = (0..whole.len() as u32).collect();
    for (i, step) in steps.iter().enumerate().rev() {
        if whole[n + i] {
            root[step.cluster1 as usize] = root[n + i];
            root[step.cluster2 as usize] = root[n + i];
        }
    }
    number(&root[..n], whole.len())
}

/// Numbers the subtrees that the observations' `roots` name.
fn number(roots: &[u32], n_nodes: usize) -> FlatClusters {
    let mut found = vec![UNSET; n_nodes];
    let mut clusters: Vec<(u32, u32)> = Vec::new(); // (size, place among the found), places by smallest member
    for &root in roots {
        let place = &mut found[root as usize];
        if *place == UNSET {
            *place = clusters.len() as u32;
            clusters.push((0, *place));
        }
        clusters[*place as usize].0 += 1;
    }
    clusters.sort_by_key(|&(size, place)| (std::cmp::Reverse(size), place));
    let mut ids = vec![UNSET; clusters.len()];
    for (id, &(_, place)) in clusters.iter().enumerate() {
        ids[place as usize] = id as u32;
    }
    FlatClusters {
        labels: roots
            .iter()
            .map(|&root| ids[found[root as usize] as usize])
            .collect(),
        sizes: clusters.iter().map(|&(size, _)| size).collect(),
    }
}

/// The central observation of each cluster, the smallest on ties.
///
/// # Panics
/// If `condensed` is not the matrix of the clusters' observations.
pub fn medoids(condensed: &[f32], clusters: &FlatClusters) -> Vec<u32> {
    let sums = sums_within(condensed, &clusters.labels);
    let mut medoids = vec![UNSET; clusters.sizes.len()];
    for (i, &label) in clusters.labels.iter().enumerate() {
        let medoid = &mut medoids[label as usize];
        if *medoid == UNSET || sums[i] < sums[*medoid as usize] {
            *medoid = i as u32;
        }
    }
    medoids
}

/// The mean distance over the pairs inside each cluster, `None` for a cluster of one.
///
/// # Panics
/// If `condensed` is not the matrix of the clusters' observations.
pub fn mean_distances(condensed: &[f32], clusters: &FlatClusters) -> Vec<Option<f64>> {
    let mut sums = vec![0.0; clusters.sizes.len()];
    for (sum, &label) in sums_within(condensed, &clusters.labels)
        .iter()
        .zip(&clusters.labels)
    {
        sums[label as usize] += sum;
    }
    let mean = |(sum, &size): (f64, &u32)| {
        // Every pair is in the sums of both its members.
        (size > 1).then(|| sum / (f64::from(size) * f64::from(size - 1)))
    };
    sums.into_iter().zip(&clusters.sizes).map(mean).collect()
}

/// For each observation, the sum of its distances to the members of its cluster.
fn sums_within(condensed: &[f32], labels: &[u32]) -> Vec<f64> {
    let n = labels.len();
    assert_eq!(
        condensed.len(),
        n * n.saturating_sub(1) / 2,
        "one distance per pair"
    );
    let mut sums = vec![0.0; n];
    for i in 0..n {
        let row = &condensed[condensed_row(n, i)..][..n - i - 1];
        for (j, &distance) in (i + 1..n).zip(row) {
            if labels[i] == labels[j] {
                sums[i] += f64::from(distance);
                sums[j] += f64::from(distance);
            }
        }
    }
    sums
}
