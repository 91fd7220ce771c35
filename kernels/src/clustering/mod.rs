//! Hierarchical clustering of vectors by cosine distance, and what is measured of a clustering.

pub mod centroid_metrics;
pub mod dendrogram;
pub mod distance;
pub mod flat_clusters;
pub mod linkage;
pub mod mean_linkage;
pub mod metrics;
mod nn_chain;
pub mod quality;
pub mod scc;
mod unit_vectors;
