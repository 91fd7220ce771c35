//! polysema-udfs: SQL functions on neuron embeddings for any DataFusion session.

pub mod kernels;
