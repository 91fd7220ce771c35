//! The feature clusters of a neuron, one row each: how large, around which example, on which tokens.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, ListBuilder, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, plan_err};

use crate::bridge::arguments::Arguments;
use crate::bridge::document::{Function, FunctionDoc, Parameter};
use crate::exec::clustering::{
    ClusterOptions, EMBEDDING, Embedding, LINKAGE, N_CLUSTERS, STRICT, Scratch, THRESHOLD,
};
use crate::exec::{Group, Inputs, LAYER_NEURON, NeuronFunction, PerNeuron, Wanted, table_function};
use crate::kernels::clusters::{mean_distances, medoids};

static DOC: FunctionDoc = FunctionDoc {
    name: "cluster_summary",
    chapter: "cluster",
    summary: "One row per feature cluster: its size, central example and most frequent key tokens.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[
        THRESHOLD,
        N_CLUSTERS,
        LINKAGE,
        EMBEDDING,
        STRICT,
        Parameter {
            name: "n_tokens",
            kind: "whole number, at least 1",
            summary: "most tokens in top_tokens; default 5",
        },
    ],
    returns: "layer, neuron, cluster, size, central_example (the medoid), top_tokens (by count, ties by first example), \
              mean_activation, mean_distance (over the cluster's pairs; NULL for one member)",
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

fn n_tokens(arguments: &Arguments) -> Result<usize> {
    match arguments.integer("n_tokens")?.unwrap_or(5) {
        n if n >= 1 => Ok(n as usize),
        n => plan_err!("{}: n_tokens must be at least 1, got {n}", DOC.name),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("cluster", DataType::Int32, false),
        Field::new("size", DataType::Int32, false),
        Field::new("central_example", DataType::Int32, false),
        Field::new(
            "top_tokens",
            DataType::new_list(DataType::Utf8, true),
            false,
        ),
        Field::new("mean_activation", DataType::Float64, true),
        Field::new("mean_distance", DataType::Float64, true),
    ]))
}

#[derive(Debug)]
struct ClusterSummary {
    options: ClusterOptions,
    n_tokens: usize,
}

impl NeuronFunction for ClusterSummary {
    fn inputs(&self, _: &Wanted) -> Inputs {
        let weights = self.options.embedding == Embedding::Neuron;
        Inputs {
            examples: vec!["pre_mlp", "token", "activation"],
            weights,
        }
    }

    fn bytes(&self, n: usize, d: usize) -> usize {
        Scratch::bytes(n, d)
    }

    fn rows(&self, group: &Group, _: &Wanted, scratch: &mut Scratch) -> Result<Vec<ArrayRef>> {
        let ids = group.ids()?;
        let activations = group.numbers("activation")?;
        let clustering = scratch.cluster(group, &self.options)?;
        let clusters = &clustering.clusters;
        let n_clusters = clusters.sizes.len();
        let mut members = vec![Vec::new(); n_clusters];
        for (&row, &label) in clustering.live.iter().zip(&clusters.labels) {
            members[label as usize].push(row as usize);
        }
        let central = medoids(clustering.condensed, clusters);
        let central = central
            .iter()
            .map(|&medoid| ids[clustering.live[medoid as usize] as usize]);
        let mean_activation = members.iter().map(|rows| {
            let known: Vec<_> = rows.iter().filter_map(|&row| activations[row]).collect();
            let sum: f64 = known.iter().copied().map(f64::from).sum();
            (!known.is_empty()).then(|| sum / known.len() as f64)
        });
        let [layer, neuron] = group.key_columns(n_clusters);
        Ok(vec![
            layer,
            neuron,
            Arc::new(Int32Array::from_iter_values(0..n_clusters as i32)),
            Arc::new(Int32Array::from_iter_values(
                clusters.sizes.iter().map(|&size| size as i32),
            )),
            Arc::new(Int32Array::from_iter_values(central)),
            self.top_tokens(group.column("token")?, &members),
            Arc::new(Float64Array::from_iter(mean_activation)),
            Arc::new(Float64Array::from(mean_distances(
                clustering.condensed,
                clusters,
            ))),
        ])
    }

    fn describe(&self) -> String {
        format!("{}, n_tokens={}", self.options.describe(), self.n_tokens)
    }
}

impl ClusterSummary {
    fn top_tokens(&self, tokens: &ArrayRef, members: &[Vec<usize>]) -> ArrayRef {
        let tokens = tokens.as_string::<i32>();
        let mut lists = ListBuilder::new(StringBuilder::new());
        for rows in members {
            let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
            for &row in rows.iter().filter(|&&row| !tokens.is_null(row)) {
                counts.entry(tokens.value(row)).or_insert((0, row)).0 += 1;
            }
            let mut ranked: Vec<_> = counts.into_iter().collect();
            ranked.sort_by_key(|&(_, (count, first))| (std::cmp::Reverse(count), first));
            for (token, _) in ranked.into_iter().take(self.n_tokens) {
                lists.values().append_value(token);
            }
            lists.append(true);
        }
        Arc::new(lists.finish())
    }
}
