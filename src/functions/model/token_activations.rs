//! `token_activations(layer, neuron, doc_id)`: how a neuron responds to every token of a document, by a pass of the run's
//! model. `examples` keeps a window around key tokens only.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::run_parameters;
use crate::functions::layer_reader::{LayerReader, StoredDocument, hold_pass, pass, require_text};
use crate::functions::run_model::{
    AskedRun, GivenNeuron, LAYER, NEURON, RunCall, RunQuestion, given_integer, within,
};
use crate::jobs::JobContext;
use crate::options::{Options, Spec};
use crate::saes::{MOVED_MODEL, SaeLibrary};
use crate::store::LayerRow;

const OPTIONS: [Spec; 1] = [MOVED_MODEL.spec];
const DOC_ID: Parameter = Parameter {
    name: "doc_id",
    kind: "whole number",
    summary: "a document of the run",
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "token_activations",
    chapter: "model",
    summary: "One row per token of a document: the activation of a neuron there, by a pass of the run's model.",
    arguments: &[LAYER, NEURON, DOC_ID],
    required: 3,
    options: run_parameters(&OPTIONS),
    returns: "layer, neuron, doc_id, pos (in the document), token_id (in the model's vocabulary), token (its text), activation (of the \
              neuron there); by pos, from the first token of the document to its \
              last, those of bos included",
    example: "SELECT pos, token, activation FROM token_activations(0, 1, 5) ORDER BY activation DESC LIMIT 3",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(TokenActivations { saes })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("doc_id", DataType::Int32, false),
        Field::new("pos", DataType::Int32, false),
        Field::new("token_id", DataType::Int32, false),
        Field::new("token", DataType::Utf8, true),
        Field::new("activation", DataType::Float32, false),
    ]))
}

#[derive(Debug)]
struct TokenActivations {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for TokenActivations {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let given = GivenNeuron::of(&arguments, false)?;
        let doc_id = given_integer(&arguments, DOC_ID.name)?;
        let options = Options::of_call(&OPTIONS, &arguments)?;
        let operator = [DOC.name, "TokenActivationsExec"];
        let question = RunQuestion::new(operator, schema(), &self.saes, &options, move |run| {
            let (layer, neuron) = given.resolve(run)?;
            let neuron = neuron.unwrap_or(0);
            let doc_id = within(DOC_ID.name, doc_id, run.manifest().counts.documents)?;
            Ok(RunCall {
                detail: format!("layer={}, neuron={neuron}, doc_id={doc_id}", layer.layer),
                answer: Arc::new(move |asked, context| {
                    answer(asked, &layer, neuron, doc_id, context)
                }),
            })
        });
        Ok(Arc::new(question))
    }
}

fn answer(
    asked: &AskedRun,
    layer: &LayerRow,
    neuron: i32,
    doc_id: i32,
    context: &JobContext,
) -> Result<()> {
    let loaded = asked.model(context)?;
    require_text(&loaded)?;
    let model = loaded.model.as_ref();
    let reader = LayerReader::open(asked, model, layer)?;
    let document = StoredDocument::read(&asked.run, doc_id)?;
    let n = document.ids.len();
    let memory = context.memory("forward pass");
    hold_pass(&memory, model, std::slice::from_ref(&reader), 1, n)?;
    let place = [reader.activation_place()];
    let seen = pass(model, &document.ids, n, place, context)?;
    let activations = reader.of_neuron(&seen, 0..n, neuron)?;
    let constant = |value| Arc::new(Int32Array::from(vec![value; n])) as ArrayRef;
    let ids = document.ids.iter().map(|id| *id as i32);
    let columns = vec![
        constant(layer.layer),
        constant(neuron),
        constant(doc_id),
        Arc::new(Int32Array::from_iter_values(0..n as i32)),
        Arc::new(Int32Array::from_iter_values(ids)),
        Arc::new(StringArray::from(document.texts)),
        Arc::new(Float32Array::from(activations)),
    ];
    context.send(Ok(RecordBatch::try_new(schema(), columns)?));
    Ok(())
}
