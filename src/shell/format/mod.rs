//! Results as text: one writer per format, each fed batch by batch so that a result is never held whole.

mod delimited;
mod json;
mod table;
pub mod value;

use std::io::{self, Write};

use clap::ValueEnum;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;

/// The text form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, shortened for reading.
    Table,
    /// Comma-separated values with a header (RFC 4180); nested values as JSON text.
    Csv,
    /// One array of objects.
    Json,
    /// One object per line.
    Ndjson,
    /// A markdown table.
    Markdown,
}

impl Format {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Markdown => "markdown",
        }
    }

    /// The writer of one result. `width` is the terminal's, where the result goes to one.
    pub fn writer(self, schema: &Schema, width: Option<usize>) -> Box<dyn ResultWriter> {
        match self {
            Format::Table if table::is_plan(schema) => Box::new(table::PlanWriter),
            Format::Table => Box::new(table::TableWriter::new(schema, width)),
            Format::Csv => Box::new(delimited::CsvWriter::new(schema)),
            Format::Json => Box::new(json::ArrayWriter::default()),
            Format::Ndjson => Box::new(json::LinesWriter),
            Format::Markdown => Box::new(delimited::MarkdownWriter::new(schema)),
        }
    }
}

/// Writes one result: any number of batches, then `finish`, which is called exactly once after a success.
pub trait ResultWriter {
    /// Writes the rows of a batch, or keeps them where the format has to see more first.
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError>;
    /// Writes what is left.
    fn finish(&mut self, out: &mut dyn Write) -> Result<(), WriteError>;
}

/// Why a result could not be written.
#[derive(Debug)]
pub enum WriteError {
    /// The output is closed or full.
    Io(io::Error),
    /// A value has no text form.
    Value(ArrowError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        WriteError::Io(error)
    }
}

impl From<ArrowError> for WriteError {
    fn from(error: ArrowError) -> Self {
        WriteError::Value(error)
    }
}
