//! CSV and markdown: one line per row, written as batches arrive.

use std::io::Write;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::json::json_texts;
use super::value::{Lists, display, is_number};
use super::writer::{ResultWriter, WriteError};

/// RFC 4180 with nested values as JSON text. NULL is nothing and an empty text `""`, as in PostgreSQL and DuckDB.
#[derive(Debug)]
pub struct CsvWriter {
    head: Option<String>,
}

impl CsvWriter {
    /// A writer for a result of these columns.
    pub fn new(schema: &Schema) -> Self {
        let names = schema.fields().iter().map(|field| quoted(field.name()));
        CsvWriter {
            head: Some(record(names)),
        }
    }
}

impl ResultWriter for CsvWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        let schema = batch.schema();
        let fields = schema.fields().iter();
        let columns: Vec<_> = fields
            .zip(batch.columns())
            .map(texts)
            .collect::<Result<_, _>>()?;
        let mut text = self.head.take().unwrap_or_default();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column[row].as_deref());
            text += &record(cells.map(|cell| cell.map(quoted).unwrap_or_default()));
        }
        out.write_all(text.as_bytes())?;
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        let head = self.head.take().unwrap_or_default();
        out.write_all(head.as_bytes())?;
        Ok(())
    }
}

/// A column as texts in full precision, `None` for NULL.
fn texts((field, column): (&FieldRef, &ArrayRef)) -> Result<Vec<Option<String>>, ArrowError> {
    if field.data_type().is_nested() {
        return json_texts(field, column);
    }
    let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default())?;
    let nulls = column.logical_nulls();
    (0..column.len())
        .map(
            |row| match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                true => Ok(None),
                false => formatter.value(row).try_to_string().map(Some),
            },
        )
        .collect()
}

fn record(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(",") + "\n"
}

/// A cell, in quotes where it would not be read back as it is.
fn quoted(cell: &str) -> String {
    match cell.is_empty() || cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_string(),
    }
}

/// A markdown table; pipes are escaped, numbers aligned to the right by the rule line.
#[derive(Debug)]
pub struct MarkdownWriter {
    head: Option<String>,
}

impl MarkdownWriter {
    /// A writer for a result of these columns.
    pub fn new(schema: &Schema) -> Self {
        let names = line(schema.fields().iter().map(|field| escape(field.name())));
        let rules = line(schema.fields().iter().map(|field| {
            if is_number(field.data_type()) {
                "---:".to_string()
            } else {
                "---".to_string()
            }
        }));
        MarkdownWriter {
            head: Some(names + &rules),
        }
    }
}

impl ResultWriter for MarkdownWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        let mut text = self.head.take().unwrap_or_default();
        for row in 0..batch.num_rows() {
            let cells: Result<Vec<String>, ArrowError> = batch
                .columns()
                .iter()
                .map(|column| Ok(escape(&display(column, row, Lists::Whole)?)))
                .collect();
            text.push_str(&line(cells?.into_iter()));
        }
        out.write_all(text.as_bytes())?;
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        if let Some(head) = self.head.take() {
            out.write_all(head.as_bytes())?;
        }
        Ok(())
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {} |\n", cells.join(" | "))
}

fn escape(cell: &str) -> String {
    cell.replace('|', "\\|")
}
