//! One row a dataset example with its feature cluster and the token it fires on: what coactivation counts.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::per_neuron::{
    ClusterOptions, Group, InputColumns, NeuronFunction, OutputColumns, Scratch, fields,
};

/// One row per dataset example: the feature cluster it belongs to and the token it fires on.
#[derive(Debug)]
pub struct Members(pub ClusterOptions);

impl Members {
    /// Its columns.
    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(fields(&[
            ("layer", DataType::Int32, false),
            ("neuron", DataType::Int32, false),
            ("cluster", DataType::Int32, true),
            ("doc_id", DataType::Int32, false),
            ("pos", DataType::Int32, false),
        ])))
    }
}

impl NeuronFunction for Members {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.0.embedding.inputs(vec!["doc_id", "pos"])
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.0)
    }

    fn rows(
        &self,
        group: &Group,
        _: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let n = group.len();
        let labels = scratch.cluster(group, &self.0)?.labels(n);
        let labels = labels.iter().map(|label| label.map(|l| l as i32));
        let [layer, neuron] = group.key_columns(n);
        let cluster = Arc::new(labels.collect::<Int32Array>());
        // A place that is NULL is refused here, with its neuron.
        let place = |name| -> Result<ArrayRef> {
            let values = group.integers(name)?.to_vec();
            Ok(Arc::new(Int32Array::from(values)))
        };
        Ok(vec![
            layer,
            neuron,
            cluster,
            place("doc_id")?,
            place("pos")?,
        ])
    }
}
