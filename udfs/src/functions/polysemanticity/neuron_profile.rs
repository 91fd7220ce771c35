//! Metrics, clusters, members and merges of a neuron from one computation of its distances.
//!
//! Joined from their own functions, each would cluster the neuron again. Here a query pays for the clustering once and
//! for each list only where it is read; UNNEST makes rows of a list.
//!
//! Errors: embeddings that are not finite. Cost: n^2 d a neuron, whatever is asked.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, Float32Array, Float64Array, Int32Array, ListArray, StructArray, new_null_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, Column, Each, INTER_CLUSTER_DISTANCE, INTRA_CLUSTER_DISTANCE, LAYER,
    LAYER_NEURON, MAX_DISTANCE, MEAN_DISTANCE, N_CLUSTERS, N_EXAMPLES, NEURON, NeuronRows,
    PerNeuron, SIGN_COLUMN, fields, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "polysemanticity",
    summary: "One row per neuron with its metrics, clusters, members and merges, all from one computation of its distances.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: PER_NEURON.returns(""),
    example: "SELECT neuron, n_clusters, unnest(clusters) AS c FROM neuron_profile(0, 1)",
    replaces: None,
});

const AS_THERE: &str = "as neuron_polysemanticity gives it";

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Neuron,
    columns: &[
        LAYER,
        NEURON,
        N_EXAMPLES.meaning(AS_THERE),
        N_CLUSTERS.meaning(AS_THERE),
        MAX_DISTANCE.meaning(AS_THERE),
        MEAN_DISTANCE.meaning(AS_THERE),
        INTRA_CLUSTER_DISTANCE.meaning(AS_THERE),
        INTER_CLUSTER_DISTANCE.meaning(AS_THERE),
        Column::new(
            "clusters",
            || list_type(&CLUSTER),
            "list of cluster, size, central_example, mean_distance; UNNEST makes rows of a list",
            clusters,
        )
        .nullable(),
        Column::new("members", || list_type(&MEMBER), "list of example, cluster, is_central", members).nullable(),
        Column::new(
            "merges",
            || list_type(&MERGE),
            "list of step, cluster1, cluster2, dissimilarity, size; NULL where the method makes none",
            merges,
        )
        .nullable(),
        SIGN_COLUMN,
    ],
    ..PerNeuron::new("neuron_profile")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

static CLUSTER: LazyLock<Fields> = LazyLock::new(|| {
    fields(&[
        ("cluster", DataType::Int32, false),
        ("size", DataType::Int32, false),
        ("central_example", DataType::Int32, false),
        ("mean_distance", DataType::Float64, true),
    ])
});

static MEMBER: LazyLock<Fields> = LazyLock::new(|| {
    fields(&[
        ("example", DataType::Int32, false),
        ("cluster", DataType::Int32, true),
        ("is_central", DataType::Boolean, false),
    ])
});

static MERGE: LazyLock<Fields> = LazyLock::new(|| {
    fields(&[
        ("step", DataType::Int32, false),
        ("cluster1", DataType::Int32, false),
        ("cluster2", DataType::Int32, false),
        ("dissimilarity", DataType::Float32, false),
        ("size", DataType::Int32, false),
    ])
});

fn list_type(row: &Fields) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(
        DataType::Struct(row.clone()),
        true,
    )))
}

/// A list column of one row, whose items are the rows of `columns`.
fn one_list(row: &Fields, columns: Vec<ArrayRef>) -> Result<ArrayRef> {
    let items = StructArray::try_new(row.clone(), columns, None)?;
    let field = Arc::new(Field::new_list_field(DataType::Struct(row.clone()), true));
    let offsets = OffsetBuffer::from_lengths([items.len()]);
    Ok(Arc::new(ListArray::try_new(
        field,
        offsets,
        Arc::new(items),
        None,
    )?))
}

fn ints(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

fn clusters(rows: &NeuronRows) -> Result<ArrayRef> {
    let (clustering, ids) = (rows.clustering()?, rows.group.ids()?);
    let sizes = &clustering.clusters.sizes;
    one_list(
        &CLUSTER,
        vec![
            ints(0..sizes.len() as i32),
            ints(sizes.iter().map(|&size| size as i32)),
            ints(rows.medoids()?.iter().map(|&row| ids[row])),
            Arc::new(Float64Array::from(clustering.mean_distances())),
        ],
    )
}

fn members(rows: &NeuronRows) -> Result<ArrayRef> {
    one_list(
        &MEMBER,
        vec![
            ints(rows.group.ids()?.iter().copied()),
            rows.labels()?,
            rows.is_central()?,
        ],
    )
}

fn merges(rows: &NeuronRows) -> Result<ArrayRef> {
    let (clustering, n) = (rows.clustering()?, rows.group.len());
    let Some(steps) = clustering.steps() else {
        return Ok(new_null_array(&list_type(&MERGE), 1));
    };
    let label = |cluster| clustering.node(cluster, n);
    one_list(
        &MERGE,
        vec![
            ints(0..steps.len() as i32),
            ints(steps.iter().map(|step| label(step.cluster1))),
            ints(steps.iter().map(|step| label(step.cluster2))),
            Arc::new(Float32Array::from_iter_values(
                steps.iter().map(|step| step.dissimilarity),
            )),
            ints(steps.iter().map(|step| step.size as i32)),
        ],
    )
}
