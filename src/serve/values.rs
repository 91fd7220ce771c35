//! Record batches as PostgreSQL's rows, in its text or its binary form.

use std::sync::Arc;

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch, into_pg_type};
use arrow_pg::encoder::{Encoder, encode_value};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions as Shown};
use datafusion::error::Result;
use pgwire::api::portal::Format;
use pgwire::api::results::{CopyEncoder, FieldInfo};
use pgwire::error::PgWireResult;
use pgwire::messages::copy::CopyData;
use pgwire::messages::data::DataRow;
use pgwire::types::format::FormatOptions;

use super::errors::{refused, state};

/// The columns of an answer as a client is told of them. One of a type that PostgreSQL has none for (a list of lists, a
/// map) is sent as text.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    schema: SchemaRef,
    shown: Arc<Vec<bool>>,
    pub(super) fields: Arc<Vec<FieldInfo>>,
}

/// Refuses formats of another number than what they are for: one for each would be looked for, and panic where there is none.
pub(super) fn require_formats(format: &Format, count: usize, of: &str) -> PgWireResult<()> {
    match format {
        Format::Individual(formats) if formats.len() != count => Err(refused(
            state::PROTOCOL_VIOLATION,
            format!(
                "a format for each of {count} {of}, or one for all, is required, got {}",
                formats.len()
            ),
        )),
        _ => Ok(()),
    }
}

impl Columns {
    pub(super) fn new(schema: &Schema, format: &Format) -> PgWireResult<Self> {
        require_formats(format, schema.fields().len(), "columns")?;
        let shown = schema.fields().iter();
        let shown: Vec<bool> = shown
            .map(|field| into_pg_type(field.data_type()).is_err())
            .collect();
        let fields = schema.fields().iter().zip(&shown);
        let fields: Vec<_> = fields
            .map(|(field, shown)| match shown {
                true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
                false => Arc::clone(field),
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let options = Some(Arc::new(FormatOptions::default()));
        let fields = arrow_schema_to_pg_fields(&schema, format, options)?;
        Ok(Self {
            schema,
            shown: Arc::new(shown),
            fields: Arc::new(fields),
        })
    }

    /// The rows of a batch.
    pub(super) fn rows(
        &self,
        batch: RecordBatch,
    ) -> Result<impl Iterator<Item = PgWireResult<DataRow>> + use<>> {
        let batch = self.sendable(batch)?;
        Ok(encode_recordbatch(Arc::clone(&self.fields), batch))
    }

    /// The rows of a batch as COPY sends them.
    pub(super) fn copied(
        &self,
        batch: RecordBatch,
        encoder: &mut CopyEncoder,
    ) -> Result<PgWireResult<Vec<CopyData>>> {
        let batch = self.sendable(batch)?;
        let schema = batch.schema();
        let row = |row: usize| {
            let columns = batch.columns().iter().zip(schema.fields());
            for ((array, field), sent) in columns.zip(self.fields.iter()) {
                encode_value(encoder, array, row, field, sent)?;
            }
            Ok(Encoder::take_row(encoder))
        };
        Ok((0..batch.num_rows()).map(row).collect())
    }

    fn sendable(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if !self.shown.contains(&true) {
            return Ok(batch);
        }
        let columns = batch.columns().iter().zip(self.shown.iter());
        let columns = columns.map(|(column, shown)| match shown {
            true => as_text(column),
            false => Ok(Arc::clone(column)),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn as_text(column: &ArrayRef) -> Result<ArrayRef> {
    let options = Shown::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = |row: usize| match column.is_null(row) {
        true => Ok(None),
        false => formatter.value(row).try_to_string().map(Some),
    };
    let texts = (0..column.len()).map(text);
    let texts = texts.collect::<std::result::Result<StringArray, _>>()?;
    Ok(Arc::new(texts))
}
