//! When neurons fire on a text, and their feature clusters there: of each the one whose examples are nearest.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
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

/// Takes a row of an answer: its neuron, the columns after it, and its place in them.
type OfRow<'a, T> = dyn FnMut(&mut T, i32, &[ArrayRef], usize) -> Result<()> + 'a;

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
        let mut read = |sql: &str, f: &mut OfRow<'_, Self>| -> Result<()> {
            for batch in asked.rows(sql, context)?.read()? {
                let batch = batch?;
                let keys = batch.column(0).as_primitive::<Int32Type>().clone();
                for row in 0..batch.num_rows() {
                    f(&mut found, keys.value(row), &batch.columns()[1..], row)?;
                }
            }
            Ok(())
        };
        read(
            &format!(
                "SELECT neuron, \"cluster\", size, sign, centroid FROM cluster_centroids({layer}{options})
                 WHERE neuron IN ({list}) ORDER BY neuron, sign DESC, \"cluster\""
            ),
            &mut |found, neuron, columns, row| {
                let cluster = Cluster {
                    id: columns[0].as_primitive::<Int32Type>().value(row),
                    negative: is_negative(&columns[2], row)?,
                    size: columns[1].as_primitive::<Int32Type>().value(row),
                    centroid: vector(&columns[3], row)?.unwrap_or_default(),
                    tokens: vec![],
                };
                found.clusters.entry(neuron).or_default().push(cluster);
                Ok(())
            },
        )?;
        read(
            &format!(
                "SELECT neuron, \"cluster\", sign, top_tokens FROM cluster_summary({layer}{options})
                 WHERE neuron IN ({list})"
            ),
            &mut |found, neuron, columns, row| {
                let id = columns[0].as_primitive::<Int32Type>().value(row);
                let negative = is_negative(&columns[1], row)?;
                let texts = cast(&columns[2].as_list::<i32>().value(row), &DataType::Utf8)?;
                let texts = texts.as_string::<i32>().iter().flatten();
                let texts: Vec<_> = texts.map(str::to_string).collect();
                let clusters = found.clusters.get_mut(&neuron).into_iter().flatten();
                for cluster in clusters.filter(|c| c.id == id && c.negative == negative) {
                    cluster.tokens.clone_from(&texts);
                }
                Ok(())
            },
        )?;
        if !weights.is_empty() {
            read(
                &format!(
                    "SELECT neuron, {} FROM neurons WHERE layer = {layer} AND neuron IN ({list})",
                    weights.join(", ")
                ),
                &mut |found, neuron, columns, row| {
                    let weights = columns.iter().map(|column| vector(column, row));
                    let weights = weights.collect::<Result<Option<Vec<_>>>>()?;
                    let Some(weights) = weights else {
                        return plan_err!(
                            "polysema.embedding of plain neurons must be neuron or pre_mlp, got one of gated neurons"
                        );
                    };
                    found.weights.insert(neuron, weights);
                    Ok(())
                },
            )?;
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

fn is_negative(column: &ArrayRef, row: usize) -> Result<bool> {
    let signs = cast(column, &DataType::Utf8)?;
    let signs = signs.as_string::<i32>();
    Ok(signs.is_valid(row) && signs.value(row) == "negative")
}

fn vector(column: &ArrayRef, row: usize) -> Result<Option<Vec<f32>>> {
    let column = column.slice(row, 1);
    let column = VectorColumn::<Float32Type>::try_new("explain_text", "vector", &column)?;
    Ok(column.row(0).map(<[f32]>::to_vec))
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
