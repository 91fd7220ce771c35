//! Rows as Parquet, as Arrow's file and as Arrow's stream, in bytes that are written on as they come: memory is bounded by
//! a row group.

use std::collections::HashSet;
use std::mem::take;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::ipc::writer::{FileWriter, StreamWriter};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;

/// Bytes of a row group, as far as they are known before it is encoded: vectors make rows wide. Chosen, not tuned.
const ROW_GROUP: usize = 64 << 20;
/// What DataFusion's COPY compresses with.
const ZSTD_LEVEL: i32 = 3;

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columnar {
    /// Apache Parquet, compressed with Zstandard.
    Parquet,
    /// Arrow's IPC file, which is read at any place of it.
    ArrowFile,
    /// Arrow's IPC stream, which is read from a pipe.
    ArrowStream,
}

/// Makes bytes of batches.
pub struct ColumnarWriter {
    schema: SchemaRef,
    encoder: Encoder,
}

enum Encoder {
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    File(Box<FileWriter<Vec<u8>>>),
    Stream(Box<StreamWriter<Vec<u8>>>),
}

impl ColumnarWriter {
    /// For rows of these columns.
    ///
    /// Errors: two columns of one name, which no reader tells apart; a type that the form has not.
    pub fn new(form: Columnar, schema: &Schema) -> Result<Self> {
        if let Some(said) = named_twice(schema) {
            return exec_err!("{said}");
        }
        let schema = Arc::new(without_dictionaries(schema));
        let encoder = match form {
            Columnar::Parquet => {
                let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .build();
                let own = Arc::clone(&schema);
                let writer = ArrowWriter::try_new(vec![], own, Some(properties))?;
                Encoder::Parquet(Box::new(writer))
            }
            Columnar::ArrowFile => Encoder::File(Box::new(FileWriter::try_new(vec![], &schema)?)),
            Columnar::ArrowStream => {
                Encoder::Stream(Box::new(StreamWriter::try_new(vec![], &schema)?))
            }
        };
        Ok(Self { schema, encoder })
    }

    /// The bytes that these rows bring.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let fields = self.schema.fields().iter();
        let columns = fields
            .zip(batch.columns())
            .map(|(field, column)| match field.data_type() {
                same if same == column.data_type() => Ok(Arc::clone(column)),
                other => cast(column, other),
            })
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(match &mut self.encoder {
            Encoder::Parquet(writer) => {
                writer.write(&batch)?;
                if writer.in_progress_size() > ROW_GROUP {
                    writer.flush()?;
                }
                take(writer.inner_mut())
            }
            Encoder::File(writer) => {
                writer.write(&batch)?;
                take(writer.get_mut())
            }
            Encoder::Stream(writer) => {
                writer.write(&batch)?;
                take(writer.get_mut())
            }
        })
    }

    /// The bytes behind the last row.
    pub fn end(self) -> Result<Vec<u8>> {
        Ok(match self.encoder {
            Encoder::Parquet(writer) => writer.into_inner()?,
            Encoder::File(mut writer) => {
                writer.finish()?;
                take(writer.get_mut())
            }
            Encoder::Stream(mut writer) => {
                writer.finish()?;
                take(writer.get_mut())
            }
        })
    }
}

/// What is said of two columns of one name, which no reader of Parquet, CSV or Arrow tells apart.
pub fn named_twice(schema: &Schema) -> Option<String> {
    let mut names = HashSet::new();
    let field = schema.fields().iter().find(|f| !names.insert(f.name()))?;
    Some(format!(
        "columns of different names are required, got '{0}' twice: give one another name with {0} AS ...",
        field.name()
    ))
}

/// Columns as their values: batches of a result have dictionaries of their own, and Arrow's file has one a column.
fn without_dictionaries(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Dictionary(_, values) => Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(values.as_ref().clone()),
        ),
        _ => Arc::clone(field),
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use datafusion::arrow::array::{
        ArrayRef, AsArray, DictionaryArray, Float32Array, Int64Array, StringArray,
    };
    use datafusion::arrow::datatypes::{Int32Type, Int64Type};
    use datafusion::arrow::ipc::reader::{FileReader, StreamReader};
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch(words: &[&str]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..words.len() as i64));
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![0.1; words.len()]));
        let words: ArrayRef = Arc::new(
            words
                .iter()
                .copied()
                .collect::<DictionaryArray<Int32Type>>(),
        );
        RecordBatch::try_from_iter([("n", numbers), ("x", floats), ("word", words)]).unwrap()
    }

    fn bytes(form: Columnar, batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = ColumnarWriter::new(form, &batch(&[]).schema()).unwrap();
        let mut bytes = vec![];
        for batch in batches {
            bytes.extend(writer.rows(batch).unwrap());
        }
        bytes.extend(writer.end().unwrap());
        bytes
    }

    fn read(form: Columnar, bytes: Vec<u8>) -> Vec<RecordBatch> {
        match form {
            Columnar::Parquet => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
                let reader = reader.unwrap().build().unwrap();
                reader.collect::<std::result::Result<_, _>>().unwrap()
            }
            Columnar::ArrowFile => FileReader::try_new(Cursor::new(bytes), None)
                .unwrap()
                .collect::<std::result::Result<_, _>>()
                .unwrap(),
            Columnar::ArrowStream => StreamReader::try_new(Cursor::new(bytes), None)
                .unwrap()
                .collect::<std::result::Result<_, _>>()
                .unwrap(),
        }
    }

    #[test]
    fn every_form_is_read_back() {
        let forms = [
            Columnar::Parquet,
            Columnar::ArrowFile,
            Columnar::ArrowStream,
        ];
        for form in forms {
            // The second batch has another dictionary.
            let found = read(form, bytes(form, &[batch(&["a", "b"]), batch(&["c"])]));
            let mut rows = vec![];
            for batch in &found {
                let numbers = batch.column(0).as_primitive::<Int64Type>().values();
                let words = batch.column(2).as_any().downcast_ref::<StringArray>();
                let words = words.expect("texts").iter().flatten().map(str::to_string);
                rows.extend(numbers.iter().copied().zip(words));
            }
            let rows: Vec<_> = rows.iter().map(|(n, word)| (*n, word.as_str())).collect();
            assert_eq!(rows, [(0, "a"), (1, "b"), (0, "c")], "{form:?}");
            // Without rows the columns are there.
            let none = bytes(form, &[]);
            assert!(!none.is_empty() && read(form, none).is_empty(), "{form:?}");
        }
    }

    #[test]
    fn two_columns_of_a_name_are_refused() {
        let column = Arc::clone(batch(&["a"]).column(0));
        let fields = [("n", Arc::clone(&column)), ("n", column)];
        let twice = RecordBatch::try_from_iter(fields).unwrap();
        let error = ColumnarWriter::new(Columnar::Parquet, &twice.schema());
        let error = error.err().map(|error| error.strip_backtrace());
        assert!(error.is_some_and(|error| error.contains("got 'n' twice")));
    }
}
