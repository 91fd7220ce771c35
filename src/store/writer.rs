//! Writes a run: files into a new generation, then one rename that makes them the run.
//! Over 400 lines with its tests, which need its insides: what a crash leaves behind is only seen here.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::common::{exec_datafusion_err, exec_err, plan_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result};

use super::io_error;
use super::key_order::KeyOrder;
use super::lock::WriteLock;
use super::manifest::{self, BatchEntry, Counts, FORMAT, FileEntry, Head, Manifest, RunManifest};
use super::table::Table;

const GENERATION: &str = "gen-";

/// A run being written; invisible until [`RunWriter::commit`], gone when dropped without it.
#[derive(Debug)]
pub struct RunWriter {
    name: String,
    folder: PathBuf,
    generation: PathBuf,
    scratch: PathBuf,
    files: Arc<Mutex<Files>>,
    committed: bool,
    _lock: WriteLock,
}

#[derive(Debug, Default)]
struct Files {
    /// Names of files begun, in order.
    begun: Vec<String>,
    finished: Vec<FileEntry>,
}

fn locked(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunWriter {
    pub(super) fn start(name: &str, folder: &Path, lock: WriteLock) -> Result<Self> {
        let stamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let generation = folder.join(format!("{GENERATION}{stamp:x}"));
        let scratch = generation.join("scratch");
        // Made before the folders, so that a failure below cleans up after itself.
        let writer = Self {
            name: name.to_string(),
            folder: folder.to_path_buf(),
            generation,
            scratch,
            files: Arc::default(),
            committed: false,
            _lock: lock,
        };
        fs::create_dir_all(&writer.scratch).map_err(|e| io_error("create", &writer.scratch, e))?;
        Ok(writer)
    }

    /// The run's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder for spool files, gone after commit or drop.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Takes over a finished file of another generation of the run, without copying it where the disk allows.
    pub(super) fn adopt(&mut self, generation: &Path, file: &FileEntry) -> Result<()> {
        let (from, to) = (
            generation.join(&file.name),
            self.generation.join(&file.name),
        );
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).map_err(|e| io_error("copy", &from, e))?;
            File::open(&to)
                .and_then(|copy| copy.sync_all())
                .map_err(|e| io_error("write", &to, e))?;
        }
        let mut files = locked(&self.files);
        files.begun.push(file.name.clone());
        files.finished.push(file.clone());
        Ok(())
    }

    /// Rows of a table's finished files.
    pub fn rows(&self, table: Table) -> u64 {
        let files = locked(&self.files);
        let of_table = files
            .finished
            .iter()
            .filter(|file| file.table == table.name());
        of_table.map(FileEntry::rows).sum()
    }

    /// Rows of all finished files, for the manifest.
    pub fn counts(&self) -> Counts {
        Counts {
            documents: self.rows(Table::Documents),
            tokens: self.rows(Table::Tokens),
            layers: self.rows(Table::Layers),
            neurons: self.rows(Table::Neurons),
            examples: self.rows(Table::Examples),
            vectors: self.rows(Table::Vectors),
        }
    }

    /// Begins a stored table, or its file of one layer. Dictionary columns are stored unpacked.
    pub fn table(
        &self,
        table: &str,
        layer: Option<usize>,
        schema: SchemaRef,
    ) -> Result<TableWriter> {
        let table = Table::stored(table).ok_or_else(|| {
            let known = Table::CANONICAL.map(Table::name).join(", ");
            plan_datafusion_err!("store: one of {known}, vectors is required, got table '{table}'")
        })?;
        if table.per_layer() != layer.is_some() {
            return plan_err!(
                "store: {table} requires {}, got {}",
                if table.per_layer() {
                    "a layer"
                } else {
                    "no layer"
                },
                layer.map_or("none".to_string(), |l| format!("layer {l}"))
            );
        }
        let layer = layer.map(i32::try_from).transpose().map_err(|_| {
            plan_datafusion_err!("store: {table} requires a layer below 2^31, got more")
        })?;
        table.check_schema(&schema)?;
        let name = FileEntry::name_for(table, layer);
        let mut files = locked(&self.files);
        if files.begun.contains(&name) {
            return plan_err!("store: {name} requires one writer, got a second");
        }
        let writer = TableWriter::create(&self.generation.join(&name), table, layer, &schema)?;
        files.begun.push(name);
        Ok(TableWriter {
            files: Some(Arc::clone(&self.files)),
            ..writer
        })
    }

    /// Makes the run visible, in place of the one it replaces.
    pub fn commit(mut self, facts: RunManifest) -> Result<()> {
        let mut files = std::mem::take(&mut *locked(&self.files));
        // Whatever order they were written in.
        files.finished.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(open) = files
            .begun
            .iter()
            .find(|name| !files.finished.iter().any(|f| f.name == **name))
        {
            return exec_err!("store: commit requires finished files, got {open} unfinished");
        }
        if facts.run != self.name {
            return plan_err!(
                "store: commit requires the facts of run '{}', got those of '{}'",
                self.name,
                facts.run
            );
        }
        fs::remove_dir_all(&self.scratch).map_err(|e| io_error("remove", &self.scratch, e))?;
        sync_folder(&self.generation)?;
        let generation = self
            .generation
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let manifest = Manifest {
            head: Head {
                format: FORMAT,
                generation,
            },
            facts,
            files: files.finished,
        };
        let path = manifest::path(&self.folder);
        let text = serde_json::to_vec(&manifest)
            .map_err(|e| exec_datafusion_err!("store: write {}: {e}", path.display()))?;
        // Unreadable means of an unknown version: its files are then swept by nobody, as its owner may want them.
        let replaced = manifest::generation(&self.folder).ok().flatten();
        write_atomically(&path, &text)?;
        self.committed = true;
        if let Some(folder) = self.folder.parent() {
            sync_folder(folder)?;
        }
        if let Some(replaced) = replaced {
            // Readers keep their memory maps; what cannot be removed now is swept by the next writer.
            let _ = fs::remove_dir_all(self.folder.join(replaced));
        }
        Ok(())
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed is invisible, and swept by the next writer.
            let _ = fs::remove_dir_all(&self.generation);
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// One file being written.
pub struct TableWriter {
    path: PathBuf,
    table: Table,
    layer: Option<i32>,
    schema: SchemaRef,
    order: KeyOrder,
    writer: FileWriter<BufWriter<File>>,
    batches: Vec<BatchEntry>,
    files: Option<Arc<Mutex<Files>>>,
}

impl TableWriter {
    fn create(path: &Path, table: Table, layer: Option<i32>, schema: &Schema) -> Result<Self> {
        let schema = Arc::new(unpacked(schema)?);
        let file = File::create(path).map_err(|e| io_error("create", path, e))?;
        let writer =
            FileWriter::try_new(BufWriter::new(file), &schema).map_err(|e| write_error(path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            table,
            layer,
            schema,
            order: KeyOrder::new(table, layer),
            writer,
            batches: vec![],
            files: None,
        })
    }

    /// Appends one record batch; rows ascend by the table's keys and no neuron spans two batches.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.conform(batch)?;
        let entry = self.order.check(&batch)?;
        self.writer
            .write(&batch)
            .map_err(|e| write_error(&self.path, e))?;
        self.batches.push(entry);
        Ok(())
    }

    /// Completes the file on disk.
    pub fn finish(mut self) -> Result<()> {
        let path = &self.path;
        self.writer.finish().map_err(|e| write_error(path, e))?;
        let buffer = self.writer.into_inner().map_err(|e| write_error(path, e))?;
        let file = buffer
            .into_inner()
            .map_err(|e| io_error("write", path, e.into_error()))?;
        file.sync_all().map_err(|e| io_error("write", path, e))?;
        let size_bytes = file
            .metadata()
            .map_err(|e| io_error("read", path, e))?
            .len();
        if let Some(files) = self.files {
            locked(&files).finished.push(FileEntry {
                table: self.table.name().to_string(),
                layer: self.layer,
                name: FileEntry::name_for(self.table, self.layer),
                size_bytes,
                batches: self.batches,
            });
        }
        Ok(())
    }

    /// The batch under the stored schema.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.num_columns() != self.schema.fields().len() {
            return exec_err!(
                "store: {} requires {} columns, got {}",
                self.table,
                self.schema.fields().len(),
                batch.num_columns()
            );
        }
        let columns = self
            .schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| self.conform_column(field, column))
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn conform_column(&self, field: &Field, column: &ArrayRef) -> Result<ArrayRef> {
        match column.data_type() {
            kind if kind == field.data_type() => Ok(Arc::clone(column)),
            DataType::Dictionary(_, value) if **value == *field.data_type() => {
                Ok(cast(column, field.data_type())?)
            }
            kind => exec_err!(
                "store: {} requires column {} to be {}, got {kind}",
                self.table,
                field.name(),
                field.data_type()
            ),
        }
    }
}

/// The schema with dictionaries replaced by their values: a memory-mapped file has no place to grow them.
fn unpacked(schema: &Schema) -> Result<Schema> {
    let fields = schema
        .fields()
        .iter()
        .map(|field| {
            let field = match field.data_type() {
                DataType::Dictionary(_, value) => field
                    .as_ref()
                    .clone()
                    .with_data_type(value.as_ref().clone()),
                _ => field.as_ref().clone(),
            };
            let nested = Schema::new(vec![field.clone()])
                .flattened_fields()
                .iter()
                .any(|f| matches!(f.data_type(), DataType::Dictionary(..)));
            if nested {
                return plan_err!(
                    "store: column {} is required without nested dictionaries, got {}",
                    field.name(),
                    field.data_type()
                );
            }
            Ok(field)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Schema::new(fields))
}

/// Replaces a small file by a whole new one.
pub(super) fn write_atomically(path: &Path, text: &[u8]) -> Result<()> {
    let next = path.with_extension("json.next");
    let written = File::create(&next)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&next, path));
    if let Err(e) = written {
        let _ = fs::remove_file(&next);
        return Err(io_error("write", path, e));
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// A new name is on disk only once its folder is.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| io_error("write", folder, e))?;
    }
    Ok(())
}

/// Removes what killed writers left in `runs`. Only under the write lock.
pub(super) fn sweep(runs: &Path) -> Result<()> {
    for folder in entries(runs)? {
        // A manifest that cannot be read names a generation nobody knows: leave everything.
        let Ok(current) = manifest::generation(&folder) else {
            continue;
        };
        for path in entries(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(GENERATION) && current.as_deref() != Some(&*name) {
                fs::remove_dir_all(&path).map_err(|e| io_error("remove", &path, e))?;
            } else if name.ends_with(".json.next") {
                fs::remove_file(&path).map_err(|e| io_error("remove", &path, e))?;
            }
        }
        if current.is_none() {
            // Fails, as it should, where someone keeps other files.
            let _ = fs::remove_dir(&folder);
        }
    }
    Ok(())
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|e| e.path()))
            .collect::<io::Result<_>>()
            .map_err(|e| io_error("read", folder, e)),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(vec![])
        }
        Err(e) => Err(io_error("read", folder, e)),
    }
}

fn write_error(path: &Path, error: ArrowError) -> DataFusionError {
    match error {
        ArrowError::IoError(_, e) => io_error("write", path, e),
        e => exec_datafusion_err!("store: write {}: {e}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int32Array;

    #[test]
    fn a_full_disk_is_an_error_with_the_path() -> Result<()> {
        let full = Path::new("/dev/full");
        if !full.exists() {
            println!("left out: this system has no /dev/full");
            return Ok(());
        }
        let schema = super::super::schema::layers();
        let mut writer = TableWriter::create(full, Table::Layers, None, &schema)?;
        let columns = schema
            .fields()
            .iter()
            .map(|f| datafusion::arrow::array::new_null_array(f.data_type(), 1))
            .collect::<Vec<_>>();
        let mut columns = columns;
        columns[0] = Arc::new(Int32Array::from(vec![0]));
        let batch = RecordBatch::try_new(schema, columns)?;
        let error = writer
            .write(&batch)
            .and_then(|()| writer.finish())
            .expect_err("a write to a full disk")
            .to_string();
        assert!(error.contains("store: write /dev/full"), "{error}");
        Ok(())
    }
}
