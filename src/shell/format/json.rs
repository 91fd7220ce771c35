//! JSON and newline-delimited JSON by arrow's encoder: full precision, NULL and NaN as null, nested values nested.

use std::io::Write;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{EncoderOptions, LineDelimited, WriterBuilder, make_encoder};

use super::writer::{ResultWriter, WriteError};

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

/// Every value of a nested column as JSON text, `None` for NULL.
pub fn json_texts(field: &FieldRef, array: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, array.as_ref(), &options)?;
    (0..array.len())
        .map(|row| {
            if encoder.is_null(row) {
                return Ok(None);
            }
            let mut text = Vec::new();
            encoder.encode(row, &mut text);
            let text = String::from_utf8(text)
                .map_err(|error| ArrowError::JsonError(error.to_string()))?;
            Ok(Some(text))
        })
        .collect()
}

/// The rows of a batch, one object per line; a newline inside a string is escaped, so lines are rows.
fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}
