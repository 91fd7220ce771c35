//! Sparse autoencoders of the engine.

pub mod exchange;
