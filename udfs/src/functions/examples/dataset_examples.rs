//! The dataset examples of a neuron with their text, `docs/definitions.md` section 3.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

use crate::arrow::context::contexts;
use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    Group, InputColumns, LAYER_NEURON, NeuronFunction, OutputColumns, PerNeuron, Scratch,
    table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "dataset_examples",
    chapter: "examples",
    summary: "One row per dataset example: a document on which the neuron fires, with the token it fires on.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[],
    returns: "layer, neuron, example, doc_id, pos, token, activation, context (the key token between « and »)",
    example: "SELECT token, activation, context FROM dataset_examples(0, 1) LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: |_| Ok(()),
    bind: |_, _| Ok(Arc::new(DatasetExamples)),
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&PER_NEURON)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("example", DataType::Int32, false),
        Field::new("doc_id", DataType::Int32, true),
        Field::new("pos", DataType::Int32, true),
        Field::new("token", DataType::Utf8, true),
        Field::new("activation", DataType::Float32, true),
        Field::new("context", DataType::Utf8, true),
    ]))
}

const CONTEXT: usize = 7;

#[derive(Debug)]
struct DatasetExamples;

impl NeuronFunction for DatasetExamples {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        let mut examples = vec!["doc_id", "pos", "token", "activation"];
        if wanted.column(CONTEXT) {
            examples.extend(["window_tokens", "window_start"]);
        }
        InputColumns {
            examples,
            vectors: None,
            weights: false,
        }
    }

    fn bytes(&self, _: usize, _: usize) -> usize {
        0
    }

    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        _: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let mut columns = group.key_columns(group.len()).to_vec();
        for name in ["example", "doc_id", "pos", "token", "activation"] {
            columns.push(Arc::clone(group.column(name)?));
        }
        columns.push(if wanted.column(CONTEXT) {
            let window = group.column("window_tokens")?;
            Arc::new(contexts(
                window,
                group.column("pos")?,
                group.column("window_start")?,
            )?)
        } else {
            new_null_array(&DataType::Utf8, group.len())
        });
        Ok(columns)
    }

    fn describe(&self) -> String {
        String::new()
    }
}
