//! The feature clusters of a neuron: its dataset examples, each with the behaviour it belongs to.
//!
//! Average linkage on the cosine distances of the neuron embeddings, cut at `threshold`, or sub-cluster components. Clusters
//! are numbered by decreasing size, ties by smallest example; the central example is the medoid.
//!
//! Errors: embeddings that are not finite. Cost: n^2 d a neuron; memory n d for average linkage of more
//! than 4,096 examples and for sub-cluster components, else n^2.
//! Source: Foote 2024, section 3.2; cut as SciPy's `fcluster(.., 'distance')`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, Group, InputColumns, LAYER_NEURON, NeuronFunction,
    OutputColumns, PerNeuron, Scratch, fields, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "feature_clusters",
    chapter: "cluster",
    summary: "One row per dataset example with the feature cluster it belongs to: the separate behaviours of a neuron.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: "layer, neuron, cluster (0 is the largest; NULL for a zero vector), example, doc_id, pos, token, activation, \
              context (the key token between « and »), is_central (the medoid of its cluster); by cluster, then example",
    example: "SELECT cluster, token, context FROM feature_clusters(0, 1) WHERE is_central",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        Ok(Arc::new(FeatureClusters(ClusterOptions::resolve(
            arguments, state,
        )?)))
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
        ("cluster", DataType::Int32, true),
        ("example", DataType::Int32, false),
        ("doc_id", DataType::Int32, true),
        ("pos", DataType::Int32, true),
        ("token", DataType::Utf8, true),
        ("activation", DataType::Float32, true),
        ("context", DataType::Utf8, true),
        ("is_central", DataType::Boolean, false),
    ])))
}

/// Columns taken over from the examples as they are.
const COPIED: [&str; 4] = ["doc_id", "pos", "token", "activation"];

#[derive(Debug)]
struct FeatureClusters(ClusterOptions);

impl NeuronFunction for FeatureClusters {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        self.0.embedding.inputs(wanted.copied(&COPIED))
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.0)
    }

    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let n = group.len();
        let clustering = scratch.cluster(group, &self.0)?;
        let labels = clustering.labels(n);
        let mut is_central = vec![false; n];
        if wanted.column("is_central") {
            for row in clustering.medoids() {
                is_central[row] = true;
            }
        }
        let mut columns = group.key_columns(n).to_vec();
        columns.push(Arc::new(
            labels
                .iter()
                .map(|label| label.map(|l| l as i32))
                .collect::<Int32Array>(),
        ));
        columns.push(Arc::clone(group.column("example")?));
        for name in COPIED {
            columns.push(wanted.or_null(name, n, || Ok(Arc::clone(group.column(name)?)))?);
        }
        columns.push(wanted.or_null("context", n, || group.contexts(None))?);
        columns.push(Arc::new(BooleanArray::from(is_central)));
        by_cluster(&schema(), columns, &labels)
    }
}

/// Orders the rows by cluster, then example; zero vectors last.
fn by_cluster(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    labels: &[Option<u32>],
) -> Result<Vec<ArrayRef>> {
    let mut order: Vec<u32> = (0..labels.len() as u32).collect();
    order.sort_by_key(|&row| labels[row as usize].unwrap_or(u32::MAX));
    let batch = RecordBatch::try_new(Arc::clone(schema), columns)?;
    Ok(take_record_batch(&batch, &UInt32Array::from(order))?
        .columns()
        .to_vec())
}
