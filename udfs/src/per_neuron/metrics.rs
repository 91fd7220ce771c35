//! The columns of a neuron's metrics, section 3.3.1 of the paper.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array};
use datafusion::common::Result;
use polysema_kernels::Polysemanticity;

use super::columns::{Column, double, int};
use super::rows::NeuronRows;

/// The one value of a neuron.
pub fn number(value: Option<f64>) -> Result<ArrayRef> {
    Ok(Arc::new(Float64Array::from(vec![value])))
}

fn metric(rows: &NeuronRows, of: fn(&Polysemanticity) -> Option<f64>) -> Result<ArrayRef> {
    number(of(rows.metrics()?))
}

/// How many examples it has.
pub const N_EXAMPLES: Column = Column::new("n_examples", int, "its dataset examples", |rows| {
    Ok(Arc::new(Int32Array::from(vec![rows.group.len() as i32])))
});
/// How many feature clusters.
pub const N_CLUSTERS: Column = Column::new(
    "n_clusters",
    int,
    "feature clusters; NULL without examples",
    |rows| {
        let n_clusters = rows.metrics()?.n_clusters.map(|n| n as i32);
        Ok(Arc::new(Int32Array::from(vec![n_clusters])))
    },
)
.nullable();
/// The largest distance.
pub const MAX_DISTANCE: Column = Column::new(
    "max_distance",
    double,
    "over pairs; NULL below two",
    |rows| metric(rows, |metrics| metrics.max_distance),
)
.nullable();
/// The mean of all distances.
pub const MEAN_DISTANCE: Column = Column::new(
    "mean_distance",
    double,
    "over pairs; NULL below two",
    |rows| metric(rows, |metrics| metrics.mean_distance),
)
.nullable();
/// The mean inside clusters.
pub const INTRA_CLUSTER_DISTANCE: Column = Column::new(
    "intra_cluster_distance",
    double,
    "pairs in one cluster, pooled; NULL if there is none",
    |rows| metric(rows, |metrics| metrics.intra_cluster_distance),
)
.nullable();
/// The mean across clusters.
pub const INTER_CLUSTER_DISTANCE: Column = Column::new(
    "inter_cluster_distance",
    double,
    "pairs across clusters; NULL for one cluster",
    |rows| metric(rows, |metrics| metrics.inter_cluster_distance),
)
.nullable();
