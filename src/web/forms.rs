//! The forms in which HTTP gives rows: as the shell prints them, or as Arrow's stream.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::error::Result;

use crate::files::csv::CsvDialect;
use crate::files::json::{self, JsonArray};

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Arrow,
    Json,
    Lines,
    Csv,
}

impl Form {
    pub(crate) const ALL: [Self; 4] = [Self::Json, Self::Arrow, Self::Csv, Self::Lines];

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }

    /// The first of those that an `Accept` names which is known.
    pub(crate) fn accepted(accept: &str) -> Option<Self> {
        let kinds = accept
            .split(',')
            .map(|kind| kind.split(';').next().unwrap_or_default().trim());
        kinds.into_iter().find_map(|kind| match kind {
            "*/*" | "application/*" => Some(Self::Json),
            kind => Self::ALL.into_iter().find(|form| form.kind() == kind),
        })
    }

    pub(crate) fn writer(self, schema: &SchemaRef) -> Result<Writer> {
        Ok(match self {
            Self::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(vec![], schema)?)),
            Self::Json => Writer::Json(JsonArray::default()),
            Self::Lines => Writer::Lines,
            Self::Csv => Writer::Csv {
                dialect: CsvDialect::default(),
                head: Some(CsvDialect::default().head(schema)),
            },
        })
    }
}

/// What makes bytes of batches.
pub(crate) enum Writer {
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Json(JsonArray),
    Lines,
    Csv {
        dialect: CsvDialect,
        head: Option<String>,
    },
}

impl Writer {
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Arrow(writer) => {
                writer.write(batch)?;
                std::mem::take(writer.get_mut())
            }
            Self::Lines => json::lines(batch)?,
            Self::Json(array) => array.rows(batch)?,
            Self::Csv { dialect, head } => {
                let mut text = head.take().unwrap_or_default();
                text.push_str(&dialect.rows(batch)?);
                text.into_bytes()
            }
        })
    }

    pub(crate) fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Arrow(writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut())
            }
            Self::Lines => vec![],
            Self::Json(array) => array.end().to_vec(),
            Self::Csv { head, .. } => head.take().unwrap_or_default().into_bytes(),
        })
    }
}
