//! CSV and markdown: one line per row, written as batches arrive.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::csv::WriterBuilder;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;

use super::json::json_texts;
use super::value::{Lists, display, is_number};
use super::writer::{ResultWriter, WriteError};

/// RFC 4180 by arrow's writer, which knows no nested types: those columns become JSON text first.
#[derive(Debug)]
pub struct CsvWriter {
    schema: Schema,
    header: bool,
}

impl CsvWriter {
    /// A writer for a result of these columns.
    pub fn new(schema: &Schema) -> Self {
        CsvWriter {
            schema: schema.clone(),
            header: true,
        }
    }
}

impl ResultWriter for CsvWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        let flat = flatten(batch)?;
        let mut writer = WriterBuilder::new()
            .with_header(self.header)
            .build(Vec::new());
        writer.write(&flat)?;
        self.header = false;
        out.write_all(&writer.into_inner())?;
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        if self.header {
            let empty = RecordBatch::new_empty(Arc::new(self.schema.clone()));
            self.write(&empty, out)?;
        }
        Ok(())
    }
}

fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(StringArray::from(json_texts(field, column)?)));
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
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
