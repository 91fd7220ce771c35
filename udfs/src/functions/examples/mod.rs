//! Dataset examples: the documents that make a neuron fire.

use crate::calls::Function;

mod dataset_examples;

/// The chapter's functions in reading order.
pub fn functions() -> Vec<Function> {
    vec![dataset_examples::function()]
}
