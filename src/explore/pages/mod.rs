//! The pages, one a file: its questions, and what its template reads of the answers.

pub(super) mod document;
pub(super) mod go;
pub(super) mod layer;
pub(super) mod neuron;
pub(super) mod run;
pub(super) mod similar;
pub(super) mod store;
