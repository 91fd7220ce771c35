//! `activations(model, corpus, hook)`: the vectors at one place of a model, streamed while the model reads a corpus.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array, ListArray, RecordBatch};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::arrow::memory::at_least;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::corpus::{ActivationBatch, CORPUS};
use crate::functions::arguments::required;
use crate::functions::corpus_pass::{CORPUS_ARGUMENT, CorpusPass, MODEL};
use crate::jobs::{WAITING, named};
use crate::models::{HookPoint, Site};
use crate::options::{Word, parameters};
use crate::store::Store;

static ARGUMENTS: LazyLock<[Parameter; 3]> = LazyLock::new(|| {
    let sites: Vec<_> = Site::words().into_iter().map(|(name, _)| name).collect();
    [
        MODEL,
        CORPUS_ARGUMENT,
        Parameter {
            name: "hook",
            kind: "text",
            summary: format!(
                "the place, blocks.LAYER.SITE as in blocks.2.mlp.out; the sites are {}, of which a model has some",
                sites.join(", ")
            )
            .leak(),
        },
    ]
});

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "activations",
    chapter: "model",
    summary: "One row per token of a corpus: the vector at one place of a model that reads it. Nothing is stored.",
    arguments: &*ARGUMENTS,
    required: 3,
    options: parameters(&CORPUS),
    returns: "doc_id, pos, vector (the values at the place); documents of similar length are read together, so rows \
              need an ORDER BY",
    example: "SELECT doc_id, pos, vector_norm(vector) AS norm FROM activations('tests/data/demo/model', \
              'tests/data/demo/corpus.jsonl', 'blocks.2.mlp.out', {max_documents: 2}) ORDER BY doc_id, pos LIMIT 3",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: Arc<Store>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(Activations { store })),
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("doc_id", DataType::Int32, false),
        Field::new("pos", DataType::Int32, false),
        Field::new("vector", DataType::List(item()), false),
    ]))
}

/// `[n, d]` vectors with their documents and positions as `n` rows.
fn rows(batch: &ActivationBatch<'_>) -> Result<RecordBatch> {
    let integers = |values: &[u32]| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            values.iter().map(|value| *value as i32),
        ))
    };
    let vectors = ListArray::try_new(
        item(),
        OffsetBuffer::from_repeated_length(batch.d, batch.doc_ids.len()),
        Arc::new(Float32Array::from(batch.values.to_vec())),
        None,
    )?;
    let columns = vec![
        integers(batch.doc_ids),
        integers(batch.pos),
        Arc::new(vectors) as ArrayRef,
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[derive(Debug)]
struct Activations {
    store: Arc<Store>,
}

impl TableFunction for Activations {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let hook = HookPoint::parse(&required(&arguments, "hook")?).map_err(named(DOC.name))?;
        let pass = CorpusPass::new(
            &self.store,
            &arguments,
            "ActivationsExec",
            schema(),
            format!(", hook={hook}"),
            move |reader, context| {
                let memory = context.memory("activations");
                reader.activations(hook, &mut |batch| {
                    let bytes = size_of_val(batch.values) + 8 * batch.doc_ids.len();
                    let of = "batches that wait to be read (a smaller batch_size needs fewer)";
                    at_least(&memory, bytes * (WAITING + 2), of)?;
                    context.send(rows(batch));
                    context.tick()
                })
            },
        );
        Ok(Arc::new(pass?))
    }
}
