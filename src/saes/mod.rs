//! Sparse autoencoders over the vectors of a model or a table: trained, kept in the store, measured, exchanged.
//!
//! Arithmetic is in `polysema_udfs::kernels::sae`; here is what it needs of files, models and clocks.

mod checkpoint;
mod evaluate;
pub mod exchange;
mod library;
mod options;
mod shuffle;
mod source;
mod train;
mod weights;

pub use evaluate::{Metric, dead, evaluate_model, evaluate_rows};
pub use library::{LoadedSae, SaeLibrary};
pub use options::{SaeOptions, train_sae_options};
pub use source::{OtherCorpus, layer_vectors, sae_reader};
pub use train::{TrainSaeProgress, TrainSaeRequest, Vectors, train_sae};
pub use weights::{WEIGHTS, load};
