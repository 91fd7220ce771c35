//! One row a feature cluster with its central example and what the neuron received there: what a search for similar
//! features compares.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::arrow::vectors::{VectorBuilder, vector_type};
use crate::per_neuron::{
    CLUSTER, CONTEXT, Column, DOC_ID, EXAMPLE, LAYER, NEURON, NeuronRows, POS, PerNeuron, SIZE,
    TOKEN,
};

/// The column of the vector, the last.
pub const VECTOR: &str = "pre_mlp";

/// One row per feature cluster: its size and its central example with the vector the neuron received there.
pub static CENTRAL_EXAMPLES: PerNeuron = PerNeuron {
    columns: &[
        LAYER,
        NEURON,
        CLUSTER,
        SIZE,
        EXAMPLE.meaning("the medoid"),
        DOC_ID,
        POS,
        TOKEN,
        CONTEXT,
        Column::new(
            VECTOR,
            vector_type,
            "the received vector; under embedding 'weighted' the weighted one",
            received,
        ),
    ],
    ..PerNeuron::new("central_examples")
};

fn received(rows: &NeuronRows) -> Result<ArrayRef> {
    let vectors = rows.group.vectors()?;
    let (vectors, mut received) = (vectors.rows(), VectorBuilder::new());
    let medoids = rows.medoids()?;
    for &cluster in &rows.clusters {
        received.append(vectors[medoids[cluster]]);
    }
    Ok(Arc::new(received.finish()))
}
