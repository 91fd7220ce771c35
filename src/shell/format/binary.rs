//! The forms that are not text: Parquet and Arrow, as a file or a program reads them, and a worksheet.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;

use super::writer::{ResultWriter, WriteError};
use crate::files::columnar::ColumnarWriter;
use crate::files::xlsx::XlsxWriter;

impl ResultWriter for ColumnarWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(out.write_all(&self.rows(batch)?)?)
    }

    fn finish(self: Box<Self>, out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(out.write_all(&self.end()?)?)
    }
}

impl ResultWriter for XlsxWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(out.write_all(&self.rows(batch)?)?)
    }

    fn finish(self: Box<Self>, out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(out.write_all(&self.end()?)?)
    }
}
