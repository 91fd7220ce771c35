//! The merges of a hierarchical clustering.

/// One merge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The smaller label: an observation below `n`, the cluster of step `i` at `n + i`.
    pub cluster1: u32,
    /// The larger label.
    pub cluster2: u32,
    /// Between the two, under the linkage.
    pub dissimilarity: f32,
    /// Observations in the merged cluster.
    pub size: u32,
}

/// The two parts of every merge in the order in which they are drawn, so that a tree looks the same wherever it is shown:
/// the larger first, of equal ones that with the smallest observation. Observations may be missing from the tree.
pub fn ordered_parts(steps: &[Step], n: usize) -> Vec<[u32; 2]> {
    // (size, smallest observation) of every node.
    let mut nodes: Vec<(u32, u32)> = (0..n as u32).map(|i| (1, i)).collect();
    let mut parts = Vec::with_capacity(steps.len());
    for step in steps {
        let [a, b] = [step.cluster1, step.cluster2].map(|label| (label, nodes[label as usize]));
        let first = |(_, (size, smallest)): (u32, (u32, u32))| (u32::MAX - size, smallest);
        let [a, b] = if first(a) <= first(b) { [a, b] } else { [b, a] };
        nodes.push((a.1.0 + b.1.0, a.1.1.min(b.1.1)));
        parts.push([a.0, b.0]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_part_comes_first_then_that_with_the_smallest_observation() {
        let step = |cluster1, cluster2, dissimilarity| Step {
            cluster1,
            cluster2,
            dissimilarity,
            size: 0,
        };
        // Observation 5 is in no tree: the first merge makes 6.
        let steps = [
            step(1, 3, 0.1),
            step(0, 4, 0.2),
            step(2, 6, 0.3),
            step(7, 8, 0.4),
        ];
        assert_eq!(ordered_parts(&steps, 6), [[1, 3], [0, 4], [6, 2], [8, 7]]);
        let equal = [step(1, 3, 0.1), step(0, 2, 0.2), step(4, 5, 0.3)];
        assert_eq!(ordered_parts(&equal, 4)[2], [5, 4]);
        assert!(ordered_parts(&[], 1).is_empty());
    }
}
