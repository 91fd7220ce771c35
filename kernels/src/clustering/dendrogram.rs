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

/// Two clusters as they are merged, each named by an observation of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merge {
    pub(crate) first: u32,
    pub(crate) second: u32,
    /// Not below zero.
    pub(crate) dissimilarity: f32,
}

/// Gives merges their order and their labels, one list after another in the same buffers.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Dissimilarity and place of each merge: whole numbers sort like these pairs.
    order: Vec<u64>,
    parents: Vec<u32>,
}

impl Labels {
    /// Appends the merges to `steps`, which are empty, in order of their dissimilarity, then of their making, under
    /// SciPy's labels.
    #[inline(always)]
    pub(crate) fn label(&mut self, merges: &[Merge], n: usize, steps: &mut Vec<Step>) {
        self.order.clear();
        self.order.reserve_exact(merges.len());
        self.order.extend((0..).zip(merges).map(|(i, merge)| {
            // No dissimilarity is below zero; the sum makes -0 the same as 0.
            u64::from((merge.dissimilarity + 0.0).to_bits()) << 32 | i
        }));
        self.order.sort_unstable();
        self.parents.clear();
        self.parents.reserve_exact(2 * n);
        self.parents.extend(0..(2 * n) as u32);
        for (label, key) in (n as u32..).zip(&self.order) {
            let Merge {
                first,
                second,
                dissimilarity,
            } = merges[*key as u32 as usize];
            let (a, b) = (root(&self.parents, first), root(&self.parents, second));
            self.parents[a as usize] = label;
            self.parents[b as usize] = label;
            // Ways end at the newest label: what goes by it next is found at once.
            self.parents[first as usize] = label;
            self.parents[second as usize] = label;
            let size = |cluster: u32| match (cluster as usize).checked_sub(n) {
                Some(step) => steps[step].size,
                None => 1,
            };
            steps.push(Step {
                cluster1: a.min(b),
                cluster2: a.max(b),
                dissimilarity,
                size: size(a) + size(b),
            });
        }
    }

    /// Bytes held after `n` observations.
    pub(crate) fn bytes(n: usize) -> usize {
        n * (size_of::<u64>() + 2 * size_of::<u32>())
    }
}

/// The cluster that `i` is part of.
#[inline(always)]
fn root(parents: &[u32], mut i: u32) -> u32 {
    while parents[i as usize] != i {
        i = parents[i as usize];
    }
    i
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
