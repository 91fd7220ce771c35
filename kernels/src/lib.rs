//! Mathematics on slices: no Arrow, no engine, no input or output, no clock, no global random numbers.
//!
//! Shape legend, the same in every kernel:
//!
//! ```text
//! n  observations of one group          d  width of a vector
//! h  received (pre-MLP) vector [d]      w  a neuron's input weights [d]
//! u  unit vector [d]                    m  condensed length, n (n - 1) / 2
//! ```
//!
//! A condensed matrix holds the pairs (0,1), (0,2), .. (0,n-1), (1,2), .. as SciPy's `pdist` does.

// A panic must not reach a user, and only front ends print.
#![warn(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

pub mod clustering;
mod condensed;
pub mod network;
pub mod random;
pub mod sae;
pub mod simd;
pub mod similarity;
#[cfg(test)]
mod testing;
pub mod vector;

pub use clustering::dendrogram::{Step, ordered_parts};
pub use clustering::distance::{CosineDistances, NonFinite};
pub use clustering::flat_clusters::{
    FlatClusters, flat_clusters, flat_clusters_at_most, mean_distances, mean_distances_from,
    medoids,
};
pub use clustering::linkage::{Linkage, Linker};
pub use clustering::mean_linkage::MeanLinker;
pub use clustering::metrics::{Polysemanticity, polysemanticity};
pub use clustering::quality::{cophenetic_correlation, silhouette};
pub use clustering::scc::{Stop, SubClusters};
