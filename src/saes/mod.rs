//! Sparse autoencoders over the vectors of a model or a table: trained, kept in the store, measured, exchanged.
//!
//! Arithmetic is in `polysema_kernels::sae`; here is what it needs of files, models and clocks.

mod advice;
mod agree;
mod checkpoint;
mod curve;
mod evaluate;
pub mod exchange;
mod import;
mod loaded;
mod matches;
mod metric;
mod of_hub;
mod options;
mod progress;
mod publish;
mod recipe;
mod shuffle;
mod source;
mod train;
mod weights;

pub use agree::{Agreed, agree};
pub use evaluate::{evaluate_model, evaluate_rows};
pub use import::{ExportFormat, Foreign, export_sae, import_sae};
pub use loaded::{LoadedSae, SaeLibrary};
pub use matches::{Match, matches, weights_of};
pub use metric::{Metric, OF_MODEL, dead};
pub use options::{
    HOOK, IMPORT_SAE, MOVED_CORPUS, MOVED_MODEL, OF_LAYERS, SUBFOLDER, TRAIN_SAE, VECTORS,
};
pub use progress::{TrainSaeProgress, TrainSaeRequest};
pub use publish::Vectors;
pub use recipe::SaeOptions;
pub use source::{OtherCorpus, Places, layer_vectors, sae_reader};
pub use train::train_sae;
pub use weights::load;
