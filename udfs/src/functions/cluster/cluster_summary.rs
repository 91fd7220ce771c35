//! The feature clusters of a neuron, one row each: how large, around which example, on which tokens.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::Float64Array;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CENTRAL_EXAMPLE, CLUSTER, CLUSTERS_OF_LAYERS, Column, LAYER, LAYER_NEURON, MEAN_ACTIVATION,
    N_TOKENS, NEURON, PerNeuron, SIGN_COLUMN, SIZE, TOP_TOKENS, double, joined, n_tokens,
    table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per feature cluster: its size, central example and most frequent key tokens.",
    arguments: LAYER_NEURON,
    required: 0,
    options: const { &joined::<9>(&[CLUSTERS_OF_LAYERS, &[N_TOKENS]]) },
    returns: PER_NEURON.returns(""),
    example: "SELECT cluster, size, top_tokens, mean_distance FROM cluster_summary(0, 1)",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    columns: &[
        LAYER,
        NEURON,
        CLUSTER,
        SIZE,
        CENTRAL_EXAMPLE,
        TOP_TOKENS,
        MEAN_ACTIVATION,
        Column::new(
            "mean_distance",
            double,
            "over the cluster's pairs; NULL for one member",
            |rows| {
                Ok(Arc::new(Float64Array::from(
                    rows.clustering()?.mean_distances(),
                )))
            },
        )
        .nullable(),
        SIGN_COLUMN,
    ],
    settle: n_tokens,
    ..PerNeuron::new("cluster_summary")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}
