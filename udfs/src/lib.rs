//! SQL functions on neuron embeddings for any DataFusion session that has the tables `examples` and `neurons`.
//!
//! ```text
//! svg < arrow < calls < per_neuron < similarity < functions < catalog      imports go down only
//! ```
//!
//! [`register_all`] is the way in. The plugin knows no files, no models and no store.

// A panic must not reach a user, and only front ends print.
#![warn(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

pub mod arrow;
pub mod calls;
pub mod catalog;
pub mod functions;
pub mod per_neuron;
pub mod similarity;
pub mod svg;

pub use catalog::register_all;
