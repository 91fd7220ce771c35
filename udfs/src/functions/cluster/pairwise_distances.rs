//! The cosine distances between a neuron's examples, one row a pair.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    ClusterOptions, EMBEDDING, Embedding, Group, InputColumns, KIND, LAYER_NEURON, NeuronFunction,
    OutputColumns, PerNeuron, Scratch, fields, matrix_bytes, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "pairwise_distances",
    chapter: "cluster",
    summary: "One row per pair of a neuron's dataset examples with the cosine distance of their embeddings.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[EMBEDDING, KIND, RUN],
    returns: "layer, neuron, example1 (number of an example), example2 (of another, after example1), distance \
              (Float32 in [0, 2]; NULL if one is a zero vector)",
    example: "SELECT example1, example2, distance FROM pairwise_distances(0, 1) ORDER BY distance LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        Ok(Arc::new(PairwiseDistances(
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
        ("example1", DataType::Int32, false),
        ("example2", DataType::Int32, false),
        ("distance", DataType::Float32, true),
    ])))
}

#[derive(Debug)]
struct PairwiseDistances(Embedding);

impl NeuronFunction for PairwiseDistances {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.0.inputs(vec![])
    }

    fn bytes(&self, n: usize, d: usize, _: usize) -> usize {
        matrix_bytes(n, d) + n * n * size_of::<[f32; 3]>()
    }

    fn advice(&self, _: usize, _: usize, _: usize) -> Option<String> {
        Some("all pairs of a neuron are held at once".to_string())
    }

    fn rows(
        &self,
        group: &Group,
        _: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let ids = group.ids()?;
        let (live, condensed) = scratch.distances(group)?;
        let mut is_live = vec![false; ids.len()];
        live.iter().for_each(|&row| is_live[row as usize] = true);
        let pairs = || (0..ids.len()).flat_map(|a| (a + 1..ids.len()).map(move |b| (a, b)));
        // The condensed matrix holds the live pairs in this same order.
        let mut distances = condensed.iter();
        let distance: Float32Array = pairs()
            .map(|(a, b)| {
                if is_live[a] && is_live[b] {
                    distances.next().copied()
                } else {
                    None
                }
            })
            .collect();
        let [layer, neuron] = group.key_columns(distance.len());
        Ok(vec![
            layer,
            neuron,
            Arc::new(Int32Array::from_iter_values(pairs().map(|(a, _)| ids[a]))),
            Arc::new(Int32Array::from_iter_values(pairs().map(|(_, b)| ids[b]))),
            Arc::new(distance),
        ])
    }

    fn describe(&self) -> String {
        format!("embedding={}", self.0.name())
    }
}
