//! The feature clusters of a neuron: its dataset examples, each with the behaviour it belongs to.
//!
//! Average linkage on the cosine distances of the neuron embeddings, cut at `threshold`, or sub-cluster components. Clusters
//! are numbered by decreasing size, ties by smallest example; the central example is the medoid.
//!
//! Errors: embeddings that are not finite. Cost: n^2 d a neuron; memory n d for average linkage of more
//! than 4,096 examples and for sub-cluster components, else n^2.
//! Source: Foote 2024, section 3.2; cut as SciPy's `fcluster(.., 'distance')`.

use std::sync::LazyLock;

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    ACTIVATION, CLUSTER_OF_EXAMPLE, CLUSTERS_OF_LAYERS, CONTEXT, Column, DOC_ID, EXAMPLE, Each,
    LAYER, LAYER_NEURON, NEURON, NeuronRows, POS, PerNeuron, TOKEN, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per dataset example with the feature cluster it belongs to: the separate behaviours of a neuron.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: PER_NEURON.returns("; by cluster, then example"),
    example: "SELECT cluster, token, context FROM feature_clusters(0, 1) WHERE is_central",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Example,
    columns: &[
        LAYER,
        NEURON,
        CLUSTER_OF_EXAMPLE,
        EXAMPLE,
        DOC_ID,
        POS,
        TOKEN,
        ACTIVATION,
        CONTEXT,
        Column::new(
            "is_central",
            || DataType::Boolean,
            "the medoid of its cluster",
            |rows| rows.in_order(&rows.is_central()?),
        ),
    ],
    choose: by_cluster,
    ..PerNeuron::new("feature_clusters")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

/// Orders the rows by cluster, then example; zero vectors last.
fn by_cluster(rows: &mut NeuronRows) -> Result<()> {
    let n = rows.group.len();
    let labels = rows.clustering()?.labels(n);
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_key(|&row| labels[row as usize].unwrap_or(u32::MAX));
    rows.examples = Some(UInt32Array::from(order));
    Ok(())
}
