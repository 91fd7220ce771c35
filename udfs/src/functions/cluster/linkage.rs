//! The merges of a neuron's clustering, from which a dendrogram is drawn.
//!
//! Labels as in kodama and SciPy: the n examples are 0 .. n - 1 in order, step i makes n + i. A zero vector keeps its
//! label and is never merged.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array};
use datafusion::common::Result;
use polysema_kernels::Step;

use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    Clustering, Column, EMBEDDING, Each, Groundwork, KIND, LAYER, LAYER_NEURON, LINKAGE, NEURON,
    NeuronRows, PerNeuron, SIGN_COLUMN, float, int, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per merge of a neuron's hierarchical clustering (whatever polysema.method), in the order they happen.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[LINKAGE, EMBEDDING, KIND, RUN],
    returns: PER_NEURON.returns(""),
    example: "SELECT step, cluster1, cluster2, dissimilarity, size FROM linkage(0, 1) ORDER BY step LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Merge,
    groundwork: Groundwork::Merges,
    columns: &[
        LAYER,
        NEURON,
        Column::new("step", int, "from 0, in the order of the merges", |rows| {
            Ok(Arc::new(Int32Array::from_iter_values(0..rows.len() as i32)))
        }),
        Column::new(
            "cluster1",
            int,
            "an example's number, or n_examples plus the step that made it, as in SciPy",
            |rows| {
                per_merge(rows, |clustering, n, step| {
                    clustering.node(step.cluster1, n)
                })
            },
        ),
        Column::new("cluster2", int, "the other, cluster1 < cluster2", |rows| {
            per_merge(rows, |clustering, n, step| {
                clustering.node(step.cluster2, n)
            })
        }),
        Column::new(
            "dissimilarity",
            float,
            "average distance of the two",
            |rows| {
                let heights = rows.steps()?.iter().map(|step| step.dissimilarity);
                Ok(Arc::new(Float32Array::from_iter_values(heights)))
            },
        ),
        Column::new("size", int, "members of the new cluster", |rows| {
            per_merge(rows, |_, _, step| step.size as i32)
        }),
        SIGN_COLUMN.meaning(
            "as neuron_polysemanticity gives it; each list of examples has merges of its own",
        ),
    ],
    ..PerNeuron::new("linkage")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

/// A number for each merge of a group of `n` examples.
fn per_merge(rows: &NeuronRows, of: fn(&Clustering, usize, &Step) -> i32) -> Result<ArrayRef> {
    let (clustering, n) = (rows.clustering()?, rows.group.len());
    let numbers = rows.steps()?.iter().map(|step| of(clustering, n, step));
    Ok(Arc::new(Int32Array::from_iter_values(numbers)))
}
