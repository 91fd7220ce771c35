//! The cosine distances between a neuron's examples, one row a pair.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array};
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    Column, EMBEDDING, Each, Groundwork, KIND, LAYER, LAYER_NEURON, NEURON, NeuronRows, PerNeuron,
    float, int, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per pair of a neuron's dataset examples with the cosine distance of their embeddings.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[EMBEDDING, KIND, RUN],
    returns: PER_NEURON.returns(""),
    example: "SELECT example1, example2, distance FROM pairwise_distances(0, 1) ORDER BY distance LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Pair,
    groundwork: Groundwork::Distances,
    columns: &[
        LAYER,
        NEURON,
        Column::new("example1", int, "number of an example", |rows| {
            numbers(rows, |(a, _)| a)
        }),
        Column::new("example2", int, "of another, after example1", |rows| {
            numbers(rows, |(_, b)| b)
        }),
        Column::new(
            "distance",
            float,
            "Float32 in [0, 2]; NULL if one is a zero vector",
            distances,
        )
        .nullable(),
    ],
    ..PerNeuron::new("pairwise_distances")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

/// The pairs of `n` rows, as the condensed matrix has them.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |a| (a + 1..n).map(move |b| (a, b)))
}

fn numbers(rows: &NeuronRows, of: fn((usize, usize)) -> usize) -> Result<ArrayRef> {
    let ids = rows.group.ids()?;
    let numbers = pairs(ids.len()).map(|pair| ids[of(pair)]);
    Ok(Arc::new(Int32Array::from_iter_values(numbers)))
}

fn distances(rows: &NeuronRows) -> Result<ArrayRef> {
    let (live, condensed) = rows.distances()?;
    let mut is_live = vec![false; rows.group.len()];
    live.iter().for_each(|&row| is_live[row as usize] = true);
    // It holds the live pairs in this same order.
    let mut condensed = condensed.iter();
    let distance = |(a, b): (usize, usize)| match is_live[a] && is_live[b] {
        true => condensed.next().copied(),
        false => None,
    };
    Ok(Arc::new(
        pairs(is_live.len()).map(distance).collect::<Float32Array>(),
    ))
}
