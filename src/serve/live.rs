//! Tables of the catalogue that are made when they are read: a line a column, from whatever a row is about.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, RecordBatch, RecordBatchOptions,
    StringArray, new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion_pg_catalog::pg_catalog::oid_field::{kind, oid_field};
use futures::future::BoxFuture;

/// What a column has of a row.
pub(super) enum LiveValue<R> {
    Text(for<'a> fn(&'a R) -> Option<&'a str>),
    Flag(fn(&R) -> Option<bool>),
    Short(fn(&R) -> Option<i16>),
    Int(fn(&R) -> Option<i32>),
    Real(fn(&R) -> Option<f32>),
    /// The number of an object.
    Oid(fn(&R) -> Option<i32>),
    /// NULL, of this type.
    Null(&'static str),
}

/// A column: its name, and what it has.
pub(super) type LiveColumn<R> = (&'static str, LiveValue<R>);

fn field<R>((name, value): &LiveColumn<R>) -> Field {
    let kind = match value {
        LiveValue::Oid(_) => return oid_field(*name, kind::OID, true),
        LiveValue::Text(_) => DataType::Utf8,
        LiveValue::Flag(_) => DataType::Boolean,
        LiveValue::Short(_) => DataType::Int16,
        LiveValue::Int(_) => DataType::Int32,
        LiveValue::Real(_) => DataType::Float32,
        LiveValue::Null(kind) => arrow_type(kind),
    };
    Field::new(*name, kind, true)
}

/// The columns of a table.
pub(super) fn schema<R>(columns: &[LiveColumn<R>]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(field).collect::<Vec<Field>>(),
    ))
}

/// Its rows.
pub(super) fn batch<R>(columns: &[LiveColumn<R>], rows: &[R]) -> Result<RecordBatch> {
    let array = |(_, value): &LiveColumn<R>| -> ArrayRef {
        match value {
            LiveValue::Text(of) => Arc::new(rows.iter().map(of).collect::<StringArray>()),
            LiveValue::Flag(of) => Arc::new(rows.iter().map(of).collect::<BooleanArray>()),
            LiveValue::Short(of) => Arc::new(rows.iter().map(of).collect::<Int16Array>()),
            LiveValue::Int(of) | LiveValue::Oid(of) => {
                Arc::new(rows.iter().map(of).collect::<Int32Array>())
            }
            LiveValue::Real(of) => Arc::new(rows.iter().map(of).collect::<Float32Array>()),
            LiveValue::Null(kind) => new_null_array(&arrow_type(kind), rows.len()),
        }
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(
        schema(columns),
        columns.iter().map(array).collect(),
        &options,
    )?)
}

/// How a table's rows are made, each time that it is read.
type Make = dyn Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync;

struct LiveRows {
    schema: SchemaRef,
    make: Box<Make>,
}

impl Debug for LiveRows {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LiveRows").field(&self.schema).finish()
    }
}

impl PartitionStream for LiveRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = futures::stream::once((self.make)());
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        ))
    }
}

/// A table of these columns, with the rows of now.
pub(super) fn live_table(
    schema: SchemaRef,
    make: impl Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync + 'static,
) -> Result<Arc<dyn TableProvider>> {
    let rows = LiveRows {
        schema: Arc::clone(&schema),
        make: Box::new(make),
    };
    Ok(Arc::new(StreamingTable::try_new(
        schema,
        vec![Arc::new(rows)],
    )?))
}

/// As [`live_table`], from the rows that `of` makes.
pub(super) fn table_of<R: Send + 'static>(
    columns: &'static [LiveColumn<R>],
    of: impl Fn() -> BoxFuture<'static, Result<Vec<R>>> + Send + Sync + 'static,
) -> Result<Arc<dyn TableProvider>> {
    live_table(schema(columns), move || {
        let rows = of();
        Box::pin(async move { batch(columns, &rows.await?) })
    })
}

/// The one of these tables without rows that has this name; their columns are written as `name type, ...`.
pub(super) fn empty_table(
    tables: &[(&str, &str)],
    name: &str,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let found = tables.iter().find(|(empty, _)| *empty == name);
    found.map(|(_, columns)| of_columns(columns)).transpose()
}

fn of_columns(columns: &str) -> Result<Arc<dyn TableProvider>> {
    let field = |column: &str| {
        let (name, kind) = column
            .trim()
            .split_once(' ')
            .unwrap_or((column.trim(), "text"));
        match kind {
            "oid" => oid_field(name, kind::OID, true),
            kind => Field::new(name, arrow_type(kind), true),
        }
    };
    let fields: Vec<Field> = columns.split(',').map(field).collect();
    let schema = Arc::new(Schema::new(fields));
    let empty = RecordBatch::new_empty(Arc::clone(&schema));
    live_table(schema, move || {
        let empty = empty.clone();
        Box::pin(async move { Ok(empty) })
    })
}

fn arrow_type(name: &str) -> DataType {
    match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "int2[]" => DataType::new_list(DataType::Int16, true),
        "oid[]" => DataType::new_list(DataType::Int32, true),
        "text[]" => DataType::new_list(DataType::Utf8, true),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => DataType::Utf8,
    }
}
