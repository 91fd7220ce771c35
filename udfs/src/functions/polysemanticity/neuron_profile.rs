//! Metrics, clusters, members and merges of a neuron from one computation of its distances.
//!
//! Joined from their own functions, each would cluster the neuron again. Here a query pays for the clustering once and
//! for each list only where it is read; UNNEST makes rows of a list.
//!
//! Errors: embeddings that are not finite. Cost: n^2 d a neuron, whatever is asked.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, ListArray, StructArray,
    new_null_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, Clustering, Group, InputColumns, LAYER_NEURON,
    NeuronFunction, OutputColumns, PerNeuron, Scratch, fields, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "neuron_profile",
    chapter: "polysemanticity",
    summary: "One row per neuron with its metrics, clusters, members and merges, all from one computation of its distances.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: "layer, neuron, n_examples (as neuron_polysemanticity gives it), n_clusters (as neuron_polysemanticity \
              gives it), max_distance (as neuron_polysemanticity gives it), mean_distance (as neuron_polysemanticity \
              gives it), intra_cluster_distance (as neuron_polysemanticity gives it), inter_cluster_distance (as \
              neuron_polysemanticity gives it), clusters (list of cluster, size, central_example, mean_distance), \
              members (list of example, cluster, is_central), merges (list of step, cluster1, cluster2, \
              dissimilarity, size; NULL where the method makes none); UNNEST makes rows of a list, sign \
              (as neuron_polysemanticity gives it)",
    example: "SELECT neuron, n_clusters, unnest(clusters) AS c FROM neuron_profile(0, 1)",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        Ok(Arc::new(NeuronProfile(ClusterOptions::resolve(
            arguments, state,
        )?)))
    },
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&PER_NEURON)
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

fn schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("layer", DataType::Int32, false),
        ("neuron", DataType::Int32, false),
        ("n_examples", DataType::Int32, false),
        ("n_clusters", DataType::Int32, true),
        ("max_distance", DataType::Float64, true),
        ("mean_distance", DataType::Float64, true),
        ("intra_cluster_distance", DataType::Float64, true),
        ("inter_cluster_distance", DataType::Float64, true),
        ("clusters", list_type(&CLUSTER), true),
        ("members", list_type(&MEMBER), true),
        ("merges", list_type(&MERGE), true),
        ("sign", DataType::Utf8, true),
    ])))
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

#[derive(Debug)]
struct NeuronProfile(ClusterOptions);

impl NeuronFunction for NeuronProfile {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.0.embedding.inputs(vec![])
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.0)
    }

    fn one_row(&self) -> bool {
        true
    }

    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let clustering = scratch.cluster(group, &self.0)?;
        let metrics = clustering.polysemanticity();
        let [layer, neuron] = group.key_columns(1);
        let number = |value: Option<f64>| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        Ok(vec![
            layer,
            neuron,
            ints([group.len() as i32]),
            Arc::new(Int32Array::from(vec![metrics.n_clusters.map(|n| n as i32)])),
            number(metrics.max_distance),
            number(metrics.mean_distance),
            number(metrics.intra_cluster_distance),
            number(metrics.inter_cluster_distance),
            wanted.or_null("clusters", 1, || clusters(group, &clustering))?,
            wanted.or_null("members", 1, || members(group, &clustering))?,
            wanted.or_null("merges", 1, || merges(group, &clustering))?,
            group.sign_column(1),
        ])
    }
}

fn clusters(group: &Group, clustering: &Clustering) -> Result<ArrayRef> {
    let sizes = &clustering.clusters.sizes;
    let ids = group.ids()?;
    one_list(
        &CLUSTER,
        vec![
            ints(0..sizes.len() as i32),
            ints(sizes.iter().map(|&size| size as i32)),
            ints(clustering.medoids().into_iter().map(|row| ids[row])),
            Arc::new(Float64Array::from(clustering.mean_distances())),
        ],
    )
}

fn members(group: &Group, clustering: &Clustering) -> Result<ArrayRef> {
    let n = group.len();
    let labels = clustering
        .labels(n)
        .into_iter()
        .map(|label| label.map(|l| l as i32));
    let mut is_central = vec![false; n];
    for row in clustering.medoids() {
        is_central[row] = true;
    }
    one_list(
        &MEMBER,
        vec![
            ints(group.ids()?.iter().copied()),
            Arc::new(labels.collect::<Int32Array>()),
            Arc::new(BooleanArray::from(is_central)),
        ],
    )
}

fn merges(group: &Group, clustering: &Clustering) -> Result<ArrayRef> {
    let Some(steps) = clustering.steps() else {
        return Ok(new_null_array(&list_type(&MERGE), 1));
    };
    let label = |cluster| clustering.node(cluster, group.len());
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
