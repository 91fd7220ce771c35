//! The dataset examples of a neuron with their text, `docs/definitions.md` section 3.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;

use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    Group, InputColumns, KIND, LAYER_NEURON, NeuronFunction, OutputColumns, PerNeuron, Scratch,
    fields, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "dataset_examples",
    chapter: "examples",
    summary: "One row per dataset example: a document on which the neuron fires, with the token it fires on.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[KIND, RUN],
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
    Arc::new(Schema::new(fields(&[
        ("layer", DataType::Int32, false),
        ("neuron", DataType::Int32, false),
        ("example", DataType::Int32, false),
        ("doc_id", DataType::Int32, true),
        ("pos", DataType::Int32, true),
        ("token", DataType::Utf8, true),
        ("activation", DataType::Float32, true),
        ("context", DataType::Utf8, true),
    ])))
}

/// Columns taken over from the examples as they are.
const COPIED: [&str; 4] = ["doc_id", "pos", "token", "activation"];

#[derive(Debug)]
struct DatasetExamples;

impl NeuronFunction for DatasetExamples {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        InputColumns {
            examples: wanted.copied(&COPIED),
            vectors: None,
            weights: &[],
        }
    }

    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        _: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let n = group.len();
        let mut columns = group.key_columns(n).to_vec();
        columns.push(Arc::clone(group.column("example")?));
        for name in COPIED {
            columns.push(wanted.or_null(name, n, || Ok(Arc::clone(group.column(name)?)))?);
        }
        columns.push(wanted.or_null("context", n, || group.contexts(None))?);
        Ok(columns)
    }
}
