//! What lies in a file: formats read and written, with no knowledge of a store, a model or SQL.

pub mod arrays;
mod error;
pub mod idx;
pub mod pickle;
pub mod spool;
pub mod tensors;
pub mod torch;

pub use error::{file_error, invalid};
