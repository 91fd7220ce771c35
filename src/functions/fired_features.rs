//! When neurons fire on a text, and their feature clusters there: of each the one whose examples are nearest.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Int32Type};
use datafusion::common::{Result, plan_err};
use polysema_kernels::vector::{norm, product};
use polysema_udfs::arrow::vectors::VectorColumn;

use super::run_model::AskedRun;
use crate::jobs::JobContext;
use crate::store::LayerRow;

/// What a neuron's activations are held against.
#[derive(Debug, Clone, Copy)]
pub struct Extremes {
    /// Its maximum in the run.
    pub max: f32,
    /// Its minimum; 0 where there are no examples of least activations.
    pub min: f32,
}

impl Extremes {
    /// The share of the extreme of its sign that an activation is; 0 where that is none.
    pub fn share(self, activation: f32) -> f32 {
        match activation < 0.0 {
            false if self.max > 0.0 => activation / self.max,
            true if self.min < 0.0 => activation / self.min,
            _ => 0.0,
        }
    }
}

/// A neuron that fires on a token.
#[derive(Debug, Clone)]
pub struct Firing {
    /// Row of the pass.
    pub row: usize,
    /// Its layer.
    pub layer: i32,
    /// Its index there.
    pub neuron: i32,
    /// How strongly.
    pub activation: f32,
    /// Of its maximum, or of its minimum.
    pub share: f32,
    /// What it received. `[d_in]`
    pub received: Vec<f32>,
}

/// A cluster of a neuron.
#[derive(Debug, Clone)]
struct Cluster {
    id: i32,
    /// Whether it is of examples of least activations.
    negative: bool,
    size: i32,
    centroid: Vec<f32>,
    tokens: Vec<String>,
}

/// The cluster that a firing belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its number.
    pub cluster: i32,
    /// Mean cosine distance of its examples.
    pub distance: f64,
    /// Number of its examples.
    pub size: i32,
    /// The most frequent of their key tokens.
    pub tokens: Vec<String>,
}

/// The clusters and the input weights of some neurons of a layer.
#[derive(Debug, Default)]
pub struct LayerFeatures {
    clusters: BTreeMap<i32, Vec<Cluster>>,
    weights: BTreeMap<i32, Vec<Vec<f32>>>,
}

/// The columns of weights that an embedding is made with.
///
/// Errors (planning): it is of several tokens.
pub fn weights_of(embedding: &str) -> Result<&'static [&'static str]> {
    match embedding {
        "neuron" => Ok(&["w_in"]),
        "up" => Ok(&["w_up"]),
        "gate_up" => Ok(&["w_in", "w_up"]),
        "pre_mlp" => Ok(&[]),
        other => plan_err!(
            "an embedding of one token, neuron, pre_mlp, up or gate_up, is required, got polysema.embedding '{other}'"
        ),
    }
}

impl LayerFeatures {
    /// Those of these neurons; `options` are those of their clustering as a call has them, `weights` the columns of
    /// [`weights_of`].
    pub fn read(
        asked: &AskedRun,
        layer: i32,
        neurons: &BTreeSet<i32>,
        options: &str,
        weights: &[&str],
        context: &JobContext,
    ) -> Result<Self> {
        let list = neurons.iter().map(i32::to_string).collect::<Vec<_>>();
        let list = list.join(", ");
        let mut found = Self::default();
        let rows = |sql: String| asked.rows(&sql, context);
        let clusters = rows(format!(
            "SELECT neuron, \"cluster\", size, sign, centroid FROM cluster_centroids({layer}{options})
             WHERE neuron IN ({list}) ORDER BY neuron, sign DESC, \"cluster\""
        ))?;
        for batch in clusters.read()? {
            let batch = batch?;
            let [neurons, ids, sizes] = [0, 1, 2].map(|column| integers(&batch, column));
            let (signs, centroids) = (texts(batch.column(3))?, vectors(batch.column(4))?);
            for row in 0..batch.num_rows() {
                let cluster = Cluster {
                    id: ids.value(row),
                    negative: is_negative(&signs, row),
                    size: sizes.value(row),
                    centroid: centroids.row(row).map(<[f32]>::to_vec).unwrap_or_default(),
                    tokens: vec![],
                };
                let of_neuron = found.clusters.entry(neurons.value(row)).or_default();
                of_neuron.push(cluster);
            }
        }
        let summaries = rows(format!(
            "SELECT neuron, \"cluster\", sign, top_tokens FROM cluster_summary({layer}{options})
             WHERE neuron IN ({list})"
        ))?;
        for batch in summaries.read()? {
            let batch = batch?;
            let [neurons, ids] = [0, 1].map(|column| integers(&batch, column));
            let (signs, lists) = (texts(batch.column(2))?, batch.column(3).as_list::<i32>());
            for row in 0..batch.num_rows() {
                let (id, negative) = (ids.value(row), is_negative(&signs, row));
                let tokens = texts(&lists.value(row))?;
                let tokens: Vec<_> = tokens.iter().flatten().map(str::to_string).collect();
                let clusters = found.clusters.get_mut(&neurons.value(row));
                for cluster in clusters.into_iter().flatten() {
                    if cluster.id == id && cluster.negative == negative {
                        cluster.tokens.clone_from(&tokens);
                    }
                }
            }
        }
        if weights.is_empty() {
            return Ok(found);
        }
        let of_neurons = rows(format!(
            "SELECT neuron, {} FROM neurons WHERE layer = {layer} AND neuron IN ({list})",
            weights.join(", ")
        ))?;
        for batch in of_neurons.read()? {
            let batch = batch?;
            let neurons = integers(&batch, 0);
            let columns = batch.columns()[1..].iter().map(vectors);
            let columns = columns.collect::<Result<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                let weights = columns.iter().map(|column| Some(column.row(row)?.to_vec()));
                let Some(weights) = weights.collect() else {
                    return plan_err!(
                        "polysema.embedding of plain neurons must be neuron or pre_mlp, got one of gated neurons"
                    );
                };
                found.weights.insert(neurons.value(row), weights);
            }
        }
        Ok(found)
    }

    /// The nearest cluster of the firing's sign; none where the neuron has none, or the embedding no direction.
    pub fn of(&self, firing: &Firing) -> Option<Feature> {
        let h = &firing.received;
        let mut u = vec![];
        match self.weights.get(&firing.neuron) {
            None => u.extend_from_slice(h),
            Some(weights) => {
                for w in weights {
                    let mut part = vec![0.0; h.len()];
                    product(h, w, &mut part);
                    u.extend(part);
                }
            }
        }
        let length = norm(&u);
        if length == 0.0 {
            return None;
        }
        let negative = firing.activation < 0.0;
        let clusters = self.clusters.get(&firing.neuron)?.iter();
        let near = clusters
            .filter(|c| c.negative == negative && c.centroid.len() == u.len())
            .map(|cluster| {
                let along = cluster.centroid.iter().zip(&u);
                let along = along
                    .map(|(c, u)| f64::from(*c) * f64::from(*u))
                    .sum::<f64>();
                ((1.0 - along / length).clamp(0.0, 2.0), cluster)
            });
        let (distance, cluster) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(Feature {
            cluster: cluster.id,
            distance,
            size: cluster.size,
            tokens: cluster.tokens.clone(),
        })
    }
}

fn integers(batch: &RecordBatch, column: usize) -> &Int32Array {
    batch.column(column).as_primitive::<Int32Type>()
}

fn texts(column: &ArrayRef) -> Result<StringArray> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn is_negative(signs: &StringArray, row: usize) -> bool {
    signs.is_valid(row) && signs.value(row) == "negative"
}

fn vectors(column: &ArrayRef) -> Result<VectorColumn<Float32Type>> {
    VectorColumn::try_new("explain_text", "vector", column)
}

/// Of each neuron of a layer; none of one without examples.
pub fn extremes(
    asked: &AskedRun,
    layer: &LayerRow,
    context: &JobContext,
) -> Result<Vec<Option<Extremes>>> {
    let rows = asked.rows(
        &format!(
            "SELECT neuron, max_activation, coalesce(least_activation, 0), n_examples FROM neurons
             WHERE layer = {} ORDER BY neuron",
            layer.layer
        ),
        context,
    )?;
    let mut found = vec![None; layer.n_neurons as usize];
    for batch in rows.read()? {
        let batch = batch?;
        let neurons = batch.column(0).as_primitive::<Int32Type>();
        let [max, min] = [1, 2].map(|i| {
            let column = cast(batch.column(i), &DataType::Float32);
            column.map(|column| column.as_primitive::<Float32Type>().clone())
        });
        let (max, min) = (max?, min?);
        let examples = batch.column(3).as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let place = usize::try_from(neurons.value(row)).ok();
            let Some(place) = place.and_then(|neuron| found.get_mut(neuron)) else {
                return plan_err!(
                    "neurons below {} are required of layer {}, got {}",
                    layer.n_neurons,
                    layer.layer,
                    neurons.value(row)
                );
            };
            if examples.value(row) > 0 && max.is_valid(row) {
                *place = Some(Extremes {
                    max: max.value(row),
                    min: min.value(row),
                });
            }
        }
    }
    Ok(found)
}
