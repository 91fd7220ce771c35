//! Parquet and Arrow, as a file or a program reads them.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;

use super::writer::{ResultWriter, WriteError};
use crate::files::columnar::{Columnar, ColumnarWriter};

/// One result in such a form.
pub struct BinaryWriter(Option<ColumnarWriter>);

impl BinaryWriter {
    /// A writer for a result of these columns.
    pub fn new(form: Columnar, schema: &Schema) -> Result<Self, WriteError> {
        Ok(Self(Some(ColumnarWriter::new(form, schema)?)))
    }
}

impl ResultWriter for BinaryWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        if let Some(writer) = &mut self.0 {
            out.write_all(&writer.rows(batch)?)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        if let Some(writer) = self.0.take() {
            out.write_all(&writer.end()?)?;
        }
        Ok(())
    }
}
