//! Which rows are which document's, and the tables `documents` and `tokens` made of them, a block of rows at a time: in
//! memory are a number or two a document, a block, and the texts of the documents that end in it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef, ToByteSlice};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::{at_least, hold};

use super::folder::Folder;
use super::tokens::Tokens;
use crate::corpus::{Documents, document_schema, no_origins};
use crate::files::arrays::Array;
use crate::runs::progress::Reporter;
use crate::store::{RunWriter, Table, TableWriter, schema};

/// Rows that are in memory.
const BLOCK_ROWS: usize = 16_384;
/// Bytes of text after which documents are written. Chosen, not tuned.
const BATCH_BYTES: usize = 1 << 24;
/// Bytes of a document's text at most: rows of text have 32-bit offsets.
const MOST_TEXT: usize = 1 << 30;

/// Writes `documents` and `tokens`; what the folder's rows hash to goes into `hasher`.
pub(super) fn write_rows(
    folder: &mut Folder,
    run: &mut RunWriter,
    memory: &MemoryReservation,
    hasher: &mut blake3::Hasher,
    report: &mut Reporter<'_>,
) -> Result<Documents> {
    if i32::try_from(folder.rows).is_err() {
        return exec_err!("fewer than 2^31 rows are required, got {}", folder.rows);
    }
    let (starts, given) = starts(folder, memory, hasher, report)?;
    check_positions(folder, &starts, report)?;
    let documents = Documents { starts, closing: 0 };
    let of_texts = memory.new_empty();
    Tables::new(&documents, given, MOST_TEXT, of_texts, run)?.write(folder, hasher, report)?;
    let lengths = documents.starts.len() * size_of::<u32>();
    hold(memory, lengths, "the documents' lengths")?;
    Ok(documents)
}

/// The rows in blocks.
fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let firsts = (0..rows).step_by(BLOCK_ROWS);
    firsts.map(move |first| first..rows.min(first + BLOCK_ROWS))
}

/// The first row of every document and the number of rows; and the documents' ids, if they have some. Without `doc_id`
/// every row is a document.
fn starts(
    folder: &mut Folder,
    memory: &MemoryReservation,
    hasher: &mut blake3::Hasher,
    report: &mut Reporter<'_>,
) -> Result<(Vec<u32>, Option<Vec<i64>>)> {
    let rows = folder.rows;
    let of = "the documents of the rows";
    let Some(array) = &mut folder.doc_id else {
        hold(memory, (rows + 1).saturating_mul(size_of::<u32>()), of)?;
        return Ok(((0..=rows as u32).collect(), None));
    };
    let (mut starts, mut given) = (vec![], vec![]);
    let mut seen = HashSet::new();
    // A number, an id and that in a set, with room to grow.
    let document = 2 * (size_of::<u32>() + 3 * size_of::<i64>());
    for block in blocks(rows) {
        let most = starts.len() + block.len();
        at_least(memory, most.saturating_mul(document), of)?;
        let ids = array.integers(block.clone())?;
        hasher.update(ids.to_byte_slice());
        for (row, id) in block.zip(&ids) {
            if given.last() == Some(id) {
                continue;
            }
            if !seen.insert(*id) {
                return Err(array.invalid(format!(
                    "the rows of a document are required one after the other, got {id} again in row {row}"
                )));
            }
            starts.push(row as u32);
            given.push(*id);
        }
        report.tick()?;
    }
    starts.push(rows as u32);
    Ok((starts, Some(given)))
}

fn check_positions(folder: &mut Folder, starts: &[u32], report: &mut Reporter<'_>) -> Result<()> {
    let Some(array) = &mut folder.pos else {
        return Ok(());
    };
    let mut document = 0;
    for block in blocks(folder.rows) {
        let positions = array.integers(block.clone())?;
        for (row, pos) in block.zip(positions) {
            document += usize::from(starts[document + 1] as usize <= row);
            let expected = (row - starts[document] as usize) as i64;
            if pos != expected {
                return Err(array.invalid(format!(
                    "positions that count from 0 within a document are required, got {pos} in row {row} in place of \
                     {expected}"
                )));
            }
        }
        report.tick()?;
    }
    Ok(())
}

/// Token ids as the store has them.
fn token_ids(array: &mut Array, rows: Range<usize>) -> Result<Vec<i32>> {
    let ids = array.integers(rows.clone())?;
    let narrow = rows.zip(ids).map(|(row, id)| {
        i32::try_from(id).map_err(|_| {
            array.invalid(format!(
                "token ids of 32 bits are required, got {id} in row {row}"
            ))
        })
    });
    narrow.collect()
}

/// The tables `documents` and `tokens` being written.
struct Tables<'a> {
    of: &'a Documents,
    /// The documents' ids in the folder.
    given: Option<Vec<i64>>,
    tokens: TableWriter,
    documents: TableWriter,
    schema: SchemaRef,
    /// Documents written.
    written: usize,
    /// Texts of those after, the last of them not whole.
    texts: Vec<String>,
    /// Bytes of a text at most.
    most: usize,
    /// Of a block of rows and the documents that it ends.
    memory: MemoryReservation,
}

impl<'a> Tables<'a> {
    fn new(
        of: &'a Documents,
        given: Option<Vec<i64>>,
        most: usize,
        memory: MemoryReservation,
        run: &mut RunWriter,
    ) -> Result<Self> {
        // As a corpus's own column of a name that `documents` has.
        let id = given
            .is_some()
            .then(|| Field::new("corpus_doc_id", DataType::Int64, true));
        let schema = document_schema(id.as_slice());
        Ok(Self {
            of,
            given,
            tokens: run.table(Table::Tokens, None, schema::tokens())?,
            documents: run.table(Table::Documents, None, Arc::clone(&schema))?,
            schema,
            written: 0,
            texts: vec![],
            most,
            memory,
        })
    }

    fn write(
        mut self,
        folder: &mut Folder,
        hasher: &mut blake3::Hasher,
        report: &mut Reporter<'_>,
    ) -> Result<()> {
        let mut tokens = match &folder.tokens {
            Some(path) => Some(Tokens::open(path, folder.rows)?),
            None => None,
        };
        // Of their own, so that a hash does not depend on the size of a block.
        let mut of_texts = blake3::Hasher::new();
        for rows in blocks(folder.rows) {
            self.hold(rows.len(), 0)?;
            let ids = match &mut folder.token_id {
                Some(array) => Some(token_ids(array, rows.clone())?),
                None => None,
            };
            if let Some(ids) = &ids {
                hasher.update(ids.to_byte_slice());
            }
            let texts = match &mut tokens {
                Some(tokens) => {
                    Some(tokens.take(rows.len(), &|bytes| self.hold(rows.len(), bytes))?)
                }
                None => None,
            };
            for text in texts.iter().flatten() {
                of_texts.update(text.as_bytes()).update(&[0]);
            }
            self.block(rows, ids, texts)?;
            report.tick()?;
        }
        if let Some(tokens) = tokens {
            tokens.finish()?;
            hasher.update(of_texts.finalize().as_bytes());
        }
        self.write_documents(self.of.len())?;
        self.tokens.finish()?;
        self.documents.finish()
    }

    /// Reserves a block of rows whose tokens have so many bytes: they, their columns and these as they are written; and
    /// the texts so far, these bytes among them, which are columns as they are written.
    fn hold(&self, rows: usize, bytes: usize) -> Result<()> {
        let of_rows = rows * (4 * size_of::<i64>() + size_of::<String>() + 3 * size_of::<i32>());
        let texts: usize = self
            .texts
            .iter()
            .map(|text| text.len() + size_of::<String>())
            .sum();
        let needed = of_rows + 3 * bytes + 3 * (texts + bytes);
        at_least(
            &self.memory,
            needed,
            "a block of rows and the texts of its documents",
        )
    }

    fn block(
        &mut self,
        rows: Range<usize>,
        ids: Option<Vec<i32>>,
        texts: Option<Vec<String>>,
    ) -> Result<()> {
        let starts = &self.of.starts;
        let mut document = starts.partition_point(|start| *start as usize <= rows.start) - 1;
        let (mut doc_ids, mut positions) = (vec![], vec![]);
        for (i, row) in rows.clone().enumerate() {
            document += usize::from(starts[document + 1] as usize <= row);
            doc_ids.push(document as i32);
            positions.push(row as i32 - starts[document] as i32);
            if let Some(texts) = &texts {
                self.texts
                    .resize(document + 1 - self.written, String::new());
                let text = &mut self.texts[document - self.written];
                text.push_str(&texts[i]);
                if text.len() > self.most {
                    return exec_err!(
                        "texts of documents of at most {} bytes are required, got more in document {document}",
                        self.most
                    );
                }
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(doc_ids)),
            Arc::new(Int32Array::from(positions)),
            Arc::new(match ids {
                Some(ids) => Int32Array::from(ids),
                None => Int32Array::new_null(rows.len()),
            }),
            Arc::new(match texts {
                Some(texts) => StringArray::from(texts),
                None => StringArray::new_null(rows.len()),
            }),
        ];
        self.tokens
            .write(&RecordBatch::try_new(schema::tokens(), columns)?)?;
        // The last may go on in the next block.
        self.write_documents(document)
    }

    /// Writes the documents before `end`, some at a time.
    fn write_documents(&mut self, end: usize) -> Result<()> {
        while self.written < end {
            let mut n = 0;
            let mut bytes = 0;
            while self.written + n < end && n < BLOCK_ROWS && bytes < BATCH_BYTES {
                bytes += self.texts.get(n).map_or(0, String::len);
                n += 1;
            }
            let documents = self.written..self.written + n;
            let texts = match self.texts.len() {
                0 => StringArray::new_null(n),
                _ => StringArray::from_iter_values(self.texts.drain(..n)),
            };
            let ids = documents.clone().map(|document| document as i32);
            let lengths = documents.clone().map(|d| self.of.n_tokens(d) as i32);
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from_iter_values(ids)),
                Arc::new(texts),
                Arc::new(Int32Array::from_iter_values(lengths)),
            ];
            columns.extend(no_origins(n));
            if let Some(given) = &self.given {
                columns.push(Arc::new(Int64Array::from(given[documents].to_vec())));
            }
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            self.documents.write(&batch)?;
            self.written += n;
        }
        Ok(())
    }
}
