//! The feature clusters of a neuron, one row each: how large, around which example, on which tokens.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::arrow::tokens::{top_tokens, top_tokens_type};
use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, Group, InputColumns, LAYER_NEURON, N_TOKENS,
    NeuronFunction, OutputColumns, PerNeuron, Scratch, fields, joined, n_tokens, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "cluster_summary",
    chapter: "cluster",
    summary: "One row per feature cluster: its size, central example and most frequent key tokens.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &joined::<9>(&[CLUSTERS_OF_LAYERS, &[N_TOKENS]]),
    returns: "layer, neuron, cluster (0 is the largest), size (its examples), central_example (the medoid), \
              top_tokens (by count, ties by first example), mean_activation (of its examples), mean_distance (over \
              the cluster's pairs; NULL for one member), sign (as neuron_polysemanticity gives it)",
    example: "SELECT cluster, size, top_tokens, mean_distance FROM cluster_summary(0, 1)",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: |arguments| {
        ClusterOptions::check(arguments)
            .and(n_tokens(arguments))
            .map(|_| ())
    },
    bind: |arguments, state| {
        let options = ClusterOptions::resolve(arguments, state)?;
        Ok(Arc::new(ClusterSummary {
            options,
            n_tokens: n_tokens(arguments)?,
        }))
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
        ("cluster", DataType::Int32, false),
        ("size", DataType::Int32, false),
        ("central_example", DataType::Int32, false),
        ("top_tokens", top_tokens_type(), false),
        ("mean_activation", DataType::Float64, true),
        ("mean_distance", DataType::Float64, true),
        ("sign", DataType::Utf8, true),
    ])))
}

#[derive(Debug)]
struct ClusterSummary {
    options: ClusterOptions,
    n_tokens: usize,
}

impl NeuronFunction for ClusterSummary {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.options.embedding.inputs(vec!["token", "activation"])
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.options)
    }

    fn rows(
        &self,
        group: &Group,
        _: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let ids = group.ids()?;
        let clustering = scratch.cluster(group, &self.options)?;
        let clusters = &clustering.clusters;
        let n_clusters = clusters.sizes.len();
        let members = clustering.members();
        let central = clustering.medoids().into_iter().map(|row| ids[row]);
        let [layer, neuron] = group.key_columns(n_clusters);
        Ok(vec![
            layer,
            neuron,
            Arc::new(Int32Array::from_iter_values(0..n_clusters as i32)),
            Arc::new(Int32Array::from_iter_values(
                clusters.sizes.iter().map(|&size| size as i32),
            )),
            Arc::new(Int32Array::from_iter_values(central)),
            top_tokens(group.column("token")?, &members, self.n_tokens),
            group.mean_activations(&members)?,
            Arc::new(Float64Array::from(clustering.mean_distances())),
            group.sign_column(n_clusters),
        ])
    }

    fn describe(&self) -> String {
        format!("{}, n_tokens={}", self.options.describe(), self.n_tokens)
    }
}
