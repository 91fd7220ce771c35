//! The embeddings of a neuron's dataset examples as rows.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::arrow::vectors::{VectorBuilder, vector_type};
use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    ClusterOptions, EMBEDDING, Embedding, Group, InputColumns, KIND, LAYER_NEURON, NeuronFunction,
    OutputColumns, PerNeuron, Scratch, fields, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "neuron_embeddings",
    chapter: "neuron",
    summary: "One row per dataset example: its neuron embedding, h * w.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[EMBEDDING, KIND, RUN],
    returns: "layer, neuron, example, embedding (List<Float32> [d_in], [2 d_in] of embedding 'gate_up')",
    example: "SELECT example, vector_norm(embedding) AS norm FROM neuron_embeddings(0, 1) LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        Ok(Arc::new(NeuronEmbeddings(
            ClusterOptions::resolve(arguments, state)?.embedding,
        )))
    },
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&PER_NEURON)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("layer", DataType::Int32, false),
        ("neuron", DataType::Int32, false),
        ("example", DataType::Int32, false),
        ("embedding", vector_type(), true),
    ])))
}

#[derive(Debug)]
struct NeuronEmbeddings(Embedding);

impl NeuronFunction for NeuronEmbeddings {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.0.inputs(vec![])
    }

    fn bytes(&self, n: usize, d: usize, _: usize) -> usize {
        2 * n * d * size_of::<f32>()
    }

    fn rows(&self, group: &Group, _: &OutputColumns, _: &mut Scratch) -> Result<Vec<ArrayRef>> {
        let vectors = group.vectors()?;
        let mut embeddings = VectorBuilder::new();
        for h in vectors.rows() {
            embeddings.append_with(group.embedding_width(h.len()), |e| group.embed(h, e));
        }
        let [layer, neuron] = group.key_columns(group.len());
        let example = Arc::new(Int32Array::from(group.ids()?.to_vec()));
        Ok(vec![layer, neuron, example, Arc::new(embeddings.finish())])
    }

    fn describe(&self) -> String {
        format!("embedding={}", self.0.name())
    }
}
