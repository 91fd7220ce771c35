//! From texts to documents: chunks of at most `context` tokens, in corpus order.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int32Array, Int32Builder, RecordBatch, StringArray, StringBuilder, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::at_least;
use rayon::prelude::*;

use super::documents::{Advance, Documents, Target};
use super::options::{BOS, CONTEXT, MAX_DOCUMENTS, MIN_TOKENS};
use super::text::Corpus;
use super::text_batch::TextBatch;
use super::text_cuts::split_segment;
use crate::files::spool::Spool;
use crate::models::{LoadedModel, Tokenizer};
use crate::options::Options;
use crate::store::{RunWriter, Table, TableWriter, schema};

/// Rows of a record batch of `tokens`.
const TOKEN_ROWS: usize = 16_384;
/// Bytes of text encoded between two looks at the clock.
const GROUP_BYTES: usize = 1 << 19;
/// Bytes that a byte of text takes while it is encoded: measured of GPT-2's tokenizer.
const ENCODED_BYTES: usize = 48;
/// Bytes of the rows of `tokens` and `documents` that are not written yet, and of those being written.
const ROW_BYTES: usize = 1 << 21;

/// Encodes a corpus into documents and their token ids; what is in memory of them is reserved in `memory`.
pub(super) fn tokenize(
    corpus: &mut Corpus,
    path: &Path,
    loaded: &LoadedModel,
    options: &Options,
    memory: &MemoryReservation,
    target: &mut Target<'_>,
    advance: &mut Advance<'_>,
) -> Result<(Documents, Spool)> {
    let tokenizer = loaded.required_tokenizer()?;
    let bos = match (options.get(BOS), tokenizer.bos()) {
        (false, _) => None,
        (true, Some(id)) => Some(id),
        (true, None) => {
            return exec_err!(
                "bos must come with a bos_token in tokenizer_config.json or special_tokens_map.json, or a bos_token_id \
                 the tokenizer knows in config.json, got none"
            );
        }
    };
    let d_vocab = loaded.model.d_vocab();
    let tables = match target {
        Target::Run(run) => Some(Tables::new(&corpus.fields, run)?),
        Target::Scratch(_) => None,
    };
    let mut chunker = Chunker {
        tokenizer,
        d_vocab,
        bos,
        context: options.get(CONTEXT),
        min_tokens: options.get(MIN_TOKENS),
        max_documents: options.get(MAX_DOCUMENTS),
        documents: Documents { starts: vec![0] },
        ids: Spool::create(target.scratch(), "ids", 1)?,
        rest: vec![],
        begins: true,
        added_space: false,
        pending: vec![],
        tables,
        memory,
    };
    while let Some(batch) = corpus.next_batch()? {
        encode_batch(&batch, tokenizer, &mut chunker, advance)?;
        if chunker.full() {
            break;
        }
    }
    if chunker.documents.len() == 0 {
        return exec_err!(
            "a corpus with a document of at least min_tokens, {}, is required, got none in {}",
            chunker.min_tokens,
            path.display()
        );
    }
    chunker.finish()
}

fn encode_batch(
    batch: &TextBatch,
    tokenizer: &Tokenizer,
    chunker: &mut Chunker<'_>,
    advance: &mut Advance<'_>,
) -> Result<()> {
    let encode = |text: &str| tokenizer.encode(text);
    let mut group: Vec<(&str, usize, bool)> = vec![];
    let mut size_bytes = 0;
    for (row, text) in batch.texts.iter().enumerate() {
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (segment, after) = split_segment(rest, &encode)?;
            rest = after;
            group.push((segment, row, rest.is_empty()));
            size_bytes += segment.len();
            if size_bytes >= GROUP_BYTES {
                encode_group(&mut group, &batch.columns, tokenizer, chunker, advance)?;
                size_bytes = 0;
                if chunker.full() {
                    return Ok(());
                }
            }
        }
    }
    encode_group(&mut group, &batch.columns, tokenizer, chunker, advance)
}

fn encode_group(
    group: &mut Vec<(&str, usize, bool)>,
    columns: &[ArrayRef],
    tokenizer: &Tokenizer,
    chunker: &mut Chunker<'_>,
    advance: &mut Advance<'_>,
) -> Result<()> {
    chunker.hold(group.iter().map(|(text, ..)| text.len()).sum())?;
    let encoded = group.par_iter().map(|(text, ..)| tokenizer.encode(text));
    let encoded = encoded.collect::<Result<Vec<_>>>()?;
    let before = (chunker.documents.len(), chunker.documents.total_tokens());
    for ((text, row, last), ids) in group.drain(..).zip(encoded) {
        chunker.add(row, text, &ids, last)?;
    }
    chunker.write_documents(columns)?;
    let documents = chunker.documents.len() - before.0;
    let tokens = chunker.documents.total_tokens() - before.1;
    advance(documents as u64, tokens as u64)
}

/// A document that is not yet written.
struct WaitingDocument {
    ids: Vec<u32>,
    /// Row of the corpus.
    row: u32,
    /// Whether it begins with a space that its text has not.
    added_space: bool,
}

/// Cuts the tokens of each text into documents.
struct Chunker<'a> {
    tokenizer: &'a Tokenizer,
    d_vocab: usize,
    bos: Option<u32>,
    context: usize,
    min_tokens: usize,
    max_documents: Option<usize>,
    documents: Documents,
    /// Token ids of all documents, one after the other.
    ids: Spool,
    /// Tokens of a text that are in no document yet.
    rest: Vec<u32>,
    /// Whether the next tokens begin a text.
    begins: bool,
    /// Whether the next document begins with a space that its text has not.
    added_space: bool,
    /// The documents not yet written.
    pending: Vec<WaitingDocument>,
    tables: Option<Tables>,
    memory: &'a MemoryReservation,
}

impl Chunker<'_> {
    fn full(&self) -> bool {
        let most = self.max_documents;
        most.is_some_and(|most| self.documents.len() >= most)
    }

    /// Reserves what the documents take and so many bytes of text that become some more.
    fn hold(&self, text: usize) -> Result<()> {
        // A text of so many bytes has no more tokens, nor documents. A list that grows has room for twice as many.
        let shortest = self.min_tokens.max(1 + usize::from(self.bos.is_some()));
        let documents = self.documents.starts.len() + text / shortest;
        let needed = text * ENCODED_BYTES + ROW_BYTES + 2 * documents * size_of::<u32>();
        let of = format_args!(
            "encoding {text} bytes of text after {} documents (fewer max_documents, or min_tokens above \
             {}, need fewer)",
            self.documents.len(),
            self.min_tokens
        );
        at_least(self.memory, needed, of)
    }

    /// Adds the tokens of the next segment of the text in `row`; `last` ends the text.
    fn add(&mut self, row: usize, segment: &str, ids: &[u32], last: bool) -> Result<()> {
        if std::mem::replace(&mut self.begins, last) {
            self.added_space = self.tokenizer.adds_space(segment);
        }
        self.rest.extend_from_slice(ids);
        let whole = self.context - usize::from(self.bos.is_some());
        let rest = std::mem::take(&mut self.rest);
        let mut chunks = rest.chunks_exact(whole);
        for chunk in &mut chunks {
            self.document(row, chunk)?;
        }
        let remainder = chunks.remainder();
        if !last {
            self.rest = remainder.to_vec();
        } else if !remainder.is_empty() {
            self.document(row, remainder)?;
        }
        Ok(())
    }

    fn document(&mut self, row: usize, chunk: &[u32]) -> Result<()> {
        let added_space = std::mem::take(&mut self.added_space);
        let ids: Vec<u32> = self.bos.iter().chain(chunk).copied().collect();
        if ids.len() < self.min_tokens || self.full() {
            return Ok(());
        }
        let doc_id = self.documents.len();
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.d_vocab) {
            return exec_err!(
                "token ids below the model's {} are required, got {id}, '{}', in document {doc_id}",
                self.d_vocab,
                self.tokenizer.token_text(*id)
            );
        }
        let end = self.documents.total_tokens() + ids.len();
        let too_many =
            |_| exec_datafusion_err!("fewer than 2^31 documents, 2^32 tokens are required");
        let doc_id = i32::try_from(doc_id).map_err(too_many)?;
        let end = u32::try_from(end).map_err(too_many)?;
        self.documents.starts.push(end);
        self.ids.append(&ids)?;
        if let Some(tables) = &mut self.tables {
            tables.add_tokens(doc_id, &ids, self.tokenizer)?;
            let row = row as u32;
            self.pending.push(WaitingDocument {
                ids,
                row,
                added_space,
            });
        }
        Ok(())
    }

    /// Writes the pending documents, whose rows are rows of `columns`.
    fn write_documents(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Some(tables) = &mut self.tables else {
            return Ok(());
        };
        let first = self.documents.len() - self.pending.len();
        let skip = usize::from(self.bos.is_some());
        let texts = self
            .pending
            .par_iter()
            .map(|document| {
                self.tokenizer
                    .text(&document.ids[skip..], document.added_space)
            })
            .collect::<Vec<_>>();
        let doc_ids = first as i32..self.documents.len() as i32;
        let lengths = self
            .pending
            .iter()
            .map(|document| document.ids.len() as i32);
        let rows = UInt32Array::from_iter_values(self.pending.iter().map(|document| document.row));
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(doc_ids)),
            Arc::new(StringArray::from(texts)),
            Arc::new(Int32Array::from_iter_values(lengths)),
        ];
        for column in columns {
            arrays.push(take(column, &rows, None)?);
        }
        self.pending.clear();
        tables.write_documents(arrays)
    }

    fn finish(mut self) -> Result<(Documents, Spool)> {
        if let Some(tables) = self.tables {
            tables.finish()?;
        }
        self.ids.flush()?;
        Ok((self.documents, self.ids))
    }
}

/// The tables `documents` and `tokens` being written.
struct Tables {
    rows: TokenRows,
    tokens: TableWriter,
    documents: TableWriter,
    document_schema: SchemaRef,
}

impl Tables {
    /// `fields` are the corpus's own columns.
    fn new(fields: &[Field], run: &mut RunWriter) -> Result<Self> {
        let own = schema::documents();
        let own = own.fields().iter().map(|f| f.as_ref().clone());
        let document_schema = Arc::new(Schema::new(
            own.chain(fields.iter().cloned()).collect::<Vec<_>>(),
        ));
        Ok(Self {
            rows: TokenRows::default(),
            tokens: run.table(Table::Tokens, None, schema::tokens())?,
            documents: run.table(Table::Documents, None, Arc::clone(&document_schema))?,
            document_schema,
        })
    }

    fn add_tokens(&mut self, doc_id: i32, ids: &[u32], tokenizer: &Tokenizer) -> Result<()> {
        for (pos, id) in ids.iter().enumerate() {
            self.rows.doc_id.append_value(doc_id);
            self.rows.pos.append_value(pos as i32);
            self.rows.token_id.append_value(*id as i32);
            self.rows.token.append_value(tokenizer.token_text(*id));
        }
        if self.rows.len() >= TOKEN_ROWS {
            self.tokens.write(&self.rows.take()?)?;
        }
        Ok(())
    }

    fn write_documents(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&self.document_schema), columns)?;
        self.documents.write(&batch)
    }

    fn finish(mut self) -> Result<()> {
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
