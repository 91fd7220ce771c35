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

pub mod activation;
pub mod activity;
pub mod attention;
mod chain;
pub mod clusters;
pub mod coactivation;
pub mod distance;
mod lanes;
pub mod linkage;
pub mod matmul;
pub mod metrics;
pub mod norm;
pub mod quality;
pub mod random;
mod row_matrix;
pub mod rows;
pub mod sae;
pub mod scc;
pub mod search;
pub mod simd;
#[cfg(test)]
mod testing;
pub mod unit_sums;
pub mod vector;

pub use clusters::{
    FlatClusters, flat_clusters, flat_clusters_at_most, mean_distances, mean_distances_from,
    medoids,
};
pub use distance::{CosineDistances, NonFinite};
pub use linkage::{Linkage, Linker, Step};
pub use metrics::{Polysemanticity, polysemanticity};
pub use quality::{cophenetic_correlation, silhouette};
pub use scc::{Stop, SubClusters};
