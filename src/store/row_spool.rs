//! Rows that wait on disk for an order: written once, then taken in any.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::interleave_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

use super::file::TableFile;
use crate::files::disk::{self, DiskFile};
use crate::files::file_error;

/// Rows of a batch: all of one is checked for one of its rows. Chosen, not tuned.
const BATCH_ROWS: usize = 64;

/// Rows being written to a file of their own.
pub struct RowSpool {
    path: PathBuf,
    writer: FileWriter<BufWriter<DiskFile>>,
}

impl RowSpool {
    /// Begins a file of this name in a folder.
    pub fn create(folder: &Path, name: &str, schema: &SchemaRef) -> Result<Self> {
        let path = folder.join(name);
        let file = disk::create_new(&path).map_err(|e| file_error("create", &path, e))?;
        let writer = FileWriter::try_new(BufWriter::new(file), schema);
        let writer = writer.map_err(|e| file_error("write", &path, e))?;
        Ok(Self { path, writer })
    }

    /// The rows' columns.
    pub fn schema(&self) -> SchemaRef {
        std::sync::Arc::clone(self.writer.schema())
    }

    /// Adds rows.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for first in (0..rows.num_rows()).step_by(BATCH_ROWS) {
            let part = rows.slice(first, BATCH_ROWS.min(rows.num_rows() - first));
            let written = self.writer.write(&part);
            written.map_err(|e| file_error("write", &self.path, e))?;
        }
        Ok(())
    }

    /// Ends writing: the rows can be taken.
    pub fn finish(mut self) -> Result<SpooledRows> {
        let path = &self.path;
        let finished = self.writer.finish();
        finished.map_err(|e| file_error("write", path, e))?;
        drop(self.writer);
        let file = TableFile::open_alone(path)?;
        let mut ends = vec![];
        for rows in file.rows() {
            ends.push(ends.last().unwrap_or(&0) + *rows as usize);
        }
        Ok(SpooledRows { file, ends })
    }
}

/// Rows that were written.
#[derive(Debug)]
pub struct SpooledRows {
    file: TableFile,
    /// The row after the last of each batch.
    ends: Vec<usize>,
}

impl SpooledRows {
    /// Their columns.
    pub fn schema(&self) -> SchemaRef {
        std::sync::Arc::clone(self.file.schema())
    }

    /// Some rows, in this order.
    pub fn take(&self, rows: &[u32]) -> Result<RecordBatch> {
        let columns: Vec<usize> = (0..self.file.schema().fields().len()).collect();
        let (mut places, mut batches) = (BTreeMap::new(), vec![]);
        let mut indices = Vec::with_capacity(rows.len());
        for row in rows {
            let row = *row as usize;
            let batch = self.ends.partition_point(|end| *end <= row);
            let Some(end) = self.ends.get(batch) else {
                return Err(exec_datafusion_err!(
                    "a row that was written is required, got {row}"
                ));
            };
            let first = end - self.file.rows()[batch] as usize;
            let place = match places.get(&batch) {
                Some(place) => *place,
                None => {
                    batches.push(self.file.read(batch, &columns)?);
                    *places.entry(batch).or_insert(batches.len() - 1)
                }
            };
            indices.push((place, row - first));
        }
        let batches: Vec<_> = batches.iter().collect();
        Ok(interleave_record_batch(&batches, &indices)?)
    }
}
