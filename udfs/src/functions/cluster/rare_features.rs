//! Feature clusters far smaller than their neuron's largest: behaviours that a look at the top examples would miss.
//!
//! Source: Foote 2024, on a neuron with one behaviour fifty times as frequent as another.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::Float64Array;
use datafusion::common::{Result, plan_err};

use crate::calls::{Function, FunctionDoc, Parameter};
use crate::per_neuron::{
    CENTRAL_EXAMPLE, CLUSTER, CLUSTERS_OF_LAYERS, Column, LAYER, LAYER_NEURON, N_TOKENS, NEURON,
    NeuronRows, Numbers, PerNeuron, SIZE, TOP_TOKENS, Value, double, int, joined, n_tokens,
    table_function,
};

/// Chosen, not tuned.
const RATIO: f64 = 10.0;

const MIN_RATIO: Parameter = Parameter {
    name: "min_ratio",
    kind: "number, at least 1",
    summary: "how many times as large the dominant cluster is at least; default 10",
};

const MAX_SIZE: Parameter = Parameter {
    name: "max_size",
    kind: "whole number, at least 1",
    summary: "most examples of a rare cluster; default any number",
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per feature cluster far smaller than the neuron's largest: behaviours that are easily missed.",
    arguments: LAYER_NEURON,
    required: 0,
    options: const { &joined::<11>(&[&[MIN_RATIO, MAX_SIZE], CLUSTERS_OF_LAYERS, &[N_TOKENS]]) },
    returns: PER_NEURON.returns("; by cluster"),
    example: "SELECT neuron, \"cluster\", size, ratio, distance, top_tokens FROM rare_features(0, {min_ratio: 1.5}) \
              ORDER BY neuron, \"cluster\" LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    columns: &[
        LAYER,
        NEURON,
        CLUSTER.meaning("the rare one"),
        SIZE,
        Column::new("dominant_cluster", int, "the largest, 0", |rows| {
            rows.per_cluster(|_| 0)
        })
        .numbering(Numbers::Clusters),
        Column::new("dominant_size", int, "examples of that", |rows| {
            let sizes = &rows.clustering()?.clusters.sizes;
            rows.per_cluster(|_| sizes[0] as i32)
        }),
        Column::new("ratio", double, "dominant_size / size", |rows| {
            let sizes = &rows.clustering()?.clusters.sizes;
            let ratios = rows.clusters.iter().map(|&cluster| ratio(sizes, cluster));
            Ok(Arc::new(Float64Array::from_iter_values(ratios)))
        })
        .nullable(),
        Column::new("distance", double, "mean over the pairs of both", |rows| {
            // Most neurons have none.
            let distances = match rows.is_empty() {
                true => vec![],
                false => rows.clustering()?.mean_distances_from(0),
            };
            let distances = rows.clusters.iter().map(|&cluster| distances[cluster]);
            Ok(Arc::new(distances.collect::<Float64Array>()))
        })
        .nullable(),
        CENTRAL_EXAMPLE,
        TOP_TOKENS.nullable(),
    ],
    settle: |arguments, settings, options| {
        let name = MIN_RATIO.name;
        let min_ratio = arguments.number(name)?.unwrap_or(RATIO);
        if min_ratio < 1.0 {
            return plan_err!(
                "{}: {name} must be at least 1, got {min_ratio}",
                PER_NEURON.name
            );
        }
        options.add(MIN_RATIO, Value::Number(min_ratio));
        options.add_count(arguments, MAX_SIZE, 1, None)?;
        n_tokens(arguments, settings, options)
    },
    choose: rare,
    ..PerNeuron::new("rare_features")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

/// How many times as large as a cluster the largest is.
fn ratio(sizes: &[u32], cluster: usize) -> f64 {
    f64::from(sizes[0]) / f64::from(sizes[cluster])
}

fn rare(rows: &mut NeuronRows) -> Result<()> {
    let sizes = &rows.clustering()?.clusters.sizes;
    let least = rows.options.number(MIN_RATIO.name)?;
    let most = rows.options.given_count(MAX_SIZE.name);
    let is_rare = |&cluster: &usize| {
        ratio(sizes, cluster) >= least && most.is_none_or(|most| sizes[cluster] as usize <= most)
    };
    rows.clusters = (1..sizes.len()).filter(is_rare).collect();
    Ok(())
}
