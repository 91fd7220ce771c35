//! What lies in a file: formats read and written, with no knowledge of a store, a model or SQL.

pub mod arrays;
pub mod checkpoint_files;
pub mod checksums;
pub mod clock;
pub mod columnar;
pub mod csv;
pub mod disk;
mod elements;
mod error;
#[cfg(test)]
pub(crate) mod faults;
pub mod file_sum;
pub mod generations;
pub mod gguf;
pub mod guarded;
pub mod idx;
pub mod json;
pub mod loaded;
pub mod mapped;
mod npz;
pub mod numbers;
pub mod pickle;
pub mod regular;
pub mod scratch;
pub mod seal;
pub mod sparse;
pub mod spool;
pub mod tensors;
pub mod torch;
pub mod unpacked;
pub mod weight;
pub mod whole;
pub mod xlsx;
mod zipped;

pub use error::{file_error, invalid, words};
