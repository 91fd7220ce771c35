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
mod write;

pub use import::{ImportRequest, import_options, import_run};
pub use ingest::{IngestRequest, ingest};
pub use latents::{Attached, Latents, add_to_run, make_run, require_own_run};
pub use options::{
    IngestOptions, MaxActivations, OPTIONS, Order, corpus_option_docs, options_markdown,
};
pub use progress::Progress;
