//! Feature clusters: the separate behaviours of a neuron. A zero vector belongs to no cluster (NULL).

use crate::calls::Function;

mod cluster_summary;
mod feature_clusters;
mod feature_splits;
mod linkage;
mod pairwise_distances;
mod rare_features;

/// The chapter's functions in reading order.
pub fn functions() -> Vec<Function> {
    vec![
        feature_clusters::function(),
        cluster_summary::function(),
        feature_splits::function(),
        rare_features::function(),
        linkage::function(),
        pairwise_distances::function(),
    ]
}
