//! JSON and newline-delimited JSON, as the files of COPY hold it.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;

use super::writer::{ResultWriter, WriteError};
use crate::files::json::lines;

/// One array, one object per line of it.
#[derive(Debug, Default)]
pub struct ArrayWriter {
    started: bool,
}

impl ResultWriter for ArrayWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        for object in lines(batch)?
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            out.write_all(if self.started { b",\n" } else { b"[\n" })?;
            out.write_all(object)?;
            self.started = true;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        out.write_all(if self.started { b"\n]\n" } else { b"[]\n" })?;
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

    fn finish(&mut self, _out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(())
    }
}
