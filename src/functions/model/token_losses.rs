//! `token_losses(model, corpus)`: how well a model predicts each token of a corpus, streamed while it reads it.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::corpus::{CORPUS, LossBatch};
use crate::functions::corpus_pass::{CORPUS_ARGUMENT, CorpusPass, MODEL};
use crate::options::parameters;
use crate::store::Store;

const ARGUMENTS: [Parameter; 2] = [MODEL, CORPUS_ARGUMENT];

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "token_losses",
    chapter: "model",
    summary: "One row per predicted token of a corpus: what the model's prediction cost, whose mean is its cross-entropy. Nothing is stored.",
    arguments: &ARGUMENTS,
    required: 2,
    options: parameters(&CORPUS),
    returns: "doc_id, pos, token_id (the token that is predicted from those before it in its document: every one but the \
              first that is the document's own), loss (-ln p(token), in nats); documents of similar length are read \
              together, so rows need an ORDER BY",
    example: "SELECT count(*) AS tokens, avg(loss) AS cross_entropy FROM token_losses('tests/data/demo/model', \
              'tests/data/demo/corpus.jsonl', {max_documents: 8})",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: Arc<Store>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(TokenLosses { store })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("doc_id", DataType::Int32, false),
        Field::new("pos", DataType::Int32, false),
        Field::new("token_id", DataType::Int32, false),
        Field::new("loss", DataType::Float64, false),
    ]))
}

fn rows(batch: LossBatch) -> Result<RecordBatch> {
    let integers = |values: Vec<u32>| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            values.into_iter().map(|value| value as i32),
        ))
    };
    let columns = vec![
        integers(batch.doc_ids),
        integers(batch.pos),
        integers(batch.token_ids),
        Arc::new(Float64Array::from(batch.losses)) as ArrayRef,
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[derive(Debug)]
struct TokenLosses {
    store: Arc<Store>,
}

impl TableFunction for TokenLosses {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let pass = CorpusPass::new(
            &self.store,
            &arguments,
            "TokenLossesExec",
            schema(),
            String::new(),
            |reader, context| {
                reader.losses(&mut |batch| {
                    context.send(rows(batch));
                    context.tick()
                })
            },
        );
        Ok(Arc::new(pass?))
    }
}
