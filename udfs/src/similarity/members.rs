//! One row a dataset example with its feature cluster and the token it fires on: what coactivation counts.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array};
use datafusion::common::Result;

use crate::per_neuron::{
    CLUSTER_OF_EXAMPLE, Column, Each, LAYER, NEURON, NeuronRows, PerNeuron, int,
};

/// One row per dataset example: the feature cluster it belongs to and the token it fires on.
pub static MEMBERS: PerNeuron = PerNeuron {
    each: Each::Example,
    columns: &[
        LAYER,
        NEURON,
        CLUSTER_OF_EXAMPLE,
        Column::new("doc_id", int, "", |rows| place(rows, "doc_id")).reading(&["doc_id"]),
        Column::new("pos", int, "", |rows| place(rows, "pos")).reading(&["pos"]),
    ],
    ..PerNeuron::new("members")
};

/// A place that is NULL is refused here, with its neuron.
fn place(rows: &NeuronRows, name: &str) -> Result<ArrayRef> {
    let values = rows.group.integers(name)?.to_vec();
    Ok(Arc::new(Int32Array::from(values)))
}
