//! Schemas and tables that last, as they are found: listed, opened, dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;

use super::manifest::KeptManifest;
use super::name::{KeptName, MARKER, TABLES};
use crate::files::generations::{GenerationName, HeldGeneration};
use crate::files::whole::write_file;
use crate::files::{disk, file_error, seal};
use crate::store::file::TableFile;
use crate::store::lock::{self, Name, WriteLock};
use crate::store::names::check_name;
use crate::store::{FORMAT, Store};

/// Longest wait for another who changes the same table. Chosen, not tuned.
const WAIT: Duration = Duration::from_secs(60);

/// One state of a table: its files are mapped, so that they stay for who reads it also when they were removed.
#[derive(Debug)]
pub struct KeptTable {
    name: KeptName,
    manifest: KeptManifest,
    columns: SchemaRef,
    files: Vec<TableFile>,
    folder: PathBuf,
}

impl KeptTable {
    /// Its name.
    pub fn name(&self) -> &KeptName {
        &self.name
    }

    /// Its columns.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Which state it is.
    pub fn generation(&self) -> &GenerationName {
        &self.manifest.generation
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.total()).sum()
    }

    /// Bytes of its files.
    pub fn size_bytes(&self) -> u64 {
        let parts = self.manifest.parts.iter();
        parts.map(|part| part.size_bytes).sum()
    }

    /// When this state was written, in seconds since 1970.
    pub fn written_at(&self) -> i64 {
        self.manifest.written_at
    }

    pub(super) fn manifest(&self) -> &KeptManifest {
        &self.manifest
    }

    /// Where its files lie.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// Every record batch as a file and a place in it, in the order of the rows.
    pub(super) fn batches(&self) -> Vec<(usize, usize)> {
        let files = self.files.iter().enumerate();
        let places = files.flat_map(|(at, file)| (0..file.rows().len()).map(move |b| (at, b)));
        places.collect()
    }

    pub(super) fn read(
        &self,
        (file, batch): (usize, usize),
        columns: &[usize],
    ) -> Result<RecordBatch> {
        self.files[file].read(batch, columns)
    }
}

impl Store {
    /// Names of the schemas whose tables last, sorted.
    pub fn schemas(&self) -> Result<Vec<String>> {
        let entries = disk::entries(&self.root().join(TABLES))?;
        let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
        let names = names.filter(|name| self.has_schema(name));
        Ok(names.map(str::to_string).collect())
    }

    /// Whether there is a schema of this name whose tables last.
    pub fn has_schema(&self, name: &str) -> bool {
        let folder = self.root().join(TABLES).join(name);
        check_name("schema", name).is_ok()
            && disk::is_folder(&folder).is_ok_and(|is| is)
            && folder.join(MARKER).symlink_metadata().is_ok()
    }

    /// Makes a schema whose tables last.
    ///
    /// Errors: a run or a schema has the name.
    pub fn create_schema(&self, name: &str) -> Result<()> {
        let Some(schema) = self.begin_schema(name)? else {
            return plan_err!("CREATE SCHEMA: a new name is required, got '{name}'");
        };
        let _commit = lock::store(self.root())?;
        schema.commit()
    }

    /// A schema to be made; none if it is there. Nobody makes a run of its name meanwhile.
    pub(super) fn begin_schema(&self, name: &str) -> Result<Option<NewSchema>> {
        check_name("schema", name)?;
        self.prepare()?;
        if self.has_schema(name) {
            return Ok(None);
        }
        let of = Name { kind: "run", name };
        let lock = lock::acquire(self.root(), of, "making a schema of its name", None)?;
        if self.has(name) {
            return plan_err!("a schema name that no run has is required, got '{name}'");
        }
        let folder = self.root().join(TABLES).join(name);
        // What a schema of the name has left that was dropped is no table of the new one.
        for left in disk::entries(&folder)? {
            disk::remove_all(&left).map_err(|e| file_error("remove", &left, e))?;
        }
        disk::create_folders(&folder).map_err(|e| file_error("create", &folder, e))?;
        Ok(Some(NewSchema {
            folder,
            _lock: lock,
        }))
    }

    /// Removes a schema; with `cascade` the tables in it, too.
    ///
    /// Errors: it has tables and `cascade` is false; someone changes one of them.
    pub fn drop_schema(&self, name: &str, cascade: bool) -> Result<()> {
        let tables = self.kept_tables(name)?;
        if !tables.is_empty() && !cascade {
            return plan_err!(
                "DROP SCHEMA {name} CASCADE is required, since it removes the tables {} from {}, got no CASCADE",
                tables.join(", "),
                self.place()
            );
        }
        let of = Name { kind: "run", name };
        let _lock = lock::acquire(self.root(), of, "removing the schema of its name", None)?;
        let names = tables.iter().map(|table| KeptName::new(name, table));
        let locks = names.map(|table| {
            let in_use = || exec_err!("tables that nobody changes are required, got {table}");
            self.lock_kept(&table, "removing it", &in_use)
        });
        let _locks = locks.collect::<Result<Vec<_>>>()?;
        let _commit = lock::store(self.root())?;
        let folder = self.root().join(TABLES).join(name);
        let marker = folder.join(MARKER);
        disk::remove_file(&marker).map_err(|e| file_error("remove", &marker, e))?;
        disk::sync(&folder).map_err(|e| file_error("write", &folder, e))?;
        // It is gone; what cannot be removed now is removed before a schema of its name is made.
        let _ = disk::remove_all(&folder);
        Ok(())
    }

    /// Names of the tables of a schema, readable or not, sorted.
    pub fn kept_tables(&self, schema: &str) -> Result<Vec<String>> {
        if !self.has_schema(schema) {
            return Ok(vec![]);
        }
        let entries = disk::entries(&self.root().join(TABLES).join(schema))?;
        let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
        let names = names.filter(|table| self.has_kept(&KeptName::new(schema, table)));
        Ok(names.map(str::to_string).collect())
    }

    /// Whether there is such a table, readable or not.
    pub fn has_kept(&self, name: &KeptName) -> bool {
        name.check().is_ok() && self.has_schema(&name.schema) && name.place(self).exists()
    }

    /// A table as it is now; none if there is no such table.
    ///
    /// Errors: a file of it is damaged.
    pub fn kept(&self, name: &KeptName) -> Result<Option<Arc<KeptTable>>> {
        if !self.has_kept(name) {
            return Ok(None);
        }
        let place = name.place(self);
        let Some((manifest, generation)) = self.open_kept(name)? else {
            return Ok(None);
        };
        let parts = manifest.parts.iter();
        let files = parts.map(|part| {
            let path = generation.path().join(part.file());
            let rows = part.rows.clone();
            TableFile::open_whole(&path, part.size_bytes, rows, part.tail, None)
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        let Some(columns) = files.first().map(|file| Arc::clone(file.schema())) else {
            return exec_err!("{} requires a part, got none", place.pointer().display());
        };
        if let Some(other) = files.iter().find(|file| *file.schema() != columns) {
            return exec_err!(
                "a whole file is required, got {} damaged: its columns are not those of {}",
                other.path().display(),
                files[0].path().display()
            );
        }
        Ok(Some(Arc::new(KeptTable {
            name: name.clone(),
            manifest,
            columns,
            files,
            folder: generation.path().to_path_buf(),
        })))
    }

    /// What a table's manifest says, with its generation held; nothing if there is no such table.
    pub(in crate::store) fn open_kept(
        &self,
        name: &KeptName,
    ) -> Result<Option<(KeptManifest, HeldGeneration)>> {
        let place = name.place(self);
        let opened = place.open(|text| {
            let manifest = KeptManifest::parse(&place.pointer(), text)?;
            let generation = manifest.generation.clone();
            Ok((manifest, generation))
        })?;
        Ok(opened.map(|(_, manifest, generation)| (manifest, generation)))
    }

    /// The file that makes a folder a schema.
    pub(in crate::store) fn schema_marker(&self, name: &str) -> PathBuf {
        self.root().join(TABLES).join(name).join(MARKER)
    }

    /// Removes a table, readable or not. Those who read it go on; its files go when they have ended. The bytes it had.
    pub fn drop_kept(&self, name: &KeptName, wanted: &dyn Fn() -> Result<()>) -> Result<u64> {
        let _lock = self.lock_kept(name, "removing it", wanted)?;
        wanted()?;
        let _commit = lock::store(self.root())?;
        name.place(self).remove()
    }

    /// Holds a table against others who change it, after those who came before.
    pub(super) fn lock_kept(
        &self,
        name: &KeptName,
        doing: &str,
        wanted: &dyn Fn() -> Result<()>,
    ) -> Result<WriteLock> {
        name.check()?;
        let (text, started) = (name.to_string(), Instant::now());
        let of = Name {
            kind: "table",
            name: &text,
        };
        let mut patience = |held: &str| match started.elapsed() < WAIT {
            true => wanted(),
            false => exec_err!(
                "changes of less than {} s are required, got {held}",
                WAIT.as_secs()
            ),
        };
        lock::acquire(self.root(), of, doing, Some(&mut patience))
    }

    /// Removes what killed writers, and readers of what was dropped, left in the tables that nobody changes.
    pub(super) fn sweep_kept(&self) -> Result<()> {
        for schema in disk::entries(&self.root().join(TABLES))? {
            let Some(schema_name) = schema.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            for table in disk::entries(&schema)? {
                let Some(table) = table.file_name().and_then(|name| name.to_str()) else {
                    continue;
                };
                let name = KeptName::new(schema_name, table);
                let text = name.to_string();
                let of = Name {
                    kind: "table",
                    name: &text,
                };
                if table != MARKER
                    && name.check().is_ok()
                    && let Some(_lock) = lock::try_acquire(self.root(), of)?
                {
                    name.place(self).sweep()?;
                }
            }
        }
        Ok(())
    }
}

/// A schema that is being made; its folder is gone when dropped without [`NewSchema::commit`], if nothing is in it.
#[derive(Debug)]
pub(super) struct NewSchema {
    folder: PathBuf,
    _lock: WriteLock,
}

impl NewSchema {
    /// Makes it one. Under the lock of the store.
    pub fn commit(&self) -> Result<()> {
        let text = format!("{{\"format\":{FORMAT}}}");
        write_file(&self.folder.join(MARKER), &seal::seal(text.as_bytes()))
    }
}

impl Drop for NewSchema {
    fn drop(&mut self) {
        let _ = disk::remove_folder(&self.folder);
    }
}
