//! All that knows both Arrow and slices: vector columns, arguments, settings, canonical tables, function documents.

pub mod aggregate;
pub mod arguments;
pub mod context;
pub mod document;
pub mod kept;
pub mod keys;
pub mod memory;
pub mod provider;
pub mod scalar;
pub mod settings;
pub mod tables;
pub mod tokens;
pub mod vectors;
pub mod written;
