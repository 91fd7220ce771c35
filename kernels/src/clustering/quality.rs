//! How well flat clusters and merges fit the distances they were made from.
//!
//! ```text
//! silhouette              mean over the observations of (b - a) / max(a, b), 0 for a cluster of one
//!                         a: mean distance to the own cluster's others, b: least mean distance to another cluster
//! cophenetic correlation  Pearson's, over all pairs, of the distance and the height at which the pair is joined
//! ```
//!
//! Errors: none. An undefined value is `None`. Cost: n².
//! Source: Rousseeuw 1987, section 2; Sokal and Rohlf 1962. Numbers: tests/reference/linkage.py.

use crate::clustering::dendrogram::Step;
use crate::clustering::flat_clusters::FlatClusters;
use crate::condensed::condensed_row;

/// The mean silhouette; `None` below two clusters.
///
/// # Panics
/// If `condensed` is not the matrix of the clusters' observations.
pub fn silhouette(condensed: &[f32], clusters: &FlatClusters) -> Option<f64> {
    let (labels, n) = (&clusters.labels, clusters.labels.len());
    if clusters.sizes.len() < 2 {
        return None;
    }
    let mut sums = vec![0.0; clusters.sizes.len()];
    let mut total = 0.0;
    for i in 0..n {
        sums.fill(0.0);
        for (j, &label) in labels[..i].iter().enumerate() {
            sums[label as usize] += f64::from(condensed[condensed_row(n, j) + i - j - 1]);
        }
        let row = &condensed[condensed_row(n, i)..][..n - i - 1];
        for (&label, &distance) in labels[i + 1..].iter().zip(row) {
            sums[label as usize] += f64::from(distance);
        }
        let own = labels[i] as usize;
        let others = sums
            .iter()
            .zip(&clusters.sizes)
            .enumerate()
            .filter(|(label, _)| *label != own);
        let nearest = others
            .map(|(_, (sum, &size))| sum / f64::from(size))
            .fold(f64::INFINITY, f64::min);
        total += of_one(sums[own], clusters.sizes[own], nearest);
    }
    Some(total / n as f64)
}

/// The silhouette of an observation in a cluster of `size`, from the sum of its distances to the others there and its
/// mean distance to the nearest other cluster.
pub(crate) fn of_one(own_sum: f64, size: u32, nearest: f64) -> f64 {
    if size == 1 {
        return 0.0;
    }
    let own = own_sum / f64::from(size - 1);
    let larger = own.max(nearest);
    // Two clusters in one place are as good as one.
    if larger > 0.0 {
        (nearest - own) / larger
    } else {
        0.0
    }
}

/// The cophenetic correlation; `None` below three observations or if one side does not vary.
///
/// # Panics
/// If `condensed` is not the matrix of `n` observations and `steps` their dendrogram.
pub fn cophenetic_correlation(condensed: &[f32], steps: &[Step], n: usize) -> Option<f64> {
    if n < 3 {
        return None;
    }
    assert_eq!(
        (condensed.len(), steps.len()),
        (n * (n - 1) / 2, n - 1),
        "a dendrogram of the matrix"
    );
    // In the order of the tree every subtree is a range.
    let size = |node: u32| {
        (node as usize)
            .checked_sub(n)
            .map_or(1, |step| steps[step].size as usize)
    };
    let mut starts = vec![0; n + steps.len()];
    for (i, step) in steps.iter().enumerate().rev() {
        let start = starts[n + i];
        starts[step.cluster1 as usize] = start;
        starts[step.cluster2 as usize] = start + size(step.cluster1);
    }
    let mut order = vec![0; n];
    for (leaf, &start) in starts[..n].iter().enumerate() {
        order[start] = leaf;
    }
    let pairs = |step: &Step| (size(step.cluster1) * size(step.cluster2)) as f64;
    let height = |step: &Step| f64::from(step.dissimilarity);
    let m = condensed.len() as f64;
    let mean_height = steps.iter().map(|s| pairs(s) * height(s)).sum::<f64>() / m;
    let mean = condensed.iter().copied().map(f64::from).sum::<f64>() / m;
    let variance = condensed
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>();
    let (mut height_variance, mut covariance) = (0.0, 0.0);
    for step in steps {
        let [left, right] = [step.cluster1, step.cluster2]
            .map(|node| &order[starts[node as usize]..][..size(node)]);
        let mut sum = 0.0;
        for &i in left {
            for &j in right {
                let (i, j) = (i.min(j), i.max(j));
                sum += f64::from(condensed[condensed_row(n, i) + j - i - 1]) - mean;
            }
        }
        let above = height(step) - mean_height;
        height_variance += pairs(step) * above * above;
        covariance += above * sum;
    }
    let scale = (variance * height_variance).sqrt();
    (scale > 0.0).then(|| covariance / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clustering::flat_clusters::flat_clusters;
    use crate::clustering::linkage::{Linkage, Linker};
    use crate::testing::reference_cases;

    /// Numbers: tests/reference/linkage.py, SciPy 1.17.1.
    #[test]
    fn cophenetic_correlations_are_scipys() {
        let mut linker = Linker::new();
        for case in reference_cases() {
            for linkage in Linkage::ALL {
                let steps = linker.link(&case.condensed, case.n, linkage);
                let found = cophenetic_correlation(&case.condensed, steps, case.n);
                let expected = case.methods[linkage.name()].cophenetic_correlation;
                let near = match (found, expected) {
                    (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
                    (found, expected) => found == expected,
                };
                assert!(
                    near,
                    "{}, {}: {found:?}, {expected:?}",
                    case.name,
                    linkage.name()
                );
            }
        }
    }

    /// Numbers: tests/reference/linkage.py, scikit-learn 1.9.1.
    #[test]
    fn silhouettes_are_scikit_learns() {
        let mut linker = Linker::new();
        let mut compared = 0;
        for case in reference_cases() {
            let steps = linker.link(&case.condensed, case.n, Linkage::Average);
            for (threshold, expected) in &case.silhouettes {
                let clusters = flat_clusters(steps, case.n, *threshold, false);
                match (silhouette(&case.condensed, &clusters), expected) {
                    (Some(found), Some(expected)) => {
                        assert!(
                            (found - expected).abs() < 1e-12,
                            "{}, {threshold}: {found}",
                            case.name
                        );
                        compared += 1;
                    }
                    (found, expected) => assert_eq!(found, *expected, "{}, {threshold}", case.name),
                }
            }
        }
        assert!(compared > 8);
    }

    #[test]
    fn what_is_undefined_is_none() {
        let one = FlatClusters {
            labels: vec![0; 3],
            sizes: vec![3],
        };
        assert_eq!(silhouette(&[0.1, 0.2, 0.3], &one), None);
        assert_eq!(silhouette(&[], &FlatClusters::default()), None);
        let alone = FlatClusters {
            labels: vec![0, 1, 2],
            sizes: vec![1; 3],
        };
        assert_eq!(silhouette(&[0.1, 0.2, 0.3], &alone), Some(0.0));
        let together = FlatClusters {
            labels: vec![0, 0, 1],
            sizes: vec![2, 1],
        };
        assert_eq!(
            silhouette(&[0.0; 3], &together),
            Some(0.0),
            "no distance at all"
        );
        let mut linker = Linker::new();
        let equal = [0.3; 6];
        let steps = linker.link(&equal, 4, Linkage::Average);
        assert_eq!(
            cophenetic_correlation(&equal, steps, 4),
            None,
            "no variance"
        );
        let steps = linker.link(&[0.3], 2, Linkage::Average);
        assert_eq!(cophenetic_correlation(&[0.3], steps, 2), None);
    }
}
