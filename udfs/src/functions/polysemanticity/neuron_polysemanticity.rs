//! The polysemanticity metrics of every neuron, section 3.3.1 of the paper.

use std::sync::LazyLock;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, Column, Each, INTER_CLUSTER_DISTANCE, INTRA_CLUSTER_DISTANCE, LAYER,
    LAYER_NEURON, MAX_DISTANCE, MEAN_DISTANCE, N_CLUSTERS, N_EXAMPLES, NEURON, PerNeuron,
    SIGN_COLUMN, double, number, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "polysemanticity",
    summary: "One row per neuron: how many feature clusters it has and how far apart its examples lie.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: PER_NEURON.returns("; zero vectors count in n_examples only"),
    example: "SELECT neuron, n_clusters, mean_distance FROM neuron_polysemanticity(0) ORDER BY n_clusters DESC, \
              neuron LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Neuron,
    columns: &[
        LAYER,
        NEURON,
        N_EXAMPLES,
        N_CLUSTERS,
        MAX_DISTANCE,
        MEAN_DISTANCE,
        INTRA_CLUSTER_DISTANCE,
        INTER_CLUSTER_DISTANCE,
        Column::new("silhouette", double, "mean over examples, in [-1, 1], 0 for one alone; NULL for one cluster", |rows| {
            number(rows.clustering()?.silhouette())
        })
        .nullable(),
        Column::new(
            "cophenetic_correlation",
            double,
            "of distances and merge heights; NULL below three examples, without variance or merges",
            |rows| number(rows.clustering()?.cophenetic_correlation()),
        )
        .nullable(),
        SIGN_COLUMN.meaning(
            "of gated neurons: the list of the greatest activations, positive, or of the least, negative; NULL of others",
        ),
    ],
    ..PerNeuron::new("neuron_polysemanticity")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}
