//! The merges of a neuron's clustering, from which a dendrogram is drawn.
//!
//! Labels as in kodama and SciPy: the n examples are 0 .. n - 1 in order, step i makes n + i. A zero vector keeps its
//! label and is never merged.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Result, internal_err};

use crate::calls::settings::PolysemaOptions;
use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    ClusterOptions, EMBEDDING, Group, InputColumns, KIND, LAYER_NEURON, LINKAGE, NeuronFunction,
    OutputColumns, PerNeuron, Scratch, fields, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "linkage",
    chapter: "cluster",
    summary: "One row per merge of a neuron's hierarchical clustering (whatever polysema.method), in the order they happen.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[LINKAGE, EMBEDDING, KIND, RUN],
    returns: "layer, neuron, step (from 0, in the order of the merges), cluster1 (an example's number, or n_examples \
              plus the step that made it, as in SciPy), cluster2 (the other, cluster1 < cluster2), dissimilarity \
              (average distance of the two), size (members of the new cluster), sign (as neuron_polysemanticity gives it; each \
              list of examples has merges of its own)",
    example: "SELECT step, cluster1, cluster2, dissimilarity, size FROM linkage(0, 1) ORDER BY step LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        let settings = PolysemaOptions::of(state.config_options())?;
        Ok(Arc::new(Merges(ClusterOptions::hierarchical(
            arguments, &settings,
        )?)))
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
        ("step", DataType::Int32, false),
        ("cluster1", DataType::Int32, false),
        ("cluster2", DataType::Int32, false),
        ("dissimilarity", DataType::Float32, false),
        ("size", DataType::Int32, false),
        ("sign", DataType::Utf8, true),
    ])))
}

#[derive(Debug)]
struct Merges(ClusterOptions);

impl NeuronFunction for Merges {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.0.embedding.inputs(vec![])
    }

    fn bytes(&self, n: usize, d: usize, limit: usize) -> usize {
        self.0.bytes(n, d, limit)
    }

    fn advice(&self, n: usize, d: usize, limit: usize) -> Option<String> {
        self.0.advice_on_merges(n, d, limit)
    }

    fn rows(
        &self,
        group: &Group,
        _: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let clustering = scratch.cluster(group, &self.0)?;
        let Some(steps) = clustering.steps() else {
            return internal_err!("{}: hierarchical clustering makes merges", DOC.name);
        };
        let label = |node| clustering.node(node, group.len());
        let [layer, neuron] = group.key_columns(steps.len());
        Ok(vec![
            layer,
            neuron,
            Arc::new(Int32Array::from_iter_values(0..steps.len() as i32)),
            Arc::new(Int32Array::from_iter_values(
                steps.iter().map(|s| label(s.cluster1)),
            )),
            Arc::new(Int32Array::from_iter_values(
                steps.iter().map(|s| label(s.cluster2)),
            )),
            Arc::new(Float32Array::from_iter_values(
                steps.iter().map(|s| s.dissimilarity),
            )),
            Arc::new(Int32Array::from_iter_values(
                steps.iter().map(|s| s.size as i32),
            )),
            group.sign_column(steps.len()),
        ])
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}
