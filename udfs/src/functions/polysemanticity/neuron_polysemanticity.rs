//! The polysemanticity metrics of every neuron, section 3.3.1 of the paper.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, Group, InputColumns, LAYER_NEURON, NeuronFunction,
    OutputColumns, PerNeuron, Scratch, fields, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "neuron_polysemanticity",
    chapter: "polysemanticity",
    summary: "One row per neuron: how many feature clusters it has and how far apart its examples lie.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: "layer, neuron, n_examples (its dataset examples), n_clusters (feature clusters; NULL without \
              examples), max_distance (over pairs; NULL below two), mean_distance (over pairs; NULL below two), \
              intra_cluster_distance (pairs in one cluster, pooled; NULL if there is none), inter_cluster_distance \
              (pairs across clusters; NULL for one cluster), silhouette (mean over examples, in [-1, 1], 0 for one \
              alone; NULL for one cluster), cophenetic_correlation (of distances and merge heights; NULL below three \
              examples, without variance or merges), sign (of gated neurons: the list of the greatest activations, \
              positive, or of the least, negative; NULL of others); zero vectors count in n_examples only",
    example: "SELECT neuron, n_clusters, mean_distance FROM neuron_polysemanticity(0) ORDER BY n_clusters DESC, \
              neuron LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        Ok(Arc::new(NeuronPolysemanticity(ClusterOptions::resolve(
            arguments, state,
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
        ("n_examples", DataType::Int32, false),
        ("n_clusters", DataType::Int32, true),
        ("max_distance", DataType::Float64, true),
        ("mean_distance", DataType::Float64, true),
        ("intra_cluster_distance", DataType::Float64, true),
        ("inter_cluster_distance", DataType::Float64, true),
        ("silhouette", DataType::Float64, true),
        ("cophenetic_correlation", DataType::Float64, true),
        ("sign", DataType::Utf8, true),
    ])))
}

#[derive(Debug)]
struct NeuronPolysemanticity(ClusterOptions);

impl NeuronFunction for NeuronPolysemanticity {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.0.embedding.inputs(vec![])
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.0)
    }

    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let clustering = scratch.cluster(group, &self.0)?;
        let metrics = clustering.polysemanticity();
        // These two are as much work as the others together: only where they are read.
        let silhouette = wanted.column("silhouette").then(|| clustering.silhouette());
        let correlation = wanted
            .column("cophenetic_correlation")
            .then(|| clustering.cophenetic_correlation());
        let [layer, neuron] = group.key_columns(1);
        let number = |value: Option<f64>| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        Ok(vec![
            layer,
            neuron,
            Arc::new(Int32Array::from(vec![group.len() as i32])),
            Arc::new(Int32Array::from(vec![metrics.n_clusters.map(|n| n as i32)])),
            number(metrics.max_distance),
            number(metrics.mean_distance),
            number(metrics.intra_cluster_distance),
            number(metrics.inter_cluster_distance),
            number(silhouette.flatten()),
            number(correlation.flatten()),
            group.sign_column(1),
        ])
    }

    fn one_row(&self) -> bool {
        true
    }
}
