//! The feature clusters of a neuron: its dataset examples, each with the behaviour it belongs to.
//!
//! Average linkage on the cosine distances of the neuron embeddings, cut at `threshold`, or sub-cluster components. Clusters
//! are numbered by decreasing size, ties by smallest example; the central example is the medoid.
//!
//! Errors: embeddings that are not finite. Cost: n^2 d a neuron, and n^2 memory but with sub-cluster
//! components.
//! Source: Foote 2024, section 3.2; cut as SciPy's `fcluster(.., 'distance')`.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, RecordBatch, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

use crate::arrow::context::contexts;
use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    ClusterOptions, EMBEDDING, Group, InputColumns, LAYER_NEURON, LINKAGE, METHOD, N_CLUSTERS,
    NeuronFunction, OutputColumns, PerNeuron, STRICT, Scratch, THRESHOLD, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "feature_clusters",
    chapter: "cluster",
    summary: "One row per dataset example with the feature cluster it belongs to: the separate behaviours of a neuron.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[THRESHOLD, N_CLUSTERS, METHOD, LINKAGE, EMBEDDING, STRICT],
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
    Arc::new(Schema::new(vec![
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("cluster", DataType::Int32, true),
        Field::new("example", DataType::Int32, false),
        Field::new("doc_id", DataType::Int32, true),
        Field::new("pos", DataType::Int32, true),
        Field::new("token", DataType::Utf8, true),
        Field::new("activation", DataType::Float32, true),
        Field::new("context", DataType::Utf8, true),
        Field::new("is_central", DataType::Boolean, false),
    ]))
}

/// Columns taken over from the examples as they are, with their place in the result.
const COPIED: [(usize, &str); 4] = [(4, "doc_id"), (5, "pos"), (6, "token"), (7, "activation")];
const CONTEXT: usize = 8;
const IS_CENTRAL: usize = 9;

#[derive(Debug)]
struct FeatureClusters(ClusterOptions);

impl NeuronFunction for FeatureClusters {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        let mut examples = vec![];
        let context = wanted.column(CONTEXT);
        examples.extend(
            COPIED
                .iter()
                .filter(|(i, name)| wanted.column(*i) || (context && *name == "pos"))
                .map(|(_, name)| name),
        );
        if context {
            examples.extend(["window_tokens", "window_start"]);
        }
        self.0.embedding.inputs(examples)
    }

    fn bytes(&self, n: usize, d: usize) -> usize {
        self.0.bytes(n, d)
    }

    fn advice(&self, n: usize, d: usize) -> Option<String> {
        self.0.advice(n, d)
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
        if wanted.column(IS_CENTRAL) {
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
        let schema = schema();
        for (i, name) in COPIED {
            columns.push(match wanted.column(i) {
                true => Arc::clone(group.column(name)?),
                false => new_null_array(schema.field(i).data_type(), n),
            });
        }
        columns.push(match wanted.column(CONTEXT) {
            true => {
                let window = group.column("window_tokens")?;
                Arc::new(contexts(
                    window,
                    group.column("pos")?,
                    group.column("window_start")?,
                )?)
            }
            false => new_null_array(&DataType::Utf8, n),
        });
        columns.push(Arc::new(BooleanArray::from(is_central)));
        by_cluster(&schema, columns, &labels)
    }

    fn describe(&self) -> String {
        self.0.describe()
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
