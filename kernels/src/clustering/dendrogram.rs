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
