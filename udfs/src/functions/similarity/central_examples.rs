//! The feature clusters of a neuron, one row each, with the central example and what the neuron received there: what
//! `similar_features` searches.

use std::sync::Arc;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, LAYER_NEURON, PerNeuron, table_function,
};
use crate::similarity::central_examples::CentralExamples;

static DOC: FunctionDoc = FunctionDoc {
    name: "central_examples",
    chapter: "similarity",
    summary: "One row per feature cluster: its central example with the vector the neuron received there.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: "layer, neuron, cluster (0 is the largest), size (its examples), example (the medoid), doc_id, pos, \
              token, context (the key token between « and »), pre_mlp (the received vector; under embedding \
              'weighted' the weighted one)",
    example: "SELECT cluster, size, token, context FROM central_examples(0, 1)",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema: CentralExamples::schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        Ok(Arc::new(CentralExamples(ClusterOptions::resolve(
            arguments, state,
        )?)))
    },
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&PER_NEURON)
}
