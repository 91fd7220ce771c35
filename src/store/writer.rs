//! Writes a run: files into a new generation, then one rename that makes them the run.
//! Over 400 lines with its tests, which need its insides: what a crash leaves behind is only seen here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{exec_datafusion_err, exec_err, plan_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result};

use super::arrow_writer::ArrowWriter;
use super::key_order::KeyOrder;
use super::listing;
use super::lock::{self, WriteLock};
use super::manifest::{BatchEntry, Counts, FileEntry, Manifest, RunManifest};
use super::names::check_name;
use super::run::Run;
use super::sae_manifest::{SaeEntry, SaeManifest};
use super::sae_training;
use super::source::FORMAT;
use super::table::Table;
use super::{OpenedRuns, Store};
use crate::files::disk::{self, DiskFile};
use crate::files::file_error;
use crate::files::generations::{Generations, NewGeneration};

/// A run being written; invisible until [`RunWriter::commit`], gone when dropped without it.
#[derive(Debug)]
pub struct RunWriter {
    name: String,
    root: PathBuf,
    generation: NewGeneration,
    scratch: PathBuf,
    files: Arc<Mutex<Files>>,
    saes: Vec<SaeEntry>,
    opened: Arc<OpenedRuns>,
    /// What the commit makes needless.
    checkpoints: Vec<Generations>,
    lock: WriteLock,
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
    pub(super) fn start(store: &Store, name: &str, lock: WriteLock) -> Result<Self> {
        let generation = store.generations(name).begin()?;
        let scratch = generation.path().join("scratch");
        disk::create_folder(&scratch).map_err(|e| file_error("create", &scratch, e))?;
        Ok(Self {
            name: name.to_string(),
            root: store.root().to_path_buf(),
            generation,
            scratch,
            files: Arc::default(),
            saes: vec![],
            opened: Arc::clone(&store.opened),
            checkpoints: vec![],
            lock,
        })
    }

    /// Has the commit remove the checkpoints that lead to it.
    pub fn ends(&mut self, checkpoints: impl IntoIterator<Item = Generations>) {
        self.checkpoints.extend(checkpoints);
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
    pub(super) fn adopt(&mut self, run: &Run, file: &FileEntry) -> Result<()> {
        self.link(run, &file.name)?;
        let mut files = locked(&self.files);
        files.begun.push(file.name.clone());
        files.finished.push(file.clone());
        Ok(())
    }

    /// Takes over an autoencoder of another generation of the run, with its layer if that is taken over too.
    pub(super) fn adopt_sae(
        &mut self,
        run: &Run,
        sae: &SaeEntry,
        layer: Option<i32>,
    ) -> Result<()> {
        self.link(run, &SaeEntry::file_name(&sae.facts.name))?;
        if sae.curve.is_some() {
            self.link(run, &sae_training::file_name(&sae.facts.name))?;
        }
        let mut sae = sae.clone();
        sae.facts.layer = layer;
        self.saes.push(sae);
        Ok(())
    }

    fn link(&self, run: &Run, name: &str) -> Result<()> {
        let (from, to) = (run.folder().join(name), self.generation.path().join(name));
        // What is no file has no place in a store.
        disk::open(&from).map_err(|e| file_error("open", &from, e))?;
        disk::link(&from, &to).map_err(|e| file_error("copy", &from, e))
    }

    /// Adds an autoencoder, or replaces the one of its name: `write` writes its weights as a file. `curve` has the columns
    /// of [`sae_training::columns`].
    pub fn add_sae(
        &mut self,
        facts: SaeManifest,
        curve: Option<&RecordBatch>,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        check_name("sae", &facts.name)?;
        let generation = self.generation.path();
        let weights = generation.join(SaeEntry::file_name(&facts.name));
        let training = generation.join(sae_training::file_name(&facts.name));
        for path in [&weights, &training] {
            if path.exists() {
                // It may be another name of the last generation's file.
                disk::remove_file(path).map_err(|e| file_error("remove", path, e))?;
            }
        }
        self.saes.retain(|sae| sae.facts.name != facts.name);
        write(&weights)?;
        let curve = curve.map(|rows| sae_training::write(&training, rows));
        self.saes
            .push(SaeEntry::of(facts, curve.transpose()?, generation)?);
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
        table: Table,
        layer: Option<usize>,
        schema: SchemaRef,
    ) -> Result<TableWriter> {
        if table.per_layer() != layer.is_some() {
            return plan_err!(
                "{table} requires {}, got {}",
                if table.per_layer() {
                    "a layer"
                } else {
                    "no layer"
                },
                layer.map_or("none".to_string(), |l| format!("layer {l}"))
            );
        }
        let layer = layer
            .map(i32::try_from)
            .transpose()
            .map_err(|_| plan_datafusion_err!("{table} requires a layer below 2^31, got more"))?;
        table.check_schema(&schema)?;
        let name = FileEntry::name_for(table, layer);
        let mut files = locked(&self.files);
        if files.begun.contains(&name) {
            return plan_err!("{name} requires one writer, got a second");
        }
        let writer =
            TableWriter::create(&self.generation.path().join(&name), table, layer, &schema)?;
        files.begun.push(name);
        Ok(TableWriter {
            files: Some(Arc::clone(&self.files)),
            ..writer
        })
    }

    /// Makes the run visible with its autoencoders, in place of the one it replaces.
    pub fn commit(self, facts: RunManifest) -> Result<()> {
        let mut files = std::mem::take(&mut *locked(&self.files));
        // Whatever order they were written in.
        files.finished.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(open) = files
            .begun
            .iter()
            .find(|name| !files.finished.iter().any(|f| f.name == **name))
        {
            return exec_err!("commit requires finished files, got {open} unfinished");
        }
        if facts.run != self.name {
            return plan_err!(
                "commit requires the facts of run '{}', got those of '{}'",
                self.name,
                facts.run
            );
        }
        disk::remove_all(&self.scratch).map_err(|e| file_error("remove", &self.scratch, e))?;
        let path = self.generation.of().pointer();
        let manifest = Manifest {
            format: FORMAT,
            generation: self.generation.name().clone(),
            facts,
            files: files.finished,
            saes: self.saes,
        };
        let text = serde_json::to_vec(&manifest)
            .map_err(|e| exec_datafusion_err!("write {}: {e}", path.display()))?;
        // Before the store's lock, which others wait for.
        self.generation.sync()?;
        let commit = lock::store(&self.root)?;
        // What this store keeps open of the replaced run would keep its files.
        self.opened.forget(&self.name);
        let committed = self.generation.commit(&text);
        // The run is made; the next one that is writes it again.
        let _ = listing::keep(&self.root);
        drop(commit);
        if committed.is_ok() {
            for checkpoints in self.checkpoints {
                // What cannot be removed is told from an unfinished ingest's by when it began.
                let _ = checkpoints.remove();
            }
        }
        drop(self.lock);
        committed
    }
}

/// One file being written.
pub struct TableWriter {
    path: PathBuf,
    table: Table,
    layer: Option<i32>,
    schema: SchemaRef,
    order: KeyOrder,
    writer: ArrowWriter<DiskFile>,
    batches: Vec<BatchEntry>,
    files: Option<Arc<Mutex<Files>>>,
}

impl TableWriter {
    fn create(path: &Path, table: Table, layer: Option<i32>, schema: &Schema) -> Result<Self> {
        let schema = Arc::new(unpacked(schema)?);
        let file = disk::create_new(path).map_err(|e| file_error("create", path, e))?;
        Self::within(path, file, table, layer, schema)
    }

    fn within(
        path: &Path,
        file: DiskFile,
        table: Table,
        layer: Option<i32>,
        schema: SchemaRef,
    ) -> Result<Self> {
        let writer = ArrowWriter::new(file, &schema).map_err(|e| write_error(path, e))?;
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
    pub fn finish(self) -> Result<()> {
        let path = &self.path;
        let (file, tail) = self.writer.finish().map_err(|e| write_error(path, e))?;
        let size_bytes = file.sync().map_err(|e| file_error("write", path, e))?;
        if let Some(files) = self.files {
            locked(&files).finished.push(FileEntry {
                table: self.table.name().to_string(),
                layer: self.layer,
                name: FileEntry::name_for(self.table, self.layer),
                size_bytes,
                tail: Some(tail),
                batches: self.batches,
            });
        }
        Ok(())
    }

    /// The batch under the stored schema.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.num_columns() != self.schema.fields().len() {
            return exec_err!(
                "{} requires {} columns, got {}",
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
                "{} requires column {} to be {}, got {kind}",
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
                    "column {} is required without nested dictionaries, got {}",
                    field.name(),
                    field.data_type()
                );
            }
            Ok(field)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Schema::new(fields))
}

fn write_error(path: &Path, error: ArrowError) -> DataFusionError {
    match error {
        ArrowError::IoError(_, e) => file_error("write", path, e),
        e => exec_datafusion_err!("write {}: {e}", path.display()),
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
        let file = DiskFile::of(std::fs::File::options().write(true).open(full)?);
        let mut writer = TableWriter::within(full, file, Table::Layers, None, Arc::clone(&schema))?;
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
        assert!(error.contains("write /dev/full"), "{error}");
        Ok(())
    }
}
