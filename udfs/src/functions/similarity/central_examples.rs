//! The feature clusters of a neuron, one row each, with the central example and what the neuron received there: what
//! `similar_features` searches.

use std::sync::LazyLock;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{CLUSTERS_OF_LAYERS, LAYER_NEURON, table_function};
use crate::similarity::central_examples::CENTRAL_EXAMPLES;

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: CENTRAL_EXAMPLES.name,
    chapter: "similarity",
    summary: "One row per feature cluster: its central example with the vector the neuron received there.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: CENTRAL_EXAMPLES.returns(""),
    example: "SELECT cluster, size, token, context FROM central_examples(0, 1)",
    replaces: None,
});

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &CENTRAL_EXAMPLES)
}
