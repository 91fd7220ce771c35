//! Batches of a number of rows, and where rows are wide of a number of bytes: 8,192 rows with vectors of 768 numbers are 25 MB,
//! and a plan holds some ten batches at once.

use std::fmt;

use datafusion::arrow::array::Array;
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;

/// Bytes of lists and texts that make a batch, however few its rows are. Chosen, not tuned.
pub const WIDE_BYTES: usize = 4 << 20;

/// Gathers rows to batches.
pub struct BoundedBatches {
    rows: BatchCoalescer,
    /// Columns whose values may be large, and the bytes of theirs that are gathered.
    wide: Vec<usize>,
    bytes: usize,
}

impl fmt::Debug for BoundedBatches {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "BoundedBatches: {} bytes", self.bytes)
    }
}

impl BoundedBatches {
    /// Gathers batches of `rows` rows; batches of half as many pass as they are where `uncopied`.
    pub fn new(schema: SchemaRef, rows: usize, uncopied: bool) -> Self {
        let fields = schema.fields().iter().enumerate();
        let wide = fields.filter(|(_, field)| !field.data_type().is_primitive());
        let wide = wide.map(|(place, _)| place).collect();
        let limit = uncopied.then_some(rows / 2);
        Self {
            rows: BatchCoalescer::new(schema, rows).with_biggest_coalesce_batch_size(limit),
            wide,
            bytes: 0,
        }
    }

    /// Adds rows.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let (n, mut bytes) = (batch.num_rows(), 0);
        for &place in &self.wide {
            bytes += batch.column(place).to_data().get_slice_memory_size()?;
        }
        let parts = bytes.div_ceil(WIDE_BYTES).max(1);
        let rows = n.div_ceil(parts).max(1);
        for start in (0..n).step_by(rows) {
            let part = batch.slice(start, rows.min(n - start));
            self.bytes += bytes / parts;
            self.rows.push_batch(part)?;
            if self.bytes >= WIDE_BYTES {
                self.rows.finish_buffered_batch()?;
                self.bytes = 0;
            }
        }
        Ok(())
    }

    /// Ends the last batch.
    pub fn finish(&mut self) -> Result<()> {
        Ok(self.rows.finish_buffered_batch()?)
    }

    /// The next batch that is whole.
    pub fn next_whole(&mut self) -> Option<RecordBatch> {
        self.rows.next_completed_batch()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int32Array};

    use super::*;
    use crate::arrow::vectors::VectorBuilder;

    fn rows(batch: &RecordBatch, of: usize) -> Vec<i32> {
        let mut gathered = BoundedBatches::new(batch.schema(), of, false);
        for start in (0..batch.num_rows()).step_by(7000) {
            let n = 7000.min(batch.num_rows() - start);
            gathered.push(batch.slice(start, n)).expect("pushed");
        }
        gathered.finish().expect("finished");
        let (mut sizes, mut numbers) = (vec![], vec![]);
        while let Some(batch) = gathered.next_whole() {
            let found = batch.column(0).as_any().downcast_ref::<Int32Array>();
            numbers.extend_from_slice(found.expect("integers").values());
            sizes.push(batch.num_rows() as i32);
        }
        assert!(numbers.into_iter().eq(0..batch.num_rows() as i32));
        sizes
    }

    #[test]
    fn wide_rows_make_smaller_batches() {
        let n = 10_000;
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..n));
        let narrow = RecordBatch::try_from_iter([("n", Arc::clone(&numbers))]).expect("rows");
        assert_eq!(rows(&narrow, 4096), [4096, 4096, 1808]);
        let mut vectors = VectorBuilder::new();
        (0..n).for_each(|_| vectors.append_with(768, |_| ()));
        let vectors: ArrayRef = Arc::new(vectors.finish());
        let wide = RecordBatch::try_from_iter([("n", numbers), ("v", vectors)]).expect("rows");
        let sizes = rows(&wide, 8192);
        let most = (2 * WIDE_BYTES / (768 * 4)) as i32;
        assert!(
            sizes.len() > 5 && sizes.iter().all(|rows| *rows <= most),
            "{sizes:?}"
        );
    }
}
