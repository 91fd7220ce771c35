//! Sparse autoencoders over the vectors of a model or a table: trained, kept in the store, measured, exchanged.
//!
//! Arithmetic is in `polysema_udfs::kernels::sae`; here is what it needs of files, models and clocks.

pub mod exchange;
mod library;
mod weights;

pub use library::{LoadedSae, SaeLibrary};
pub use weights::{WEIGHTS, load};
