//! A dendrogram and a cut become flat clusters, their central members and their mean distances.
//!
//! ```text
//! flat cluster  a maximal subtree whose largest merge height is <= threshold (< if strict)
//! at most k     the cut at the least merge height that leaves at most k clusters
//! medoid        the member with the least summed distance to the members, which is the highest mean similarity
//! ```
//!
//! Errors: none. Cost: n for the clusters, the pairs inside clusters for the rest.
//! Source: definitions of SciPy's `fcluster(..., 'distance')` and `'maxclust'`; scikit-learn's threshold is the strict
//! one. Over 400 lines because every cut is tested against its definition written out.

use crate::clustering::dendrogram::Step;
use crate::condensed::condensed_row;

/// A partition of `n` observations. Ids start at 0 and go by decreasing size, ties by smallest member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatClusters {
    /// The cluster of each observation.
    pub labels: Vec<u32>,
    /// The size of each cluster, never 0.
    pub sizes: Vec<u32>,
}

impl FlatClusters {
    /// The members of every cluster, ascending.
    pub fn members(&self) -> Vec<Vec<u32>> {
        let mut members: Vec<_> = self
            .sizes
            .iter()
            .map(|&size| Vec::with_capacity(size as usize))
            .collect();
        for (i, &label) in self.labels.iter().enumerate() {
            members[label as usize].push(i as u32);
        }
        members
    }
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

/// Cuts the dendrogram of `n` observations into at most `n_clusters`; ties in height may leave fewer.
///
/// # Panics
/// If `steps` is not a dendrogram of `n` observations, or `n_clusters` is 0.
pub fn flat_clusters_at_most(steps: &[Step], n: usize, n_clusters: usize) -> FlatClusters {
    assert!(n_clusters > 0, "observations are in some cluster");
    if n_clusters >= n {
        return flat_clusters(steps, n, f64::NEG_INFINITY, false);
    }
    let highest = highest_merges(steps, n);
    // Every subtree below the cut has one cluster less than observations.
    let enough = |threshold: f32| {
        n - highest
            .iter()
            .filter(|&&height| height <= threshold)
            .count()
            <= n_clusters
    };
    // Bisected in the order of the merges, as SciPy does: where a merge lies below an earlier one, this may stop at
    // a higher cut than the least.
    let (mut below, mut cut) = (0, steps.len());
    while below < cut {
        let middle = (below + cut - 1) / 2;
        if enough(highest[middle]) {
            cut = middle;
        } else {
            below = middle + 1;
        }
    }
    flat_clusters(steps, n, f64::from(highest[cut]), false)
}

/// The height at which each flat cluster, a subtree of the dendrogram, joins what is beside it; `None` for one that is
/// all there is.
///
/// # Panics
/// If `steps` is not the dendrogram that the clusters are cut from.
pub fn joining_heights(steps: &[Step], clusters: &FlatClusters) -> Vec<Option<f32>> {
    let mut heights = vec![None; clusters.sizes.len()];
    // The cluster that a node's whole subtree lies in.
    let mut inside: Vec<Option<u32>> = clusters.labels.iter().map(|&label| Some(label)).collect();
    for step in steps {
        let [a, b] = [step.cluster1, step.cluster2].map(|node| inside[node as usize]);
        let together = if a == b { a } else { None };
        if together.is_none() {
            for label in [a, b].into_iter().flatten() {
                heights[label as usize] = Some(step.dissimilarity);
            }
        }
        inside.push(together);
    }
    heights
}

/// The largest height inside each merge's subtree.
fn highest_merges(steps: &[Step], n: usize) -> Vec<f32> {
    let mut highest: Vec<f32> = Vec::with_capacity(steps.len());
    for step in steps {
        let part = |cluster: u32| match (cluster as usize).checked_sub(n) {
            Some(step) => highest[step],
            None => f32::NEG_INFINITY,
        };
        highest.push(
            step.dissimilarity
                .max(part(step.cluster1))
                .max(part(step.cluster2)),
        );
    }
    highest
}

/// Numbers the clusters that the observations' `roots` name, each below `n_nodes`.
pub(crate) fn number(roots: &[u32], n_nodes: usize) -> FlatClusters {
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

/// The mean distance over the pairs of one member of cluster `from` and one of each cluster, `None` for a cluster
/// with itself if it has one member.
///
/// # Panics
/// If `condensed` is not the matrix of the clusters' observations.
pub fn mean_distances_from(
    condensed: &[f32],
    clusters: &FlatClusters,
    from: u32,
) -> Vec<Option<f64>> {
    let (labels, n) = (&clusters.labels, clusters.labels.len());
    let mut sums = vec![0.0; clusters.sizes.len()];
    for i in 0..n {
        let row = &condensed[condensed_row(n, i)..][..n - i - 1];
        for (j, &distance) in (i + 1..n).zip(row) {
            if labels[i] == from {
                sums[labels[j] as usize] += f64::from(distance);
            } else if labels[j] == from {
                sums[labels[i] as usize] += f64::from(distance);
            }
        }
    }
    let size = |label: u32| f64::from(clusters.sizes[label as usize]);
    let mean = |(label, sum): (u32, f64)| {
        let pairs = match label == from {
            true => size(from) * (size(from) - 1.0) / 2.0,
            false => size(from) * size(label),
        };
        (pairs > 0.0).then(|| sum / pairs)
    };
    (0..).zip(sums).map(mean).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clustering::linkage::{Linkage, Linker};
    use crate::testing::{Random, reference_cases, square};

    /// The largest height inside a node's subtree, and its leaves.
    fn subtree(steps: &[Step], n: usize, node: usize) -> (f64, Vec<u32>) {
        if node < n {
            return (f64::NEG_INFINITY, vec![node as u32]);
        }
        let step = steps[node - n];
        let (a, mut leaves) = subtree(steps, n, step.cluster1 as usize);
        let (b, more) = subtree(steps, n, step.cluster2 as usize);
        leaves.extend(more);
        leaves.sort_unstable();
        (f64::from(step.dissimilarity).max(a).max(b), leaves)
    }

    /// Every subtree that fits and lies in no larger one that fits.
    fn naive(steps: &[Step], n: usize, threshold: f64, strict: bool) -> FlatClusters {
        let fits = |height: f64| {
            if strict {
                height < threshold
            } else {
                height <= threshold
            }
        };
        let mut members: Vec<Vec<u32>> = (0..n + steps.len())
            .map(|node| subtree(steps, n, node))
            .filter(|(height, leaves)| leaves.len() == 1 || fits(*height))
            .map(|(_, leaves)| leaves)
            .collect();
        members.sort_by_key(|leaves| (std::cmp::Reverse(leaves.len()), leaves[0]));
        let mut labels = vec![UNSET; n];
        let mut sizes = Vec::new();
        for leaves in members {
            if labels[leaves[0] as usize] == UNSET {
                leaves
                    .iter()
                    .for_each(|&i| labels[i as usize] = sizes.len() as u32);
                sizes.push(leaves.len() as u32);
            }
        }
        FlatClusters { labels, sizes }
    }

    fn matrix(random: &mut Random, n: usize) -> Vec<f32> {
        (0..n * n.saturating_sub(1) / 2)
            .map(|_| (2.0 * random.uniform()) as f32)
            .collect()
    }

    #[test]
    fn a_cluster_is_a_maximal_subtree_that_fits() {
        let mut random = Random(21);
        let (mut linker, mut inversions) = (Linker::new(), 0);
        for n in [0, 1, 2, 3, 9, 30, 31] {
            let condensed = matrix(&mut random, n);
            for linkage in Linkage::ALL {
                let steps = linker.link(&condensed, n, linkage);
                let falls = |w: &[Step]| w[1].dissimilarity < w[0].dissimilarity;
                inversions += steps.windows(2).filter(|w| falls(w)).count();
                let heights = steps.iter().map(|step| f64::from(step.dissimilarity));
                for threshold in heights.chain([0.0, 0.5, 1.0, 9.0]) {
                    for strict in [false, true] {
                        let found = flat_clusters(steps, n, threshold, strict);
                        let expected = naive(steps, n, threshold, strict);
                        assert_eq!(found, expected, "{linkage:?}, n {n}, {threshold}, {strict}");
                    }
                }
            }
        }
        assert!(
            inversions > 0,
            "centroid and median linkage are here to be tested with inversions"
        );
    }

    /// Numbers: tests/reference/linkage.py, SciPy 1.17.1.
    #[test]
    fn cuts_are_scipys() {
        let mut linker = Linker::new();
        for case in reference_cases() {
            for linkage in Linkage::ALL {
                let steps = linker.link(&case.condensed, case.n, linkage);
                for (threshold, expected) in &case.methods[linkage.name()].cuts {
                    // SciPy saw the float32 distance widened, so 0.3 as float32 lies above 0.3 there as here.
                    let found = flat_clusters(steps, case.n, *threshold, false).labels;
                    assert_eq!(
                        found,
                        *expected,
                        "{}, {}, {threshold}",
                        case.name,
                        linkage.name()
                    );
                }
            }
        }
    }

    /// Numbers: tests/reference/linkage.py, SciPy 1.17.1, its `maxclust`.
    #[test]
    fn cuts_into_at_most_k_are_scipys() {
        let mut linker = Linker::new();
        for case in reference_cases() {
            for linkage in Linkage::ALL {
                let steps = linker.link(&case.condensed, case.n, linkage);
                for (k, expected) in &case.methods[linkage.name()].at_most {
                    let found = flat_clusters_at_most(steps, case.n, *k).labels;
                    assert_eq!(found, *expected, "{}, {}, {k}", case.name, linkage.name());
                }
            }
        }
    }

    #[test]
    fn a_cut_into_at_most_k_is_the_finest_of_them() {
        let mut random = Random(23);
        let mut linker = Linker::new();
        for n in [0, 1, 2, 3, 9, 30] {
            let mut condensed = matrix(&mut random, n);
            // Few different values, so that merges tie.
            condensed
                .iter_mut()
                .for_each(|x| *x = (*x * 4.0).round() / 4.0);
            for linkage in [Linkage::Average, Linkage::Single, Linkage::Complete] {
                let steps = linker.link(&condensed, n, linkage);
                let cuts: Vec<FlatClusters> = std::iter::once(f64::NEG_INFINITY)
                    .chain(steps.iter().map(|step| f64::from(step.dissimilarity)))
                    .map(|threshold| naive(steps, n, threshold, false))
                    .collect();
                for k in 1..n + 2 {
                    let finest = cuts
                        .iter()
                        .filter(|cut| cut.sizes.len() <= k)
                        .max_by_key(|cut| cut.sizes.len());
                    let found = flat_clusters_at_most(steps, n, k);
                    assert_eq!(Some(&found), finest, "{linkage:?}, n {n}, {k}");
                }
            }
        }
    }

    #[test]
    fn the_threshold_itself_joins_unless_strict() {
        let step = Step {
            cluster1: 0,
            cluster2: 1,
            dissimilarity: 0.5,
            size: 2,
        };
        assert_eq!(flat_clusters(&[step], 2, 0.5, false).labels, [0, 0]);
        assert_eq!(flat_clusters(&[step], 2, 0.5, true).labels, [0, 1]);
    }

    #[test]
    fn ids_go_by_size_then_by_smallest_member() {
        // Pairs {0, 5} and {1, 4}, then {2, 3, 6}: the largest is 0, the pairs follow by member.
        let merge = |cluster1, cluster2, size| Step {
            cluster1,
            cluster2,
            dissimilarity: 0.1,
            size,
        };
        let far = |cluster1, cluster2, size| Step {
            cluster1,
            cluster2,
            dissimilarity: 1.0,
            size,
        };
        let steps = [
            merge(1, 4, 2),
            merge(0, 5, 2),
            merge(2, 3, 2),
            merge(6, 9, 3),
            far(7, 8, 4),
            far(10, 11, 7),
        ];
        let clusters = flat_clusters(&steps, 7, 0.5, false);
        assert_eq!(clusters.labels, [1, 2, 0, 0, 2, 1, 0]);
        assert_eq!(clusters.sizes, [3, 2, 2]);
    }

    #[test]
    fn medoids_and_means_follow_their_definitions() {
        let mut random = Random(22);
        for (n, n_clusters) in [(1, 1), (2, 1), (2, 2), (25, 4), (40, 1)] {
            let condensed = matrix(&mut random, n);
            let distances = square(&condensed, n);
            let labels: Vec<u32> = (0..n).map(|i| (i % n_clusters) as u32).collect();
            let members = |k: u32| (0..n).filter(move |&i| i % n_clusters == k as usize);
            let sizes = (0..n_clusters as u32)
                .map(|k| members(k).count() as u32)
                .collect();
            let clusters = FlatClusters { labels, sizes };
            let (medoids, means) = (
                medoids(&condensed, &clusters),
                mean_distances(&condensed, &clusters),
            );
            for k in 0..n_clusters as u32 {
                let similarity = |i: usize| members(k).map(|j| 1.0 - distances[i][j]).sum::<f64>();
                let central = medoids[k as usize] as usize;
                assert!(members(k).all(|i| similarity(i) <= similarity(central) + 1e-12));
                let of_pairs: Vec<f64> = members(k)
                    .flat_map(|i| members(k).filter(move |&j| i < j).map(move |j| (i, j)))
                    .map(|(i, j)| distances[i][j])
                    .collect();
                let mean = of_pairs.iter().sum::<f64>() / of_pairs.len() as f64;
                match means[k as usize] {
                    Some(found) => assert!((found - mean).abs() < 1e-12),
                    None => assert!(of_pairs.is_empty()),
                }
            }
        }
    }

    #[test]
    fn a_cluster_joins_the_rest_at_the_first_merge_beyond_it() {
        let mut random = Random(25);
        let mut linker = Linker::new();
        for n in [1, 2, 3, 20, 41] {
            let condensed = matrix(&mut random, n);
            for linkage in Linkage::ALL {
                let steps = linker.link(&condensed, n, linkage);
                for threshold in [0.0, 0.4, 0.9, 1.3, 9.0] {
                    let clusters = flat_clusters(steps, n, threshold, false);
                    for (members, found) in clusters
                        .members()
                        .iter()
                        .zip(joining_heights(steps, &clusters))
                    {
                        let more = |node: usize| subtree(steps, n, node).1;
                        let beyond = (0..steps.len()).find(|i| {
                            let leaves = more(n + i);
                            leaves.len() > members.len() && leaves.contains(&members[0])
                        });
                        let expected = beyond.map(|i| steps[i].dissimilarity);
                        assert_eq!(found, expected, "{linkage:?}, n {n}, {threshold}");
                    }
                }
            }
        }
    }

    #[test]
    fn distances_from_a_cluster_are_means_over_its_pairs() {
        let mut random = Random(24);
        let condensed = matrix(&mut random, 12);
        let distances = square(&condensed, 12);
        let labels: Vec<u32> = [0, 1, 0, 2, 1, 0, 3, 0, 1, 2, 0, 0].to_vec();
        let clusters = FlatClusters {
            labels,
            sizes: vec![6, 3, 2, 1],
        };
        let members = clusters.members();
        for from in 0..4 {
            let found = mean_distances_from(&condensed, &clusters, from as u32);
            for to in 0..4 {
                let pairs: Vec<f64> = members[from]
                    .iter()
                    .flat_map(|&i| members[to].iter().map(move |&j| (i as usize, j as usize)))
                    .filter(|(i, j)| i != j)
                    .map(|(i, j)| distances[i][j])
                    .collect();
                let mean = pairs.iter().sum::<f64>() / pairs.len() as f64;
                match found[to] {
                    Some(found) => assert!((found - mean).abs() < 1e-12, "{from} to {to}"),
                    None => assert!(pairs.is_empty(), "{from} to {to}"),
                }
            }
        }
    }

    #[test]
    fn tied_medoids_are_the_smallest() {
        let clusters = FlatClusters {
            labels: vec![1, 0, 0, 0, 1],
            sizes: vec![3, 2],
        };
        let medoids = medoids(&[0.25; 10], &clusters);
        assert_eq!(medoids, [1, 0]);
    }
}
