//! JSON and newline-delimited JSON, as the files of COPY hold it.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;

use super::writer::{ResultWriter, WriteError};
use crate::files::json::{JsonArray, lines};

/// One array, one object per line of it.
#[derive(Debug, Default)]
pub struct ArrayWriter(JsonArray);

impl ResultWriter for ArrayWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        out.write_all(&self.0.rows(batch)?)?;
        Ok(())
    }

    fn finish(self: Box<Self>, out: &mut dyn Write) -> Result<(), WriteError> {
        out.write_all(self.0.end())?;
        Ok(())
    }
}

/// One object per line.
#[derive(Debug)]
pub struct LinesWriter;

impl ResultWriter for LinesWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        out.write_all(&lines(batch)?)?;
        Ok(())
    }

    fn finish(self: Box<Self>, _out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(())
    }
}
