//! Documents in a random order: all are cut first, then taken from disk in the order of a seed. In memory are two numbers
//! a document.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::random::Random;
use polysema_udfs::arrow::memory::at_least;

use super::chunker::Limits;
use super::documents::{Advance, Documents, Target};
use super::tables::RunTables;
use crate::files::spool::Spool;
use crate::models::Tokenizer;
use crate::store::SpooledRows;

/// Documents that are taken and written at once. Chosen, not tuned.
const DOCUMENTS: usize = 512;

/// Documents in the order of the corpus.
pub(super) struct Unordered {
    pub(super) documents: Documents,
    pub(super) ids: Spool,
    /// Their rows of `documents`, where these are written.
    pub(super) rows: Option<SpooledRows>,
}

impl Unordered {
    /// The first of them in the order of the seed, as many as the limits admit.
    pub(super) fn shuffled(
        self,
        seed: u64,
        limits: Limits,
        tokenizer: Option<&Tokenizer>,
        memory: &MemoryReservation,
        target: &mut Target<'_>,
        advance: &mut Advance<'_>,
    ) -> Result<(Documents, Spool)> {
        let n = self.documents.len();
        let bytes = memory.size() + (2 * n + 1) * size_of::<u32>();
        at_least(memory, bytes, format_args!("the order of {n} documents"))?;
        let mut order: Vec<u32> = (0..n as u32).collect();
        Random::new(seed).shuffle(&mut order);
        let mut starts = vec![0];
        let mut total = 0;
        for document in &order {
            let n_tokens = self.documents.n_tokens(*document as usize);
            if !limits.admit(starts.len() - 1, total, n_tokens) {
                break;
            }
            total += n_tokens;
            starts.push(total as u32);
        }
        order.truncate(starts.len() - 1);
        let mut ids = Spool::create(target.scratch(), "ordered ids", 1)?;
        let mut tables = match (target, &self.rows) {
            (Target::Run(run), Some(rows)) => Some(RunTables::new(&rows.schema(), run)?),
            _ => None,
        };
        let mut next = 0;
        for documents in order.chunks(DOCUMENTS) {
            if let (Some(tables), Some(rows)) = (&mut tables, &self.rows) {
                tables.write_documents(&numbered(next, &rows.take(documents)?)?)?;
            }
            for document in documents {
                let start = self.documents.starts[*document as usize] as usize;
                let n_tokens = self.documents.n_tokens(*document as usize);
                let of_document = self.ids.read::<u32>(start, n_tokens)?;
                ids.append(of_document)?;
                if let Some(tables) = &mut tables {
                    tables.add_tokens(next, of_document, tokenizer)?;
                }
                next += 1;
            }
            advance(0, 0)?;
        }
        if let Some(tables) = tables {
            tables.finish()?;
        }
        ids.flush()?;
        let closing = self.documents.closing;
        Ok((Documents { starts, closing }, ids))
    }
}

/// Rows of `documents` numbered from `first` on.
fn numbered(first: i32, rows: &RecordBatch) -> Result<RecordBatch> {
    let last = first + rows.num_rows() as i32;
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns[0] = Arc::new(Int32Array::from_iter_values(first..last));
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}
