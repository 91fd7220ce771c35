//! Neuron embeddings: what a neuron receives times what it looks for.

use crate::calls::Function;

mod neuron_embedding;
mod neuron_embeddings;

/// The chapter's functions in reading order.
pub fn functions() -> Vec<Function> {
    vec![neuron_embedding::function(), neuron_embeddings::function()]
}
