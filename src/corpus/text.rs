//! Corpus files as batches of texts beside their other columns: `.txt`, `.jsonl`, `.parquet`.
//! Above 400 lines with its tests of every kind of file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use polysema_udfs::arrow::memory::{at_least, hold};

use super::jsonl::{BOM, Jsonl};
use super::text_batch::TextBatch;
use crate::files::{file_error, regular};
use crate::store::schema;

/// The endings of files of texts.
pub(super) const TEXTS: [&str; 3] = ["txt", "jsonl", "parquet"];

/// Rows of a Parquet file read at once: books may be rows.
const PARQUET_ROWS: usize = 256;

/// An opened corpus file.
pub(super) struct Corpus {
    /// blake3 of the file, in hexadecimal digits.
    pub(super) hash: String,
    /// Columns beside the text, under the names `documents` gives them.
    pub(super) fields: Vec<Field>,
    reader: Reader,
}

enum Reader {
    Text {
        text: Option<String>,
        _memory: MemoryReservation,
    },
    Jsonl(Jsonl),
    Parquet(Parquet),
}

impl Corpus {
    /// Opens a file by its extension. `column` holds the text; what is in memory of it is reserved in `memory`; `tick`
    /// is called now and then and may end the work.
    pub(super) fn open(
        path: &Path,
        column: &str,
        memory: MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let extension = extension.as_deref();
        if extension.is_none_or(|e| !TEXTS.contains(&e)) {
            return plan_err!(
                "a corpus of .txt, .jsonl or .parquet is required, got {}",
                path.display()
            );
        }
        regular::open(path).map_err(|e| file_error("open", path, e))?;
        let (fields, reader) = match extension {
            Some("txt") => {
                let text = Some(read_text(path, &memory)?);
                let _memory = memory;
                (vec![], Reader::Text { text, _memory })
            }
            Some("jsonl") => {
                let jsonl = Jsonl::open(path, column, memory, tick)?;
                (jsonl.fields(), Reader::Jsonl(jsonl))
            }
            _ => {
                let parquet = Parquet::open(path, column, memory)?;
                (parquet.fields.clone(), Reader::Parquet(parquet))
            }
        };
        let fields: Vec<Field> = fields.into_iter().map(renamed).collect();
        let twice = |i: &usize| fields[..*i].iter().any(|f| f.name() == fields[*i].name());
        if let Some(i) = (0..fields.len()).find(twice) {
            return exec_err!(
                "{} requires columns of different names, got '{}' twice",
                path.display(),
                fields[i].name()
            );
        }
        Ok(Corpus {
            // The last, since it reads all of what may be refused by its size or its first line.
            hash: hash(path, tick)?,
            fields,
            reader,
        })
    }

    /// The next rows, at least one; `None` after the last.
    pub(super) fn next_batch(&mut self) -> Result<Option<TextBatch>> {
        match &mut self.reader {
            Reader::Text { text, .. } => Ok(text.take().map(|text| TextBatch {
                texts: vec![text],
                columns: vec![],
            })),
            Reader::Jsonl(jsonl) => jsonl.next_batch(),
            Reader::Parquet(parquet) => parquet.next_batch(),
        }
    }
}

/// A corpus column that `documents` has itself is kept as `corpus_<name>`.
fn renamed(field: Field) -> Field {
    let taken = schema::documents();
    let clash = taken
        .fields()
        .iter()
        .any(|f| f.name().eq_ignore_ascii_case(field.name()));
    let name = match clash {
        true => format!("corpus_{}", field.name()),
        false => field.name().clone(),
    };
    field.with_name(name).with_nullable(true)
}

fn hash(path: &Path, tick: &mut dyn FnMut() -> Result<()>) -> Result<String> {
    let mut file = regular::open(path).map_err(|e| file_error("open", path, e))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file
            .read(&mut buffer)
            .map_err(|e| file_error("read", path, e))?;
        if n == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..n]);
        tick()?;
    }
}

fn read_text(path: &Path, memory: &MemoryReservation) -> Result<String> {
    let size = regular::open(path).and_then(|file| file.metadata());
    let size = size.map_err(|e| file_error("read", path, e))?.len();
    let of = format_args!(
        "the text of {} (the rows of a .jsonl or .parquet file need fewer)",
        path.display()
    );
    hold(memory, size as usize, of)?;
    let mut bytes = regular::read(path).map_err(|e| file_error("read", path, e))?;
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        file_error(
            "read",
            path,
            format!("UTF-8 text is required, got other bytes at offset {offset}"),
        )
    })
}

struct Parquet {
    path: PathBuf,
    column: String,
    fields: Vec<Field>,
    reader: ParquetRecordBatchReader,
    row: usize,
    /// Of the rows that are read at once.
    memory: MemoryReservation,
    /// What these take on average in the row group of the longest rows.
    average: usize,
}

impl Parquet {
    fn open(path: &Path, column: &str, memory: MemoryReservation) -> Result<Self> {
        let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|e| file_error("read", path, e))?;
        let schema: &SchemaRef = builder.schema();
        let mut named = schema.fields().iter().filter(|f| f.name() == column);
        let Some(text) = named.next() else {
            let known: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            return exec_err!(
                "{} requires the text column '{column}', got the columns {}",
                path.display(),
                known.join(", ")
            );
        };
        if !matches!(
            unpacked(text.data_type()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ) {
            return exec_err!(
                "{} requires strings in column '{column}', got {}",
                path.display(),
                text.data_type()
            );
        }
        if named.next().is_some() {
            return exec_err!(
                "{} requires one column '{column}', got several",
                path.display()
            );
        }
        let others = schema.fields().iter().filter(|f| f.name() != column);
        let fields = others
            .map(|f| Field::new(f.name(), unpacked(f.data_type()).clone(), true))
            .collect();
        let groups = builder.metadata().row_groups().iter();
        let averages = groups.map(|group| {
            let rows = group.num_rows().max(1);
            group.total_byte_size() / rows * rows.min(PARQUET_ROWS as i64)
        });
        let average = averages.max().map_or(0, |bytes| bytes.max(0) as usize);
        let reader = builder
            .with_batch_size(PARQUET_ROWS)
            .build()
            .map_err(|e| file_error("read", path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            column: column.to_string(),
            fields,
            reader,
            row: 0,
            memory,
            average,
        })
    }

    /// Reserves what rows take that are so many bytes in the file: as they are read, and twice as texts and columns.
    fn hold(&self, bytes: usize) -> Result<()> {
        let of = format_args!("{PARQUET_ROWS} rows of {}", self.path.display());
        at_least(&self.memory, bytes.saturating_mul(3), of)
    }

    fn next_batch(&mut self) -> Result<Option<TextBatch>> {
        self.hold(self.average)?;
        let Some(batch) = self.reader.next() else {
            return Ok(None);
        };
        let batch = batch.map_err(|e| file_error("read", &self.path, e))?;
        self.hold(batch.get_array_memory_size())?;
        let mut texts = vec![];
        let mut columns = vec![];
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if *field.name() == self.column {
                texts = self.texts(array)?;
            } else {
                columns.push(match unpacked(array.data_type()) {
                    kind if kind == array.data_type() => Arc::clone(array),
                    kind => cast(array, kind)?,
                });
            }
        }
        self.row += batch.num_rows();
        Ok(Some(TextBatch { texts, columns }))
    }

    fn texts(&self, array: &ArrayRef) -> Result<Vec<String>> {
        let strings = cast(array, &DataType::Utf8)?;
        let strings = strings.as_string::<i32>();
        let rows = strings.iter().enumerate();
        rows.map(|(row, text)| match text {
            Some(text) => Ok(text.to_string()),
            None => exec_err!(
                "{} requires text in column '{}', got NULL in row {}",
                self.path.display(),
                self.column,
                self.row + row + 1
            ),
        })
        .collect()
    }
}

/// What a dictionary holds: stored files have no dictionaries.
fn unpacked(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, values) => values,
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::parquet::arrow::ArrowWriter;

    use super::*;
    use crate::jobs::JobContext;

    fn open(path: &Path, column: &str) -> Result<Corpus> {
        let memory = JobContext::default().memory("texts");
        Corpus::open(path, column, memory, &mut || Ok(()))
    }

    fn message(result: Result<Corpus>) -> String {
        match result {
            Ok(_) => "no error".to_string(),
            Err(e) => e.strip_backtrace(),
        }
    }

    fn parquet(path: &Path, texts: Vec<Option<&str>>) {
        let n = texts.len() as i64;
        let batch = RecordBatch::try_from_iter([
            (
                "n_tokens",
                Arc::new(Int64Array::from_iter_values(0..n)) as _,
            ),
            ("body", Arc::new(StringArray::from(texts)) as ArrayRef),
        ])
        .unwrap();
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn a_text_file_is_one_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "one\ntwo\n").unwrap();
        let mut corpus = open(&path, "text").unwrap();
        assert_eq!(corpus.hash, blake3::hash(b"one\ntwo\n").to_string());
        assert_eq!(corpus.next_batch().unwrap().unwrap().texts, ["one\ntwo\n"]);
        assert!(corpus.next_batch().unwrap().is_none());
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, b"abc\xffdef").unwrap();
        let message = message(open(&path, "text"));
        assert!(message.contains("a.txt: UTF-8 text is required, got other bytes at offset 3"));
    }

    #[test]
    fn columns_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let write = |names: [&str; 3]| {
            let fields = names.map(|name| Field::new(name, DataType::Utf8, false));
            let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(fields.to_vec()));
            let column = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
            let columns = vec![column(), column(), column()];
            let batch = RecordBatch::try_new(schema, columns).unwrap();
            let file = File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        };
        for (names, part) in [
            (["text", "x", "x"], "different names, got 'x' twice"),
            (["text", "text", "x"], "one column 'text', got several"),
            (
                ["text", "doc_id", "corpus_doc_id"],
                "different names, got 'corpus_doc_id' twice",
            ),
        ] {
            write(names);
            let error = message(open(&path, "text"));
            assert!(
                error.contains(part) && error.contains("a.parquet"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "\u{feff}one").unwrap();
        let mut corpus = open(&path, "text").unwrap();
        assert_eq!(corpus.next_batch().unwrap().unwrap().texts, ["one"]);
    }

    #[test]
    fn unknown_extensions_and_missing_files_are_refused() {
        let unknown = message(open(Path::new("corpus.csv"), "text"));
        assert!(
            unknown.contains("a corpus of .txt, .jsonl or .parquet is required, got corpus.csv")
        );
        let missing = message(open(Path::new("nowhere/corpus.txt"), "text"));
        assert!(missing.contains("open nowhere/corpus.txt"));
    }

    #[test]
    fn parquet_gives_the_text_and_the_other_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let texts: Vec<String> = (0..300).map(|i| format!("text {i}")).collect();
        parquet(&path, texts.iter().map(|t| Some(t.as_str())).collect());
        let mut corpus = open(&path, "body").unwrap();
        assert_eq!(corpus.fields.len(), 1);
        assert_eq!(corpus.fields[0].name(), "corpus_n_tokens");
        assert_eq!(corpus.fields[0].data_type(), &DataType::Int64);
        let mut seen = 0;
        while let Some(batch) = corpus.next_batch().unwrap() {
            for (row, text) in batch.texts.iter().enumerate() {
                assert_eq!(*text, texts[seen]);
                let number = batch.columns[0].as_primitive::<Int64Type>().value(row);
                assert_eq!(number as usize, seen);
                seen += 1;
            }
        }
        assert_eq!(seen, 300);
    }

    #[test]
    fn parquet_without_usable_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        parquet(&path, vec![Some("a"), None]);
        let missing = message(open(&path, "text"));
        assert!(missing.contains("the text column 'text', got the columns n_tokens, body"));
        let wrong = message(open(&path, "n_tokens"));
        assert!(wrong.contains("requires strings in column 'n_tokens', got Int64"));
        let mut corpus = open(&path, "body").unwrap();
        let null = corpus.next_batch().unwrap_err().strip_backtrace();
        assert!(null.contains("requires text in column 'body', got NULL in row 2"));
    }
}
