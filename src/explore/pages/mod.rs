//! The pages, one a file: its questions, and what its template reads of the answers.

mod activations;
pub(super) mod card;
pub(super) mod compare;
pub(super) mod document;
pub(super) mod explain;
pub(super) mod go;
pub(super) mod importance;
pub(super) mod labels;
pub(super) mod layer;
pub(super) mod logits;
pub(super) mod matches;
pub(super) mod neuron;
mod neuron_images;
mod projection;
pub(super) mod run;
mod run_facts;
pub(super) mod sae;
pub(super) mod sae_pair;
pub(super) mod saes;
pub(super) mod search;
pub(super) mod similar;
pub(super) mod sql;
pub(super) mod store;
