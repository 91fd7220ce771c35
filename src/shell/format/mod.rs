//! Results as text: one writer per format, each fed batch by batch so that a result is never held whole.

mod delimited;
mod json;
mod layout;
mod table;
pub mod value;
mod writer;

use std::path::Path;

use clap::ValueEnum;
use datafusion::arrow::datatypes::Schema;

pub use layout::{Expanded, Layout};
pub use writer::{ResultWriter, WriteError};

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

    /// The one that a file's ending names.
    pub fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            "md" => Some(Format::Markdown),
            _ => None,
        }
    }
}

impl Layout {
    /// The writer of one result.
    pub fn writer(self, schema: &Schema) -> Box<dyn ResultWriter> {
        match self.format {
            Format::Table if table::is_plan(schema) => Box::new(table::PlanWriter),
            Format::Table => Box::new(table::AlignedTable::new(schema, self)),
            Format::Csv => Box::new(delimited::CsvWriter::new(schema)),
            Format::Json => Box::new(json::ArrayWriter::default()),
            Format::Ndjson => Box::new(json::LinesWriter),
            Format::Markdown => Box::new(delimited::MarkdownWriter::new(schema)),
        }
    }
}
