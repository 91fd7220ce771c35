//! A corpus as batches of rows: files of one kind, one after the other, or the rows of a relation. Above 400 lines, since
//! finding the columns of all files and reading them share what they know of a file.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::arrow_rows::{self, ArrowRows};
use super::binary_ids::BinaryIds;
use super::cells::{Kinds, fields};
use super::csv::{self, CsvRows};
use super::ipc::IpcBatches;
use super::json::{self, JsonRows, Surveyed};
use super::kind::FileKind;
use super::options::{COLUMN, DTYPE, Dtype};
use super::plain_text::PlainText;
use super::row_batch::{Contents, RowBatch};
use super::shards::{Shard, Shards};
use crate::files::{file_error, regular};
use crate::jobs::Rows;
use crate::options::Options;
use crate::store::schema;

/// Where the rows of a corpus are.
#[derive(Clone, Copy)]
pub(crate) enum CorpusPlace<'a> {
    /// A file, a folder or a pattern of files.
    Files(&'a Path),
    /// The rows of a relation, and how that was written.
    Relation(&'a Rows, &'a str),
}

impl CorpusPlace<'_> {
    /// As it was written.
    pub(super) fn written(self) -> String {
        match self {
            Self::Files(path) => path.display().to_string(),
            Self::Relation(_, written) => written.to_string(),
        }
    }
}

/// How rows are read.
#[derive(Debug, Clone)]
struct Reading {
    /// The column of texts or token ids.
    column: String,
    dtype: Option<Dtype>,
    /// Tokens of the model's vocabulary.
    d_vocab: usize,
    /// The other columns, as rows that are text have them.
    kinds: Kinds,
    /// The other columns, by their names there.
    fields: Vec<Field>,
}

/// An opened corpus.
pub(super) struct Corpus<'a> {
    /// Columns beside the text, under the names `documents` gives them.
    pub(super) fields: Vec<Field>,
    /// Whether its rows hold token ids.
    pub(super) of_ids: bool,
    reading: Reading,
    source: RowSource<'a>,
    memory: MemoryReservation,
}

enum RowSource<'a> {
    Files {
        shards: Shards,
        /// The file that is read next.
        next: usize,
        open: Option<(OpenFile, Arc<str>)>,
        hash: String,
    },
    Relation(ArrowRows<'a>, Box<blake3::Hasher>),
}

enum OpenFile {
    Text(PlainText),
    Json(JsonRows),
    Csv(CsvRows),
    Arrow(ArrowRows<'static>),
    Ids(BinaryIds),
}

impl OpenFile {
    fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        match self {
            Self::Text(text) => text.next_batch(),
            Self::Json(rows) => rows.next_batch(),
            Self::Csv(rows) => rows.next_batch(),
            Self::Arrow(rows) => rows.next_batch(),
            Self::Ids(ids) => ids.next_batch(),
        }
    }
}

impl<'a> Corpus<'a> {
    /// Opens a corpus for a model of so many tokens. What is in memory of it is reserved in `memory`; `tick` is called
    /// now and then and may end the work.
    pub(super) fn open(
        place: CorpusPlace<'a>,
        options: &Options,
        d_vocab: usize,
        memory: MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut reading = Reading {
            column: options.get(COLUMN),
            dtype: options.get(DTYPE),
            d_vocab,
            kinds: vec![],
            fields: vec![],
        };
        let (of_ids, source) = match place {
            CorpusPlace::Files(path) => files(path, options, &mut reading, &memory, tick)?,
            CorpusPlace::Relation(rows, written) => {
                if options.given(DTYPE) {
                    return plan_err!("dtype must come with a corpus of .bin, got {written}");
                }
                let (of_ids, found) = arrow_rows::survey(&rows.schema(), &reading.column, written)?;
                reading.fields = found;
                let rows = ArrowRows::new(
                    rows.read()?,
                    written.to_string(),
                    &reading.column,
                    reading.fields.clone(),
                    memory.new_empty(),
                );
                (of_ids, RowSource::Relation(rows, Box::default()))
            }
        };
        let fields: Vec<Field> = reading.fields.iter().cloned().map(renamed).collect();
        let twice = |i: &usize| fields[..*i].iter().any(|f| f.name() == fields[*i].name());
        if let Some(i) = (0..fields.len()).find(twice) {
            return exec_err!(
                "{} requires columns of different names, got '{}' twice",
                place.written(),
                fields[i].name()
            );
        }
        Ok(Self {
            fields,
            of_ids,
            reading,
            source,
            memory,
        })
    }

    /// blake3 in hexadecimal digits: of a file, of the hashes of several, of what was read of a relation's texts.
    pub(super) fn hash(&self) -> String {
        match &self.source {
            RowSource::Files { hash, .. } => hash.clone(),
            RowSource::Relation(_, hasher) => hasher.finalize().to_hex().to_string(),
        }
    }

    /// The next rows, at least one; `None` after the last.
    pub(super) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        match &mut self.source {
            RowSource::Relation(rows, hasher) => {
                let batch = rows.next_batch()?;
                if let Some(batch) = &batch {
                    count(hasher, &batch.contents);
                }
                Ok(batch)
            }
            RowSource::Files {
                shards, next, open, ..
            } => loop {
                if let Some((file, name)) = open {
                    if let Some(mut batch) = file.next_batch()? {
                        batch.file = Some(Arc::clone(name));
                        return Ok(Some(batch));
                    }
                    *open = None;
                }
                let Some(shard) = shards.files.get(*next) else {
                    return Ok(None);
                };
                *next += 1;
                let file = self
                    .reading
                    .open(shards.kind, shard, self.memory.new_empty())?;
                *open = Some((file, shard.name.as_str().into()));
            },
        }
    }
}

/// Adds rows to a hash, each with its length.
fn count(hasher: &mut blake3::Hasher, contents: &Contents) {
    let mut add = |length: usize, bytes: &[u8]| {
        hasher.update(&(length as u64).to_le_bytes()).update(bytes);
    };
    match contents {
        Contents::Texts(texts) => texts
            .iter()
            .for_each(|text| add(text.len(), text.as_bytes())),
        Contents::Ids(rows) => rows.iter().for_each(|ids| {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            add(ids.len(), &bytes);
        }),
    }
}

/// The files of a corpus, their hash and, in `reading`, what they have in common.
fn files<'a>(
    path: &Path,
    options: &Options,
    reading: &mut Reading,
    memory: &MemoryReservation,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<(bool, RowSource<'a>)> {
    let shards = Shards::find(path)?;
    let kind = shards.kind;
    if options.given(COLUMN) && !kind.has_columns() {
        return plan_err!(
            "column must come with a corpus of rows, got {}",
            path.display()
        );
    }
    if options.given(DTYPE) && kind != FileKind::Ids {
        return plan_err!(
            "dtype must come with a corpus of .bin, got {}",
            path.display()
        );
    }
    // Whether there is something to read, before what takes long.
    for shard in &shards.files {
        regular::open(&shard.path).map_err(|e| file_error("open", &shard.path, e))?;
    }
    let of_ids = reading.survey(&shards, memory, tick)?;
    // The last, since it reads all of what may be refused by its size or its first line.
    let hash = hash(&shards, tick)?;
    let source = RowSource::Files {
        shards,
        next: 0,
        open: None,
        hash,
    };
    Ok((of_ids, source))
}

impl Reading {
    /// Finds the columns of all files; whether they hold token ids.
    fn survey(
        &mut self,
        shards: &Shards,
        memory: &MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        let memory = || memory.new_empty();
        match shards.kind {
            FileKind::Text => Ok(false),
            FileKind::Ids => Ok(true),
            FileKind::Json => {
                let mut found = Surveyed::default();
                for shard in &shards.files {
                    json::survey(&shard.path, &self.column, memory(), &mut found, tick)?;
                }
                self.kinds = found.kinds;
                self.fields = fields(&self.kinds);
                Ok(found.of_ids.unwrap_or(false))
            }
            FileKind::Csv { delimiter } => {
                for shard in &shards.files {
                    let column = &self.column;
                    csv::survey(
                        &shard.path,
                        delimiter,
                        column,
                        memory(),
                        &mut self.kinds,
                        tick,
                    )?;
                }
                self.fields = fields(&self.kinds);
                Ok(false)
            }
            FileKind::Parquet | FileKind::Arrow => {
                let mut of_ids = None;
                for shard in &shards.files {
                    let of = shard.path.display().to_string();
                    let schema = match shards.kind {
                        FileKind::Parquet => arrow_rows::parquet(&shard.path, memory())?.0,
                        _ => IpcBatches::open(&shard.path, memory())?.0,
                    };
                    let (found, fields) = arrow_rows::survey(&schema, &self.column, &of)?;
                    if *of_ids.get_or_insert(found) != found {
                        return exec_err!(
                            "{of} requires, as the files before, {} in column '{}'",
                            if found {
                                "strings"
                            } else {
                                "lists of token ids"
                            },
                            self.column
                        );
                    }
                    join(&mut self.fields, fields, &of)?;
                    tick()?;
                }
                Ok(of_ids.unwrap_or(false))
            }
        }
    }

    fn open(&self, kind: FileKind, shard: &Shard, memory: MemoryReservation) -> Result<OpenFile> {
        let (path, column) = (&shard.path, &self.column);
        let arrow = |rows: Box<dyn Iterator<Item = Result<_>>>, memory| {
            let of = path.display().to_string();
            OpenFile::Arrow(ArrowRows::new(
                rows,
                of,
                column,
                self.fields.clone(),
                memory,
            ))
        };
        Ok(match kind {
            FileKind::Text => OpenFile::Text(PlainText::open(path, memory)?),
            FileKind::Ids => {
                OpenFile::Ids(BinaryIds::open(path, self.dtype, self.d_vocab, memory)?)
            }
            FileKind::Json => {
                OpenFile::Json(JsonRows::open(path, column, self.kinds.clone(), memory)?)
            }
            FileKind::Csv { delimiter } => {
                OpenFile::Csv(CsvRows::open(path, delimiter, column, &self.kinds, memory)?)
            }
            FileKind::Parquet => {
                let (_, batches) = arrow_rows::parquet(path, memory.new_empty())?;
                arrow(Box::new(batches), memory)
            }
            FileKind::Arrow => {
                let (_, batches) = IpcBatches::open(path, memory.new_empty())?;
                arrow(Box::new(batches), memory)
            }
        })
    }
}

/// Adds the columns of a file to those of the files before: what one has not is NULL there.
fn join(all: &mut Vec<Field>, more: Vec<Field>, of: &str) -> Result<()> {
    for (i, field) in more.iter().enumerate() {
        if more[..i].iter().any(|known| known.name() == field.name()) {
            return exec_err!(
                "{of} requires columns of different names, got '{}' twice",
                field.name()
            );
        }
        let Some(known) = all.iter_mut().find(|known| known.name() == field.name()) else {
            all.push(field.clone());
            continue;
        };
        let kind = match (known.data_type(), field.data_type()) {
            (a, b) if a == b => continue,
            (a, DataType::Null) => a.clone(),
            (DataType::Null, b) => b.clone(),
            (a, b) if a.is_string() && b.is_string() => DataType::Utf8,
            (a, b) => {
                return exec_err!(
                    "{of} requires {a} in column '{}', as the files before, got {b}",
                    field.name()
                );
            }
        };
        *known = known.clone().with_data_type(kind);
    }
    Ok(())
}

/// A corpus column that `documents` has itself is kept as `corpus_<name>`.
fn renamed(field: Field) -> Field {
    let clash = (schema::documents().fields().iter())
        .chain(schema::origins().fields())
        .any(|f| f.name().eq_ignore_ascii_case(field.name()));
    let name = match clash {
        true => format!("corpus_{}", field.name()),
        false => field.name().clone(),
    };
    field.with_name(name).with_nullable(true)
}

/// That of a file, or of the hashes of several.
fn hash(shards: &Shards, tick: &mut dyn FnMut() -> Result<()>) -> Result<String> {
    let paths = shards.files.iter().map(|shard| &shard.path);
    let hashes = paths
        .map(|path| hash_of(path, tick))
        .collect::<Result<Vec<_>>>()?;
    match hashes.as_slice() {
        [one] => Ok(one.clone()),
        several => Ok(blake3::hash(several.concat().as_bytes())
            .to_hex()
            .to_string()),
    }
}

fn hash_of(path: &Path, tick: &mut dyn FnMut() -> Result<()>) -> Result<String> {
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

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
