//! An Arrow IPC file being written, whose footer has the checksums of all that lies before it: other readers of Arrow read it
//! as any.

use std::io::{BufWriter, IntoInnerError, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::FileWriter;

use crate::files::checksums::{Summed, Tail};

/// What the checksums are called in a footer's metadata.
pub(super) const SUMS: &str = "polysema.checksums";

/// The file.
pub(super) struct ArrowWriter<F: Write> {
    writer: FileWriter<Summed<BufWriter<F>>>,
}

impl<F: Write> ArrowWriter<F> {
    /// Begins it.
    pub fn new(file: F, schema: &Schema) -> Result<Self, ArrowError> {
        let writer = FileWriter::try_new(Summed::new(BufWriter::new(file)), schema)?;
        Ok(Self { writer })
    }

    /// Appends a record batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.writer.write(batch)
    }

    /// Ends it: the file, which is not on disk yet, and its tail.
    pub fn finish(mut self) -> Result<(F, Tail), ArrowError> {
        let sums = self.writer.get_mut().begin_tail();
        self.writer.write_metadata(SUMS, sums);
        self.writer.finish()?;
        let (buffer, tail) = self.writer.into_inner()?.into_inner();
        let file = buffer.into_inner().map_err(IntoInnerError::into_error)?;
        Ok((file, tail))
    }
}
