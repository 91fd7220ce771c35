//! Which columns of a job's rows tell how far it is: said in their metadata, so that whoever shows the rows knows them
//! for progress and takes no table of the same names for it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

/// The key under which a column says its part.
const PART: &str = "polysema.progress";
/// The key under which a count says what it counts.
const UNIT: &str = "polysema.unit";

/// What a column of progress tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The word for what is being done.
    Phase,
    /// How many units are done.
    Done,
    /// How many there are, once that is known.
    Total,
    /// How many smaller units were read.
    Read,
    /// How many of these a second.
    Rate,
    /// How well a training does.
    Loss,
    /// Seconds since the beginning.
    Seconds,
    /// A sentence for people.
    Message,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Phase => "phase",
            Part::Done => "done",
            Part::Total => "total",
            Part::Read => "read",
            Part::Rate => "rate",
            Part::Loss => "loss",
            Part::Seconds => "seconds",
            Part::Message => "message",
        }
    }

    /// The column as this part of its row's progress.
    pub fn of(self, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        metadata.insert(PART.to_string(), self.name().to_string());
        field.with_metadata(metadata)
    }

    /// The same for a count of something.
    pub fn counting(self, unit: &str, field: Field) -> Field {
        let mut field = self.of(field);
        field
            .metadata_mut()
            .insert(UNIT.to_string(), unit.to_string());
        field
    }

    /// The column of this part.
    pub fn column(self, schema: &Schema) -> Option<usize> {
        let part = |field: &Field| field.metadata().get(PART).is_some_and(|p| p == self.name());
        schema.fields().iter().position(|field| part(field))
    }

    /// What its column counts.
    pub fn unit(self, schema: &Schema) -> Option<&str> {
        let field = schema.field(self.column(schema)?);
        field.metadata().get(UNIT).map(String::as_str)
    }

    /// The number its column has in a row.
    pub fn number(self, batch: &RecordBatch, row: usize) -> Option<f64> {
        let column = batch.column(self.column(&batch.schema())?);
        let column = cast(column, &DataType::Float64).ok()?;
        column
            .is_valid(row)
            .then(|| column.as_primitive::<Float64Type>().value(row))
    }

    /// The text its column has in a row.
    pub fn text(self, batch: &RecordBatch, row: usize) -> Option<String> {
        let column = cast(batch.column(self.column(&batch.schema())?), &DataType::Utf8).ok()?;
        column
            .is_valid(row)
            .then(|| column.as_string::<i32>().value(row).to_string())
    }
}

/// Rows that no job sends as rows of their own: a table that was made of a job's rows keeps their metadata, and is not its
/// progress.
pub fn not_progress(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let sent = rows.schema();
    if !is_progress(&sent) {
        return rows;
    }
    let fields = sent.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.retain(|key, _| key != PART && key != UNIT);
        field.as_ref().clone().with_metadata(metadata)
    });
    let fields: Vec<_> = fields.collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, sent.metadata().clone()));
    let own = Arc::clone(&schema);
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        let own = Arc::clone(&own);
        Ok(RecordBatch::try_new_with_options(own, columns, &options)?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// Whether rows are the progress of a job: enough of its columns are there to show it.
pub fn is_progress(schema: &Schema) -> bool {
    let needed = [Part::Done, Part::Rate, Part::Seconds, Part::Message];
    needed.iter().all(|part| part.column(schema).is_some())
}
