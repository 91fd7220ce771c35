//! Feature clusters: the separate behaviours of a neuron. A zero vector belongs to no cluster (NULL).

use crate::calls::Function;

mod adjusted_rand_index;
mod cluster_centroids;
mod cluster_summary;
mod dendrogram_svg;
mod feature_clusters;
mod feature_splits;
mod linkage;
mod pairwise_distances;
mod rare_features;
mod token_search;

/// The chapter's functions in reading order.
pub fn functions() -> Vec<Function> {
    vec![
        feature_clusters::function(),
        cluster_summary::function(),
        cluster_centroids::function(),
        feature_splits::function(),
        rare_features::function(),
        token_search::function(),
        linkage::function(),
        dendrogram_svg::function(),
        pairwise_distances::function(),
        adjusted_rand_index::function(),
    ]
}
