//! Runs: what the neurons of a model, of arrays made elsewhere or of an autoencoder respond to, made and written.

mod candidates;
mod checkpoint;
mod context;
mod examples;
mod forward;
mod identity;
mod import;
mod ingest;
mod inputs;
mod latents;
mod layer;
mod model;
mod observer;
mod options;
mod progress;
mod removal;
mod shards;
mod tile;
mod write;

pub use import::{ImportRequest, import_run};
pub use ingest::{ingest, ingest_rows};
pub use inputs::IngestRequest;
pub use latents::{Attached, Latents, add_to_run, make_run, require_own_run, require_width};
pub use model::model_of_run;
pub use options::{
    ACTIVATION_FUNCTION, ACTIVATION_THRESHOLD, CHECKPOINT_EVERY, IMPORT_RUN, INGEST, LAYER_NORM,
    MAX_ACTIVATIONS, MAX_EXAMPLES, MIN_ACTIVATION, MaxActivations, ORDER, Order, REPLACE, RESUME,
    SHARDS, WINDOW, WINDOW_VECTORS,
};
pub use progress::Progress;
pub use removal::drop_sae;
