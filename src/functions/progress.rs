//! The rows of jobs that send documents through something: ingest and import.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;

use crate::jobs::Part;
use crate::runs::Progress;

/// Their columns, as documentation names them.
pub const PROGRESS_COLUMNS: &str = "phase (what is being done, at the end done), documents (read until now), \
              total_documents (NULL where unknown), tokens (read until now), tokens_per_second (of the phase until \
              now), elapsed_seconds (since the job began), message (what there is to say); several rows a second";

/// Their columns.
pub fn progress_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Part::Phase.of(Field::new("phase", DataType::Utf8, false)),
        Part::Done.counting("documents", Field::new("documents", DataType::Int64, false)),
        Part::Total.of(Field::new("total_documents", DataType::Int64, true)),
        Part::Read.counting("tokens", Field::new("tokens", DataType::Int64, false)),
        Part::Rate.counting(
            "tokens",
            Field::new("tokens_per_second", DataType::Float64, false),
        ),
        Part::Seconds.of(Field::new("elapsed_seconds", DataType::Float64, false)),
        Part::Message.of(Field::new("message", DataType::Utf8, false)),
    ]))
}

/// One of them.
pub fn progress_row(progress: &Progress) -> Result<RecordBatch> {
    let total = progress.total_documents.map(|n| n as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![progress.phase])),
        Arc::new(Int64Array::from(vec![progress.documents as i64])),
        Arc::new(Int64Array::from(vec![total])),
        Arc::new(Int64Array::from(vec![progress.tokens as i64])),
        Arc::new(Float64Array::from(vec![progress.tokens_per_second])),
        Arc::new(Float64Array::from(vec![progress.elapsed_seconds])),
        Arc::new(StringArray::from(vec![progress.message.as_str()])),
    ];
    Ok(RecordBatch::try_new(progress_schema(), columns)?)
}
