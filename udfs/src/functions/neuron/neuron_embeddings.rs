//! The embeddings of a neuron's dataset examples as rows.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::arrow::vectors::{VectorBuilder, vector_type};
use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    Column, EMBEDDING, EXAMPLE, Each, Groundwork, KIND, LAYER, LAYER_NEURON, NEURON, NeuronRows,
    PerNeuron, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "neuron",
    summary: "One row per dataset example: its neuron embedding, h * w.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[EMBEDDING, KIND, RUN],
    returns: PER_NEURON.returns(""),
    example: "SELECT example, vector_norm(embedding) AS norm FROM neuron_embeddings(0, 1) LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Example,
    groundwork: Groundwork::Embeddings,
    columns: &[
        LAYER,
        NEURON,
        EXAMPLE,
        Column::new(
            "embedding",
            vector_type,
            "List<Float32> [d_in], [2 d_in] of embedding 'gate_up'",
            embeddings,
        )
        .nullable(),
    ],
    ..PerNeuron::new("neuron_embeddings")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

fn embeddings(rows: &NeuronRows) -> Result<ArrayRef> {
    let (group, mut embeddings) = (rows.group, VectorBuilder::new());
    for h in group.vectors()?.rows() {
        embeddings.append_with(group.embedding_width(h.len()), |e| group.embed(h, e));
    }
    Ok(Arc::new(embeddings.finish()))
}
