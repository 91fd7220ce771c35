//! Rows of record batches: of Parquet and Arrow files, of a table or a query.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use polysema_udfs::arrow::memory::at_least;

use super::row_batch::{Contents, RowBatch};
use crate::files::guarded::guarded;
use crate::files::{file_error, regular};

/// Rows that are read at once: books may be rows.
const ROWS: usize = 256;

/// What a schema says: whether rows hold token ids, and the other columns.
pub(super) fn survey(schema: &Schema, column: &str, of: &str) -> Result<(bool, Vec<Field>)> {
    let mut named = schema.fields().iter().filter(|f| f.name() == column);
    let Some(text) = named.next() else {
        let known: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        return exec_err!(
            "{of} requires the text column '{column}', got the columns {}",
            known.join(", ")
        );
    };
    let of_ids = match unpacked(text.data_type()) {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => false,
        // Text whose writer did not say so.
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => false,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
            if item.data_type().is_integer() =>
        {
            true
        }
        other => {
            return exec_err!(
                "{of} requires strings or lists of token ids in column '{column}', got {other}"
            );
        }
    };
    if named.next().is_some() {
        return exec_err!("{of} requires one column '{column}', got several");
    }
    let others = schema.fields().iter().filter(|f| f.name() != column);
    let fields = others.map(|f| Field::new(f.name(), unpacked(f.data_type()).clone(), true));
    Ok((of_ids, fields.collect()))
}

/// What a dictionary holds: stored files have no dictionaries.
fn unpacked(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, values) => values,
        _ => kind,
    }
}

/// The batches of a Parquet file.
struct ParquetBatches {
    reader: ParquetRecordBatchReader,
    memory: MemoryReservation,
    of: String,
    /// What a batch takes on average in the row group of the longest rows.
    average: usize,
}

/// The batches of a Parquet file and their schema.
pub(super) fn parquet(
    path: &Path,
    memory: MemoryReservation,
) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>> + use<>)> {
    let failed = |e| file_error("read", path, e);
    let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
    let builder = decoded(path, || ParquetRecordBatchReaderBuilder::try_new(file))?;
    let builder = builder.map_err(failed)?;
    let groups = builder.metadata().row_groups().iter();
    let averages = groups.map(|group| {
        let rows = group.num_rows().max(1);
        group.total_byte_size() / rows * rows.min(ROWS as i64)
    });
    let average = averages.max().map_or(0, |bytes| bytes.max(0) as usize);
    let schema = Arc::clone(builder.schema());
    let reader = decoded(path, || builder.with_batch_size(ROWS).build())?.map_err(failed)?;
    let of = path.display().to_string();
    let batches = ParquetBatches {
        reader,
        memory,
        of,
        average,
    };
    Ok((schema, batches))
}

impl Iterator for ParquetBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(refused) = hold(&self.memory, self.average, &self.of) {
            return Some(Err(refused));
        }
        let path = Path::new(&self.of);
        match decoded(path, || self.reader.next()) {
            Ok(batch) => Some(batch?.map_err(|e| file_error("read", path, e))),
            Err(error) => Some(Err(error)),
        }
    }
}

/// What Parquet's reader gives, which asserts some of what it reads.
fn decoded<T>(path: &Path, decode: impl FnOnce() -> T) -> Result<T> {
    guarded(decode).ok_or_else(|| {
        let path = path.display();
        exec_datafusion_err!("a whole Parquet file is required, got {path}: it cannot be decoded")
    })
}

/// Reserves what rows take that are so many bytes: as they are read, and twice as texts and columns.
fn hold(memory: &MemoryReservation, bytes: usize, of: &str) -> Result<()> {
    at_least(
        memory,
        bytes.saturating_mul(3),
        format_args!("{ROWS} rows of {of}"),
    )
}

/// The rows of record batches.
pub(super) struct ArrowRows<'a> {
    batches: Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>,
    /// Where they are from, for messages.
    of: String,
    column: String,
    /// The columns that a row has beside, whether these have them or not.
    fields: Vec<Field>,
    batch: Option<RecordBatch>,
    row: u64,
    memory: MemoryReservation,
}

impl<'a> ArrowRows<'a> {
    pub(super) fn new(
        batches: impl Iterator<Item = Result<RecordBatch>> + 'a,
        of: String,
        column: &str,
        fields: Vec<Field>,
        memory: MemoryReservation,
    ) -> Self {
        Self {
            batches: Box::new(batches),
            of,
            column: column.to_string(),
            fields,
            batch: None,
            row: 0,
            memory,
        }
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        let rows = loop {
            match self.batch.take() {
                Some(batch) if batch.num_rows() > 0 => {
                    let n = batch.num_rows().min(ROWS);
                    self.batch = Some(batch.slice(n, batch.num_rows() - n));
                    break batch.slice(0, n);
                }
                _ => match self.batches.next().transpose()? {
                    None => return Ok(None),
                    batch => self.batch = batch,
                },
            }
        };
        let bytes = rows
            .columns()
            .iter()
            .map(|c| c.to_data().get_slice_memory_size());
        let bytes = bytes.sum::<Result<usize, _>>()?;
        hold(&self.memory, bytes, &self.of)?;
        let first = self.row;
        let Some(held) = rows.column_by_name(&self.column) else {
            return exec_err!(
                "{} requires the text column '{}' in every batch",
                self.of,
                self.column
            );
        };
        let contents = match unpacked(held.data_type()).is_list() {
            true => Contents::Ids(self.ids(held)?),
            false => Contents::Texts(self.texts(held)?),
        };
        let columns = self
            .fields
            .iter()
            .map(|field| match rows.column_by_name(field.name()) {
                None => Ok(new_null_array(field.data_type(), rows.num_rows())),
                Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
                Some(column) => Ok(cast(column, field.data_type())?),
            });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        self.row += rows.num_rows() as u64;
        Ok(Some(RowBatch::new(contents, columns, first)))
    }

    /// The column as one of this type; a value that has none of it is an error.
    fn cast(&self, array: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let cast = cast_with_options(array, kind, &options);
        cast.or_else(|e| {
            let (of, column) = (&self.of, &self.column);
            let rows = format_args!("rows {} to {}", self.row + 1, self.row + array.len() as u64);
            exec_err!("{of} requires text or token ids in column '{column}', got in {rows}: {e}")
        })
    }

    fn null<T>(&self, row: usize, what: &str) -> Result<T> {
        exec_err!(
            "{} requires {what} in column '{}', got NULL in row {}",
            self.of,
            self.column,
            self.row + row as u64 + 1
        )
    }

    fn texts(&self, array: &ArrayRef) -> Result<Vec<String>> {
        let strings = self.cast(array, &DataType::Utf8)?;
        let rows = strings.as_string::<i32>().iter().enumerate();
        rows.map(|(row, text)| match text {
            Some(text) => Ok(text.to_string()),
            None => self.null(row, "text"),
        })
        .collect()
    }

    fn ids(&self, array: &ArrayRef) -> Result<Vec<Vec<i64>>> {
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        let lists = self.cast(array, &DataType::List(item))?;
        let rows = lists.as_list::<i32>().iter().enumerate();
        rows.map(|(row, ids)| match ids {
            Some(ids) if ids.null_count() == 0 => {
                Ok(ids.as_primitive::<Int64Type>().values().to_vec())
            }
            _ => self.null(row, "token ids"),
        })
        .collect()
    }
}
