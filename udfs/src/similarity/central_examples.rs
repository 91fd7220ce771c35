//! One row a feature cluster with its central example and what the neuron received there: what a search for similar
//! features compares.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, UInt32Array, new_null_array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

use crate::arrow::context::contexts;
use crate::arrow::vectors::{VectorBuilder, vector_type};
use crate::per_neuron::{
    ClusterOptions, Group, InputColumns, NeuronFunction, OutputColumns, Scratch,
};

/// One row per feature cluster: its size and its central example with the vector the neuron received there.
#[derive(Debug)]
pub struct CentralExamples(pub ClusterOptions);

/// Columns of [`CentralExamples`] copied from the examples, with their places.
const COPIED: [(usize, &str); 3] = [(5, "doc_id"), (6, "pos"), (7, "token")];
/// Place of the column `layer`.
pub const LAYER: usize = 0;
/// Place of the column `neuron`.
pub const NEURON: usize = 1;
/// Place of the column `cluster`.
pub const CLUSTER: usize = 2;
/// Place of the column `context`.
const CONTEXT_AT: usize = 8;
/// Place of the column `pre_mlp`.
pub const PRE_MLP_AT: usize = 9;

impl CentralExamples {
    /// Its columns.
    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("layer", DataType::Int32, false),
            Field::new("neuron", DataType::Int32, false),
            Field::new("cluster", DataType::Int32, false),
            Field::new("size", DataType::Int32, false),
            Field::new("example", DataType::Int32, false),
            Field::new("doc_id", DataType::Int32, true),
            Field::new("pos", DataType::Int32, true),
            Field::new("token", DataType::Utf8, true),
            Field::new("context", DataType::Utf8, true),
            Field::new("pre_mlp", vector_type(), false),
        ]))
    }
}

impl NeuronFunction for CentralExamples {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        let mut examples = vec![];
        let context = wanted.column(CONTEXT_AT);
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
        let clustering = scratch.cluster(group, &self.0)?;
        let medoids = clustering.medoids();
        let central: UInt32Array = medoids.into_iter().map(|row| row as u32).collect();
        let n = central.len();
        let sizes = clustering.clusters.sizes.iter().map(|&size| size as i32);
        let mut columns = group.key_columns(n).to_vec();
        columns.push(Arc::new(Int32Array::from_iter_values(0..n as i32)));
        columns.push(Arc::new(Int32Array::from_iter_values(sizes)));
        columns.push(take(group.column("example")?, &central, None)?);
        let schema = Self::schema();
        for (i, name) in COPIED {
            columns.push(match wanted.column(i) {
                true => take(group.column(name)?, &central, None)?,
                false => new_null_array(schema.field(i).data_type(), n),
            });
        }
        columns.push(match wanted.column(CONTEXT_AT) {
            true => {
                let column = |name| -> Result<_> { Ok(take(group.column(name)?, &central, None)?) };
                let window = column("window_tokens")?;
                Arc::new(contexts(
                    &window,
                    &column("pos")?,
                    &column("window_start")?,
                )?)
            }
            false => new_null_array(&DataType::Utf8, n),
        });
        let vectors = group.vectors()?;
        let rows = vectors.rows();
        let mut received = VectorBuilder::new();
        for &row in central.values() {
            received.append(rows[row as usize]);
        }
        columns.push(Arc::new(received.finish()));
        Ok(columns)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}
