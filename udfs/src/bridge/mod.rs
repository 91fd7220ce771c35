//! All that knows both Arrow and slices: vector columns, arguments, settings, canonical tables, function documents.

pub mod arguments;
pub mod document;
pub mod settings;
pub mod tables;
pub mod vectors;
