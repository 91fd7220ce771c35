//! Feature clusters: the separate behaviours of a neuron. A zero vector belongs to no cluster (NULL).

use crate::bridge::document::Function;

mod cluster_summary;
mod feature_clusters;
mod linkage;
mod pairwise_distances;

/// The chapter's functions in reading order.
pub fn functions() -> Vec<Function> {
    vec![
        feature_clusters::function(),
        cluster_summary::function(),
        linkage::function(),
        pairwise_distances::function(),
    ]
}
