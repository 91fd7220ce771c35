//! Results in every form: one writer per format, each fed batch by batch so that a result is never held whole.

mod binary;
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

use crate::files::columnar::{Columnar, ColumnarWriter};
use crate::files::csv::CsvDialect;
use crate::files::xlsx::XlsxWriter;

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, shortened for reading.
    Table,
    /// Comma-separated values with a header (RFC 4180); nested values as JSON text.
    Csv,
    /// The same with tabs.
    Tsv,
    /// One array of objects.
    Json,
    /// One object per line.
    Ndjson,
    /// A markdown table.
    Markdown,
    /// Apache Parquet; for one result, in a file or a pipe.
    Parquet,
    /// An Arrow IPC file (.arrow); for one result, in a file or a pipe.
    Arrow,
    /// An Arrow IPC stream (.arrows); for one result, in a file or a pipe.
    Arrows,
    /// A worksheet for Excel and its like; for one result, in a file or a pipe.
    Xlsx,
}

/// Endings of files that people take for a form of results, and what is written in their place.
const NOT_WRITTEN: [(&[&str], &str); 3] = [
    (
        &["gz", "zst", "bz2", "xz", "zip"],
        "\\o | gzip > FILE compresses",
    ),
    (&["xls", "ods", "feather", "orc", "avro"], "another form"),
    (
        &["db", "sqlite", "duckdb"],
        "\\o | PROGRAM fills a database",
    ),
];

impl Format {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Markdown => "markdown",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::Arrows => "arrows",
            Format::Xlsx => "xlsx",
        }
    }

    /// The names of all.
    pub fn names() -> Vec<&'static str> {
        Format::value_variants().iter().map(|f| f.name()).collect()
    }

    /// Whether a second result may stand behind a first one, and a terminal shows it.
    pub fn is_text(self) -> bool {
        !matches!(
            self,
            Format::Parquet | Format::Arrow | Format::Arrows | Format::Xlsx
        )
    }

    /// The one that a file's ending names; none where it names no form.
    ///
    /// Errors: it names one that is not written.
    pub fn of_file(path: &Path) -> Result<Option<Self>, String> {
        let Some(ending) = path.extension().and_then(|ending| ending.to_str()) else {
            return Ok(None);
        };
        let ending = ending.to_lowercase();
        if let Some((_, format)) = ENDINGS.iter().find(|(known, _)| *known == ending) {
            return Ok(Some(*format));
        }
        let mut not_written = NOT_WRITTEN.iter();
        match not_written.find(|(endings, _)| endings.contains(&ending.as_str())) {
            Some((_, instead)) => Err(format!(
                "a form that is written is required ({}), got .{ending} ({instead})",
                ENDINGS.map(|(known, _)| format!(".{known}")).join(", ")
            )),
            None => Ok(None),
        }
    }
}

/// The endings that name a form.
const ENDINGS: [(&str, Format); 10] = [
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("json", Format::Json),
    ("ndjson", Format::Ndjson),
    ("jsonl", Format::Ndjson),
    ("md", Format::Markdown),
    ("parquet", Format::Parquet),
    ("arrow", Format::Arrow),
    ("arrows", Format::Arrows),
    ("xlsx", Format::Xlsx),
];

impl Layout {
    /// The writer of one result.
    ///
    /// Errors: the form has no such columns.
    pub fn writer(self, schema: &Schema) -> Result<Box<dyn ResultWriter>, WriteError> {
        let columnar = |form| ColumnarWriter::new(form, schema).map(Box::new);
        Ok(match self.format {
            Format::Xlsx => Box::new(XlsxWriter::new(schema)?),
            Format::Table if table::is_plan(schema) => Box::new(table::PlanWriter),
            Format::Csv => Box::new(delimited::CsvWriter::new(schema, CsvDialect::default())),
            Format::Tsv => Box::new(delimited::CsvWriter::new(schema, CsvDialect::tabs())),
            Format::Json => Box::new(json::ArrayWriter::default()),
            Format::Ndjson => Box::new(json::LinesWriter),
            Format::Markdown => Box::new(delimited::MarkdownWriter::new(schema)),
            Format::Table => Box::new(table::AlignedTable::new(schema, self)),
            Format::Parquet => columnar(Columnar::Parquet)?,
            Format::Arrow => columnar(Columnar::ArrowFile)?,
            Format::Arrows => columnar(Columnar::ArrowStream)?,
        })
    }
}
