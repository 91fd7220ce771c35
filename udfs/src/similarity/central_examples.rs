//! One row a feature cluster with its central example and what the neuron received there: what a search for similar
//! features compares.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::arrow::vectors::{VectorBuilder, vector_type};
use crate::per_neuron::{
    ClusterOptions, Group, InputColumns, NeuronFunction, OutputColumns, Scratch, fields,
};

/// One row per feature cluster: its size and its central example with the vector the neuron received there.
#[derive(Debug)]
pub struct CentralExamples(pub ClusterOptions);

/// Columns copied from the examples.
const COPIED: [&str; 3] = ["doc_id", "pos", "token"];

impl CentralExamples {
    /// Its columns.
    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(fields(&[
            ("layer", DataType::Int32, false),
            ("neuron", DataType::Int32, false),
            ("cluster", DataType::Int32, false),
            ("size", DataType::Int32, false),
            ("example", DataType::Int32, false),
            ("doc_id", DataType::Int32, true),
            ("pos", DataType::Int32, true),
            ("token", DataType::Utf8, true),
            ("context", DataType::Utf8, true),
            ("pre_mlp", vector_type(), false),
        ])))
    }
}

impl NeuronFunction for CentralExamples {
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
        let clustering = scratch.cluster(group, &self.0)?;
        let medoids = clustering.medoids();
        let central: UInt32Array = medoids.into_iter().map(|row| row as u32).collect();
        let n = central.len();
        let sizes = clustering.clusters.sizes.iter().map(|&size| size as i32);
        let mut columns = group.key_columns(n).to_vec();
        columns.push(Arc::new(Int32Array::from_iter_values(0..n as i32)));
        columns.push(Arc::new(Int32Array::from_iter_values(sizes)));
        columns.push(take(group.column("example")?, &central, None)?);
        for name in COPIED {
            columns
                .push(wanted.or_null(name, n, || Ok(take(group.column(name)?, &central, None)?))?);
        }
        columns.push(wanted.or_null("context", n, || group.contexts(Some(&central)))?);
        let vectors = group.vectors()?;
        let rows = vectors.rows();
        let mut received = VectorBuilder::new();
        for &row in central.values() {
            received.append(rows[row as usize]);
        }
        columns.push(Arc::new(received.finish()));
        Ok(columns)
    }
}
