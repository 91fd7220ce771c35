//! A worksheet, for Excel and its like.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;

use super::writer::{ResultWriter, WriteError};
use crate::files::xlsx::XlsxWriter;

/// One result as a workbook of one sheet.
pub struct WorkbookWriter(Option<XlsxWriter>);

impl WorkbookWriter {
    /// A writer for a result of these columns.
    pub fn new(schema: &Schema) -> Result<Self, WriteError> {
        Ok(Self(Some(XlsxWriter::new(schema)?)))
    }
}

impl ResultWriter for WorkbookWriter {
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
