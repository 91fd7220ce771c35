//! Runs: what the neurons of a model, of arrays made elsewhere or of an autoencoder respond to, made and written.

mod candidates;
mod context;
mod examples;
mod import;
mod ingest;
mod latents;
mod layer;
mod observer;
mod options;
mod progress;
mod removal;
mod write;

pub use import::{ImportRequest, import_run};
pub use ingest::{IngestRequest, ingest, ingest_rows};
pub use latents::{Attached, Latents, add_to_run, make_run, require_own_run};
pub use options::{
    ACTIVATION_FUNCTION, ACTIVATION_THRESHOLD, IMPORT_RUN, INGEST, LAYER_NORM, MAX_ACTIVATIONS,
    MAX_EXAMPLES, MIN_ACTIVATION, MaxActivations, ORDER, Order, REPLACE, WINDOW, WINDOW_VECTORS,
};
pub use progress::Progress;
pub use removal::drop_sae;
