//! What a session's tables hold and how it is read: vector columns as slices, canonical tables, windows as text.

pub mod batches;
pub mod cache;
pub mod context;
pub mod inputs;
pub mod key_filter;
pub mod layers;
pub mod memory;
pub mod provider;
pub mod tables;
pub mod tokens;
pub mod value_filter;
pub mod vectors;
