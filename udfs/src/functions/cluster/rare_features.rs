//! Feature clusters far smaller than their neuron's largest: behaviours that a look at the top examples would miss.
//!
//! Source: Foote 2024, on a neuron with one behaviour fifty times as frequent as another.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Result, plan_err};

use crate::arrow::tokens::{top_tokens, top_tokens_type};
use crate::calls::{Arguments, Function, FunctionDoc, Parameter};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, Group, InputColumns, LAYER_NEURON, N_TOKENS,
    NeuronFunction, OutputColumns, PerNeuron, Scratch, fields, joined, n_tokens, table_function,
};

/// Chosen, not tuned.
const MIN_RATIO: f64 = 10.0;

static DOC: FunctionDoc = FunctionDoc {
    name: "rare_features",
    chapter: "cluster",
    summary: "One row per feature cluster far smaller than the neuron's largest: behaviours that are easily missed.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &joined::<11>(&[
        &[
            Parameter {
                name: "min_ratio",
                kind: "number, at least 1",
                summary: "how many times as large the dominant cluster is at least; default 10",
            },
            Parameter {
                name: "max_size",
                kind: "whole number, at least 1",
                summary: "most examples of a rare cluster; default any number",
            },
        ],
        CLUSTERS_OF_LAYERS,
        &[N_TOKENS],
    ]),
    returns: "layer, neuron, cluster (the rare one), size (its examples), dominant_cluster (the largest, 0), \
              dominant_size (examples of that), ratio (dominant_size / size), distance (mean over the pairs of \
              both), central_example (the medoid), top_tokens (by count, ties by first example); by cluster",
    example: "SELECT neuron, \"cluster\", size, ratio, distance, top_tokens FROM rare_features(0, {min_ratio: 1.5}) \
              ORDER BY neuron, \"cluster\" LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: |arguments| {
        ClusterOptions::check(arguments)?;
        Rare::bind(arguments).map(|_| ())
    },
    bind: |arguments, state| {
        let options = ClusterOptions::resolve(arguments, state)?;
        let rare = Rare::bind(arguments)?;
        Ok(Arc::new(RareFeatures { options, rare }))
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
        ("cluster", DataType::Int32, false),
        ("size", DataType::Int32, false),
        ("dominant_cluster", DataType::Int32, false),
        ("dominant_size", DataType::Int32, false),
        ("ratio", DataType::Float64, true),
        ("distance", DataType::Float64, true),
        ("central_example", DataType::Int32, false),
        ("top_tokens", top_tokens_type(), true),
    ])))
}

/// What counts as rare, and how much is said of it.
#[derive(Debug)]
struct Rare {
    min_ratio: f64,
    max_size: Option<u32>,
    n_tokens: usize,
}

impl Rare {
    fn bind(arguments: &Arguments) -> Result<Self> {
        let min_ratio = arguments.number("min_ratio")?.unwrap_or(MIN_RATIO);
        if min_ratio < 1.0 {
            return plan_err!(
                "{}: min_ratio must be at least 1, got {min_ratio}",
                DOC.name
            );
        }
        let max_size = match arguments.integer("max_size")? {
            None => None,
            Some(size) if size >= 1 => Some(u32::try_from(size).unwrap_or(u32::MAX)),
            Some(size) => {
                return plan_err!("{}: max_size must be at least 1, got {size}", DOC.name);
            }
        };
        let n_tokens = n_tokens(arguments)?;
        Ok(Self {
            min_ratio,
            max_size,
            n_tokens,
        })
    }
}

#[derive(Debug)]
struct RareFeatures {
    options: ClusterOptions,
    rare: Rare,
}

impl NeuronFunction for RareFeatures {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        let mut examples = vec![];
        if wanted.column("top_tokens") {
            examples.push("token");
        }
        self.options.embedding.inputs(examples)
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.options)
    }

    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let ids = group.ids()?;
        let clustering = scratch.cluster(group, &self.options)?;
        let sizes = &clustering.clusters.sizes;
        let ratio = |cluster: usize| f64::from(sizes[0]) / f64::from(sizes[cluster]);
        let rare: Vec<usize> = (1..sizes.len())
            .filter(|&cluster| ratio(cluster) >= self.rare.min_ratio)
            .filter(|&cluster| self.rare.max_size.is_none_or(|most| sizes[cluster] <= most))
            .collect();
        // Most neurons have none: only now is the rest worth its work.
        let (central, distances) = match rare.is_empty() {
            true => (Vec::new(), Vec::new()),
            false if wanted.column("distance") => {
                (clustering.medoids(), clustering.mean_distances_from(0))
            }
            false => (clustering.medoids(), vec![None; sizes.len()]),
        };
        let integers = |of: &dyn Fn(usize) -> i32| -> ArrayRef {
            Arc::new(
                rare.iter()
                    .map(|&cluster| Some(of(cluster)))
                    .collect::<Int32Array>(),
            )
        };
        let [layer, neuron] = group.key_columns(rare.len());
        Ok(vec![
            layer,
            neuron,
            integers(&|cluster| cluster as i32),
            integers(&|cluster| sizes[cluster] as i32),
            integers(&|_| 0),
            integers(&|_| sizes[0] as i32),
            Arc::new(Float64Array::from_iter_values(
                rare.iter().map(|&cluster| ratio(cluster)),
            )),
            Arc::new(
                rare.iter()
                    .map(|&cluster| distances[cluster])
                    .collect::<Float64Array>(),
            ),
            integers(&|cluster| ids[central[cluster]]),
            wanted.or_null("top_tokens", rare.len(), || {
                let mut members = clustering.members();
                let of_rare = rare
                    .iter()
                    .map(|&cluster| std::mem::take(&mut members[cluster]));
                let of_rare: Vec<_> = of_rare.collect();
                Ok(top_tokens(
                    group.column("token")?,
                    &of_rare,
                    self.rare.n_tokens,
                ))
            })?,
        ])
    }

    fn describe(&self) -> String {
        let max_size = self
            .rare
            .max_size
            .map_or_else(String::new, |most| format!(", max_size={most}"));
        format!(
            "min_ratio={}{max_size}, {}, n_tokens={}",
            self.rare.min_ratio,
            self.options.describe(),
            self.rare.n_tokens
        )
    }
}
