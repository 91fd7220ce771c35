//! CSV and markdown: one line per row, written as batches arrive.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;

use super::value::{Lists, display, is_number, visible};
use super::writer::{ResultWriter, WriteError};
use crate::files::csv::CsvDialect;

/// CSV with a header.
#[derive(Debug)]
pub struct CsvWriter {
    dialect: CsvDialect,
    head: Option<String>,
}

impl CsvWriter {
    /// A writer for a result of these columns.
    pub fn new(schema: &Schema, dialect: CsvDialect) -> Self {
        CsvWriter {
            head: Some(dialect.head(schema)),
            dialect,
        }
    }
}

impl ResultWriter for CsvWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        let head = self.head.take().unwrap_or_default();
        let rows = self.dialect.rows(batch)?;
        out.write_all((head + &rows).as_bytes())?;
        Ok(())
    }

    fn finish(self: Box<Self>, out: &mut dyn Write) -> Result<(), WriteError> {
        let head = self.head.unwrap_or_default();
        out.write_all(head.as_bytes())?;
        Ok(())
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
        let names = line(
            schema
                .fields()
                .iter()
                .map(|field| escape(&visible(field.name()))),
        );
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

    fn finish(self: Box<Self>, out: &mut dyn Write) -> Result<(), WriteError> {
        if let Some(head) = self.head {
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
