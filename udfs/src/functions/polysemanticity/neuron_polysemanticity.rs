//! The polysemanticity metrics of every neuron, section 3.3.1 of the paper.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array};
use datafusion::common::Result;
use polysema_kernels::Polysemanticity;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, Column, Each, LAYER, LAYER_NEURON, NEURON, NeuronRows, PerNeuron,
    SIGN_COLUMN, double, int, table_function,
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

fn number(value: Option<f64>) -> Result<ArrayRef> {
    Ok(Arc::new(Float64Array::from(vec![value])))
}

fn metric(rows: &NeuronRows, of: fn(&Polysemanticity) -> Option<f64>) -> Result<ArrayRef> {
    number(of(rows.metrics()?))
}

pub(super) const N_EXAMPLES: Column =
    Column::new("n_examples", int, "its dataset examples", |rows| {
        Ok(Arc::new(Int32Array::from(vec![rows.group.len() as i32])))
    });
pub(super) const N_CLUSTERS: Column = Column::new(
    "n_clusters",
    int,
    "feature clusters; NULL without examples",
    |rows| {
        let n_clusters = rows.metrics()?.n_clusters.map(|n| n as i32);
        Ok(Arc::new(Int32Array::from(vec![n_clusters])))
    },
)
.nullable();
pub(super) const MAX_DISTANCE: Column = Column::new(
    "max_distance",
    double,
    "over pairs; NULL below two",
    |rows| metric(rows, |metrics| metrics.max_distance),
)
.nullable();
pub(super) const MEAN_DISTANCE: Column = Column::new(
    "mean_distance",
    double,
    "over pairs; NULL below two",
    |rows| metric(rows, |metrics| metrics.mean_distance),
)
.nullable();
pub(super) const INTRA_CLUSTER_DISTANCE: Column = Column::new(
    "intra_cluster_distance",
    double,
    "pairs in one cluster, pooled; NULL if there is none",
    |rows| metric(rows, |metrics| metrics.intra_cluster_distance),
)
.nullable();
pub(super) const INTER_CLUSTER_DISTANCE: Column = Column::new(
    "inter_cluster_distance",
    double,
    "pairs across clusters; NULL for one cluster",
    |rows| metric(rows, |metrics| metrics.inter_cluster_distance),
)
.nullable();
