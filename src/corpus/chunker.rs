//! Cuts the tokens of each row into documents: chunks of at most `context` tokens, in the order of the corpus.

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::at_least;

use super::documents::Documents;
use super::row_batch::RowBatch;
use super::tables::{DocumentTables, PendingDocument, document_rows};
use crate::files::spool::Spool;
use crate::models::Tokenizer;

/// Bytes that a byte of text takes while it is encoded: measured of GPT-2's tokenizer.
const ENCODED_BYTES: usize = 48;
/// Bytes of the rows of `tokens` and `documents` that are not written yet, and of those being written.
const ROW_BYTES: usize = 1 << 21;

/// How documents are cut, and which are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks {
    /// Tokens of the model's vocabulary.
    pub(super) d_vocab: usize,
    /// The token each document begins with.
    pub(super) bos: Option<u32>,
    /// The token each document ends with.
    pub(super) eos: Option<u32>,
    pub(super) context: usize,
    pub(super) min_tokens: usize,
    pub(super) limits: Limits,
}

/// Where a corpus ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) documents: Option<usize>,
    pub(super) tokens: Option<usize>,
}

impl Limits {
    /// At its own end.
    pub(super) const NONE: Self = Self {
        documents: None,
        tokens: None,
    };

    /// Whether a document of `n` tokens is one more after so many documents and tokens.
    pub(super) fn admit(self, documents: usize, tokens: usize, n: usize) -> bool {
        self.documents.is_none_or(|most| documents < most)
            && self.tokens.is_none_or(|most| tokens + n <= most)
    }
}

impl Chunks {
    /// Tokens that are put around what is a document's own.
    fn around(self) -> usize {
        [self.bos, self.eos].into_iter().flatten().count()
    }
}

/// Documents being cut.
pub(super) struct Chunker<'a> {
    chunks: Chunks,
    /// Whether rows hold token ids, which may begin with the first token of `bos` themselves.
    of_ids: bool,
    tokenizer: Option<&'a Tokenizer>,
    pub(super) documents: Documents,
    /// Token ids of all documents, one after the other.
    pub(super) ids: Spool,
    /// Tokens of a row that are in no document yet, and the number of its documents.
    rest: Vec<i64>,
    chunk: i32,
    /// Whether the next document begins with a space that its text has not.
    added_space: bool,
    /// Those of the batch that are not written.
    pending: Vec<PendingDocument>,
    pub(super) tables: Option<DocumentTables>,
    /// Whether no document is taken any more.
    full: bool,
    memory: &'a MemoryReservation,
}

impl<'a> Chunker<'a> {
    pub(super) fn new(
        chunks: Chunks,
        tokenizer: Option<&'a Tokenizer>,
        of_ids: bool,
        ids: Spool,
        tables: Option<DocumentTables>,
        memory: &'a MemoryReservation,
    ) -> Self {
        Self {
            chunks,
            of_ids,
            tokenizer,
            documents: Documents {
                starts: vec![0],
                closing: usize::from(chunks.eos.is_some()),
            },
            ids,
            rest: vec![],
            chunk: 0,
            added_space: false,
            pending: vec![],
            tables,
            full: false,
            memory,
        }
    }

    pub(super) fn full(&self) -> bool {
        self.full
    }

    /// Reserves what the documents take and so many bytes of text that become some more.
    pub(super) fn hold_text(&self, text: usize) -> Result<()> {
        let of = format_args!("encoding {text} bytes of text");
        self.hold(text, text * ENCODED_BYTES, of)
    }

    /// The same of so many token ids.
    pub(super) fn hold_ids(&self, ids: usize) -> Result<()> {
        let of = format_args!("{ids} token ids");
        self.hold(ids, ids * 2 * size_of::<i64>(), of)
    }

    fn hold(&self, tokens: usize, bytes: usize, of: std::fmt::Arguments<'_>) -> Result<()> {
        // A text of so many bytes has no more tokens, nor documents. A list that grows has room for twice as many.
        let min_tokens = self.chunks.min_tokens;
        let shortest = min_tokens.max(1 + self.chunks.around());
        let documents = self.documents.starts.len() + tokens / shortest;
        let needed = bytes + ROW_BYTES + 2 * documents * size_of::<u32>();
        let of = format_args!(
            "{of} after {} documents (fewer max_documents, or min_tokens above {min_tokens}, need fewer)",
            self.documents.len()
        );
        at_least(self.memory, needed, of)
    }

    /// Adds the next tokens of a row of the batch, before whose text the tokenizer may have put a space; `last` ends the
    /// row.
    pub(super) fn add(
        &mut self,
        batch: &RowBatch,
        row: usize,
        ids: impl IntoIterator<Item = i64>,
        added_space: bool,
        last: bool,
    ) -> Result<()> {
        self.rest.extend(ids);
        self.added_space |= added_space;
        let mut rest = std::mem::take(&mut self.rest);
        let closing = self.chunks.eos.map(i64::from);
        // Ids that were given may end with the last token already.
        if self.of_ids && last && closing.is_some() && rest.last().copied() == closing {
            rest.pop();
        }
        let mut at = 0;
        while at < rest.len() && !self.full {
            let begins = self.begins(&rest[at..]);
            let whole = self.chunks.context - self.chunks.around() + usize::from(begins);
            let end = rest.len().min(at + whole);
            if end - at < whole && !last {
                break;
            }
            self.document(batch, row, &rest[at..end], begins)?;
            at = end;
        }
        match last {
            true => self.chunk = 0,
            false => self.rest = rest[at..].to_vec(),
        }
        Ok(())
    }

    /// Whether ids that were given begin with the first token already, which is then not put before them.
    fn begins(&self, ids: &[i64]) -> bool {
        self.of_ids
            && self
                .chunks
                .bos
                .is_some_and(|bos| ids.first() == Some(&i64::from(bos)))
    }

    fn document(
        &mut self,
        batch: &RowBatch,
        row: usize,
        chunk: &[i64],
        begins: bool,
    ) -> Result<()> {
        let number = self.chunk;
        self.chunk += 1;
        let added_space = std::mem::take(&mut self.added_space);
        let bos = self.chunks.bos.filter(|_| !begins);
        let eos = self.chunks.eos;
        let n = chunk.len() + bos.iter().chain(&eos).count();
        if n < self.chunks.min_tokens {
            return Ok(());
        }
        let (doc_id, total) = (self.documents.len(), self.documents.total_tokens());
        let limits = self.chunks.limits;
        if !limits.admit(doc_id, total, n) {
            self.full = true;
            return Ok(());
        }
        let mut ids = Vec::with_capacity(n);
        let around = [bos, eos].map(|id| id.map(i64::from));
        for (pos, id) in around[0].iter().chain(chunk).chain(&around[1]).enumerate() {
            match u32::try_from(*id) {
                Ok(id) if (id as usize) < self.chunks.d_vocab => ids.push(id),
                _ => {
                    let file = batch
                        .file
                        .as_deref()
                        .map_or(String::new(), |file| format!(" of {file}"));
                    let token = u32::try_from(*id).ok().zip(self.tokenizer);
                    let token = token.map(|(id, tokenizer)| tokenizer.token_text(id).to_string());
                    let token = token.filter(|token| !token.is_empty());
                    let token = token.map_or(String::new(), |token| format!(", '{token}',"));
                    return exec_err!(
                        "token ids below the model's {} are required, got {id}{token} in document {doc_id} position {pos} (row {}{file})",
                        self.chunks.d_vocab,
                        batch.first + row as u64
                    );
                }
            }
        }
        let too_many =
            |_| exec_datafusion_err!("fewer than 2^31 documents, 2^32 tokens are required");
        let doc_id = i32::try_from(doc_id).map_err(too_many)?;
        let end = u32::try_from(total + n).map_err(too_many)?;
        self.documents.starts.push(end);
        // None can follow: what comes need not be read.
        self.full = !limits.admit(doc_id as usize + 1, total + n, 1);
        self.ids.append(&ids)?;
        if let Some(DocumentTables::Written(tables)) = &mut self.tables {
            tables.add_tokens(doc_id, &ids, self.tokenizer)?;
        }
        if self.tables.is_some() {
            // What is shown of a document is without the tokens that were put around it.
            ids.truncate(n - usize::from(eos.is_some()));
            let ids = ids.split_off(usize::from(self.chunks.bos.is_some()));
            self.pending.push(PendingDocument {
                ids,
                n_tokens: n as i32,
                added_space,
                row,
                chunk: number,
            });
        }
        Ok(())
    }

    /// Writes the pending documents, which are of rows of this batch.
    pub(super) fn write_documents(&mut self, batch: &RowBatch) -> Result<()> {
        let Some(tables) = &mut self.tables else {
            return Ok(());
        };
        let documents = std::mem::take(&mut self.pending);
        if documents.is_empty() {
            return Ok(());
        }
        let first = self.documents.len() - documents.len();
        let schema = tables.document_schema();
        let rows = document_rows(&schema, first, &documents, batch, self.tokenizer)?;
        match tables {
            DocumentTables::Written(tables) => tables.write_documents(&rows),
            DocumentTables::Waiting(spool) => spool.write(&rows),
        }
    }
}
