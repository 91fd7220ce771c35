//! Changes a table that lasts: a new generation is filled with parts, then one rename makes it the table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use polysema_udfs::arrow::batches::BoundedBatches;

use super::manifest::{KeptManifest, PartEntry};
use super::name::KeptName;
use super::table::{KeptTable, NewSchema};
use crate::files::disk::{self, DiskFile};
use crate::files::generations::{GenerationName, NewGeneration};
use crate::files::{clock, file_error};
use crate::store::arrow_writer::ArrowWriter;
use crate::store::file::TableFile;
use crate::store::lock::{self, WriteLock};
use crate::store::{FORMAT, Store};

/// Rows of a record batch, DataFusion's own number.
const BATCH_ROWS: usize = 8192;
/// Parts from this size on are left as they are when rows are added. Chosen, not tuned.
const LARGE: u64 = 64 << 20;

/// What becomes of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is made, in place of another only with `replace`.
    Create {
        /// Whether there may be one.
        replace: bool,
    },
    /// It gets more rows.
    Append,
    /// It gets other rows.
    Overwrite,
    /// The rows of this state get other values: where a mark after their columns is true they have changed.
    Update(GenerationName),
    /// The rows of this state whose mark is true go.
    Delete(GenerationName),
}

impl Change {
    /// Whether rows come with a mark.
    pub fn is_marked(&self) -> bool {
        matches!(self, Change::Update(_) | Change::Delete(_))
    }
}

/// Columns as they are stored: every value where it lies, without dictionaries and views, and NULL alone as text.
pub fn stored_columns(columns: &Schema) -> SchemaRef {
    let fields = columns.fields().iter().map(stored_field);
    Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>()))
}

fn stored_field(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Null | DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => {
            let value = Field::new("", value.as_ref().clone(), true);
            stored_field(&Arc::new(value)).data_type().clone()
        }
        DataType::RunEndEncoded(_, value) => stored_field(value).data_type().clone(),
        DataType::List(item) | DataType::ListView(item) => DataType::List(stored_field(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::LargeList(stored_field(item))
        }
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(stored_field(item), *width),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(stored_field(entries), *sorted),
        kind => kind.clone(),
    };
    // Metadata of a query's columns says nothing of a table's.
    Arc::new(Field::new(field.name(), kind, field.is_nullable()))
}

/// A table that is being changed; as it was until [`KeptWriter::commit`], and when dropped without it.
pub struct KeptWriter {
    name: KeptName,
    root: PathBuf,
    columns: SchemaRef,
    parts: Vec<PartEntry>,
    part: Option<PartWriter>,
    generation: NewGeneration,
    schema: Option<NewSchema>,
    lock: WriteLock,
}

impl KeptWriter {
    /// Begins a change, after others of the same table. `wanted` ends the wait with its error.
    ///
    /// Errors: there is a table where none may be, or none, or it has other columns by now.
    pub fn begin(
        store: &Store,
        name: &KeptName,
        columns: &SchemaRef,
        change: &Change,
        wanted: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        name.check()?;
        let is_new = matches!(change, Change::Create { .. });
        let schema = match is_new {
            true => store.begin_schema(&name.schema)?,
            false => None,
        };
        if is_new {
            store.sweep_kept()?;
        }
        let lock = store.lock_kept(name, "changing it", wanted)?;
        if *change == (Change::Create { replace: false }) && store.has_kept(name) {
            return plan_err!(
                "CREATE TABLE: a new name is required, got '{name}': CREATE OR REPLACE TABLE replaces the table"
            );
        }
        let table = match is_new {
            true => None,
            false => Some(current(store, name, columns, change)?),
        };
        let generation = name.place(store).begin()?;
        let mut writer = Self {
            name: name.clone(),
            root: store.root().to_path_buf(),
            columns: Arc::clone(columns),
            parts: vec![],
            part: None,
            generation,
            schema,
            lock,
        };
        if let (Some(table), Change::Append) = (table, change) {
            for part in &table.manifest().parts {
                let from = table.folder().join(part.file());
                let linked = disk::link(&from, &writer.path(part));
                linked.map_err(|e| file_error("copy", &from, e))?;
                writer.parts.push(part.clone());
            }
        }
        Ok(writer)
    }

    fn path(&self, part: &PartEntry) -> PathBuf {
        self.generation.path().join(part.file())
    }

    fn begin_part(&self) -> Result<PartWriter> {
        let number = self.parts.iter().map(|part| part.number + 1).max();
        PartWriter::create(self.generation.path(), number.unwrap_or(0), &self.columns)
    }

    /// Adds rows, whose values are cast to the types of the columns.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.columns.fields().len() {
            return exec_err!(
                "{} requires {} columns, got {}",
                self.name,
                self.columns.fields().len(),
                batch.num_columns()
            );
        }
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let fields = self.columns.fields().iter().zip(batch.columns());
        let columns = fields.map(
            |(field, column)| match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast_with_options(column, field.data_type(), &options),
            },
        );
        let columns = columns.collect::<std::result::Result<Vec<ArrayRef>, _>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.columns), columns)?;
        let part = match self.part.take() {
            Some(part) => part,
            None => self.begin_part()?,
        };
        self.part.insert(part).write(batch)
    }

    /// Makes it the state of the table.
    pub fn commit(mut self, wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        let part = match self.part.take() {
            // The columns are in the parts.
            None if self.parts.is_empty() => Some(self.begin_part()?),
            part => part,
        };
        if let Some(part) = part {
            self.parts.push(part.finish()?);
            self.merge(wanted)?;
        }
        let path = self.generation.of().pointer();
        let manifest = KeptManifest {
            format: FORMAT,
            generation: self.generation.name().clone(),
            written_at: clock::seconds(),
            parts: self.parts,
        };
        let text = serde_json::to_vec(&manifest)
            .map_err(|e| exec_datafusion_err!("write {}: {e}", path.display()))?;
        // Before the store's lock, which others wait for.
        self.generation.sync()?;
        wanted()?;
        let commit = lock::store(&self.root)?;
        if let Some(schema) = &self.schema {
            schema.commit()?;
        }
        let committed = self.generation.commit(&text);
        drop((commit, self.schema, self.lock));
        committed
    }

    /// Makes one of the last parts while those before are no larger than what comes after them: a table that grows by
    /// single rows has few parts, and each row was copied few times.
    fn merge(&mut self, wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        let last = self.parts.len() - 1;
        let (mut first, mut rows) = (last, self.parts[last].total());
        while first > 0
            && self.parts[first - 1].total() <= rows
            && self.parts[first - 1].size_bytes < LARGE
        {
            first -= 1;
            rows += self.parts[first].total();
        }
        if first == last {
            return Ok(());
        }
        let mut merged = self.begin_part()?;
        let all: Vec<usize> = (0..self.columns.fields().len()).collect();
        for part in &self.parts[first..] {
            let file = TableFile::open_whole(
                &self.path(part),
                part.size_bytes,
                part.rows.clone(),
                part.tail,
                None,
            )?;
            for batch in 0..part.rows.len() {
                wanted()?;
                merged.write(file.read(batch, &all)?)?;
            }
        }
        let merged = merged.finish()?;
        for part in self.parts.split_off(first) {
            let path = self.path(&part);
            disk::remove_file(&path).map_err(|e| file_error("remove", &path, e))?;
        }
        self.parts.push(merged);
        Ok(())
    }
}

/// The table that is changed, which must be as the change expects it.
fn current(
    store: &Store,
    name: &KeptName,
    columns: &SchemaRef,
    change: &Change,
) -> Result<Arc<KeptTable>> {
    let Some(table) = store.kept(name)? else {
        return exec_err!("{name}: a table that stays is required, got one that was dropped");
    };
    if table.columns() != columns {
        return exec_err!(
            "{name}: a table whose columns stay is required, got one that was replaced: run the statement again"
        );
    }
    if let Change::Update(of) | Change::Delete(of) = change
        && table.generation() != of
    {
        return exec_err!(
            "{name}: a table that nobody changes meanwhile is required, got one that was changed: run the statement again"
        );
    }
    Ok(table)
}

/// A part being written, in batches of a size.
struct PartWriter {
    number: u32,
    path: PathBuf,
    writer: ArrowWriter<DiskFile>,
    batches: BoundedBatches,
    rows: Vec<u32>,
}

impl PartWriter {
    fn create(folder: &Path, number: u32, columns: &SchemaRef) -> Result<Self> {
        let entry = PartEntry {
            number,
            size_bytes: 0,
            tail: None,
            rows: vec![],
        };
        let path = folder.join(entry.file());
        let file = disk::create_new(&path).map_err(|e| file_error("create", &path, e))?;
        let writer = ArrowWriter::new(file, columns);
        let batches = BoundedBatches::new(Arc::clone(columns), BATCH_ROWS, true);
        Ok(Self {
            number,
            writer: writer.map_err(|e| refused(&path, e))?,
            batches,
            path,
            rows: vec![],
        })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.batches.push(batch)?;
        self.write_completed()
    }

    fn write_completed(&mut self) -> Result<()> {
        while let Some(batch) = self.batches.next_whole() {
            // As many as a manifest counts.
            let rows = u32::try_from(batch.num_rows());
            let rows =
                rows.map_err(|_| exec_datafusion_err!("a batch below 2^32 rows is required"))?;
            let written = self.writer.write(&batch);
            written.map_err(|e| refused(&self.path, e))?;
            self.rows.push(rows);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<PartEntry> {
        self.batches.finish()?;
        self.write_completed()?;
        let path = &self.path;
        let (file, tail) = self.writer.finish().map_err(|e| refused(path, e))?;
        let size_bytes = file.sync().map_err(|e| file_error("write", path, e))?;
        Ok(PartEntry {
            number: self.number,
            size_bytes,
            tail: Some(tail),
            rows: self.rows,
        })
    }
}

fn refused(path: &Path, error: ArrowError) -> DataFusionError {
    match error {
        ArrowError::IoError(_, e) => file_error("write", path, e),
        e => exec_datafusion_err!("write {}: {e}", path.display()),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
