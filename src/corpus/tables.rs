//! The tables `documents` and `tokens` while a corpus is cut into documents.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int32Array, Int32Builder, Int64Array, RecordBatch, StringArray, StringBuilder,
    UInt32Array, new_null_array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::Result;
use rayon::prelude::*;

use super::row_batch::RowBatch;
use crate::models::Tokenizer;
use crate::store::{RowSpool, RunWriter, Table, TableWriter, schema};

/// Rows of a record batch of `tokens`.
const TOKEN_ROWS: usize = 16_384;

/// A document that is not written yet.
#[derive(Debug)]
pub(super) struct PendingDocument {
    /// Its token ids, without the first one of `bos`.
    pub(super) ids: Vec<u32>,
    /// Number of its tokens.
    pub(super) n_tokens: i32,
    /// Whether it begins with a space that its text has not.
    pub(super) added_space: bool,
    /// Its row in the batch.
    pub(super) row: usize,
    pub(super) chunk: i32,
}

/// The columns of `documents`, of which `own` are the corpus's.
pub(crate) fn document_schema(own: &[Field]) -> SchemaRef {
    let (documents, origins) = (schema::documents(), schema::origins());
    let fields = documents.fields().iter().chain(origins.fields());
    let fields = fields
        .map(|f| f.as_ref().clone())
        .chain(own.iter().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns that say where documents are from, of so many that are from no corpus.
pub(crate) fn no_origins(n: usize) -> Vec<ArrayRef> {
    let origins = schema::origins();
    let columns = origins.fields().iter();
    columns
        .map(|field| new_null_array(field.data_type(), n))
        .collect()
}

/// The rows of documents of a batch, the first of which has this number.
pub(super) fn document_rows(
    schema: &SchemaRef,
    first: usize,
    documents: &[PendingDocument],
    batch: &RowBatch,
    tokenizer: Option<&Tokenizer>,
) -> Result<RecordBatch> {
    let texts: ArrayRef = Arc::new(match tokenizer {
        Some(tokenizer) => {
            let texts = documents.par_iter();
            let texts = texts.map(|document| tokenizer.text(&document.ids, document.added_space));
            StringArray::from(texts.collect::<Vec<_>>())
        }
        None => StringArray::new_null(documents.len()),
    });
    let doc_ids = (first..first + documents.len()).map(|id| id as i32);
    let lengths = documents.iter().map(|document| document.n_tokens);
    let rows = || documents.iter().map(|document| document.row);
    let files = documents.iter().map(|_| batch.file.as_deref());
    let chunks = documents.iter().map(|document| document.chunk);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(doc_ids)),
        texts,
        Arc::new(Int32Array::from_iter_values(lengths)),
        Arc::new(StringArray::from_iter(files)),
        Arc::new(Int64Array::from_iter_values(
            rows().map(|row| (batch.first + row as u64) as i64),
        )),
        Arc::new(Int32Array::from_iter_values(chunks)),
    ];
    let rows = UInt32Array::from_iter_values(rows().map(|row| row as u32));
    for column in &batch.columns {
        columns.push(take(column, &rows, None)?);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Where the rows of documents go.
pub(super) enum DocumentTables {
    /// To the tables of a run.
    Written(Box<RunTables>),
    /// Where they wait for their order.
    Waiting(Box<RowSpool>),
}

impl DocumentTables {
    /// The columns of `documents`.
    pub(crate) fn document_schema(&self) -> SchemaRef {
        match self {
            Self::Written(tables) => Arc::clone(&tables.schema),
            Self::Waiting(spool) => spool.schema(),
        }
    }
}

/// The tables of a run being written.
pub(super) struct RunTables {
    rows: TokenRows,
    tokens: TableWriter,
    documents: TableWriter,
    /// That of `documents`.
    schema: SchemaRef,
}

impl RunTables {
    pub(super) fn new(documents: &SchemaRef, run: &mut RunWriter) -> Result<Self> {
        Ok(Self {
            rows: TokenRows::default(),
            tokens: run.table(Table::Tokens, None, schema::tokens())?,
            documents: run.table(Table::Documents, None, Arc::clone(documents))?,
            schema: Arc::clone(documents),
        })
    }

    pub(super) fn add_tokens(
        &mut self,
        doc_id: i32,
        ids: &[u32],
        tokenizer: Option<&Tokenizer>,
    ) -> Result<()> {
        for (pos, id) in ids.iter().enumerate() {
            self.rows.doc_id.append_value(doc_id);
            self.rows.pos.append_value(pos as i32);
            self.rows.token_id.append_value(*id as i32);
            let token = tokenizer.map(|tokenizer| tokenizer.token_text(*id));
            self.rows.token.append_option(token);
        }
        if self.rows.len() >= TOKEN_ROWS {
            self.tokens.write(&self.rows.take()?)?;
        }
        Ok(())
    }

    pub(super) fn write_documents(&mut self, rows: &RecordBatch) -> Result<()> {
        self.documents.write(rows)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.tokens.write(&self.rows.take()?)?;
        self.tokens.finish()?;
        self.documents.finish()
    }
}

/// Rows of `tokens` not yet written.
#[derive(Default)]
struct TokenRows {
    doc_id: Int32Builder,
    pos: Int32Builder,
    token_id: Int32Builder,
    token: StringBuilder,
}

impl TokenRows {
    fn len(&self) -> usize {
        self.doc_id.values_slice().len()
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.doc_id.finish()),
            Arc::new(self.pos.finish()),
            Arc::new(self.token_id.finish()),
            Arc::new(self.token.finish()),
        ];
        Ok(RecordBatch::try_new(schema::tokens(), columns)?)
    }
}
