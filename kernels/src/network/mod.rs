//! The pieces of a network's forward pass, and the statistics of what its neurons do.

pub mod activation;
pub mod attention;
pub mod bias;
pub mod layer_norm;
pub mod matmul;
pub mod rotary;
pub mod statistics;
