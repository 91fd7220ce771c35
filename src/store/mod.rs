//! The activation store on disk: one folder per run, Arrow IPC files, committed by one atomic rename.
//!
//! A run's `manifest.json` names the generation folder its files lie in. Writers fill a new generation and then
//! rename a new manifest over the old one, so a reader sees the whole old run or the whole new one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use serde::{Deserialize, Serialize};

mod cache;
pub mod catalog;
mod file;
mod folder;
mod gather;
pub mod info;
mod key_order;
mod lock;
mod manifest;
mod partitions;
mod provider;
mod pushdown;
mod run;
mod saes;
mod scan;
mod scan_columns;
pub mod schema;
mod selection;
mod table;
mod writer;

pub use cache::RunCache;
pub use catalog::StoreCatalog;
pub use folder::FolderWriter;
pub use manifest::{Counts, FORMAT, RunManifest, Source, Versions};
pub use provider::RunTable;
pub use run::{LayerRow, LayerWeights, Run};
pub use saes::{SaeManifest, SaeWriter, StoredSae};
pub use scan::RunScan;
pub use table::Table;
pub use writer::{RunWriter, TableWriter};

/// Names a run cannot have: the catalog's other schemas.
const RESERVED: [&str; 3] = ["public", "info", "information_schema"];

/// Folder of the stored models.
const MODELS: &str = "models";

#[derive(Serialize, Deserialize)]
struct StoreFile {
    format: u32,
}

/// A run with the manifest text it was opened from.
type Opened = (Vec<u8>, Arc<Run>);

/// A run that is getting a layer more.
#[derive(Debug)]
pub struct Extension {
    /// Writes the new layer's files and the table `layers`.
    pub writer: RunWriter,
    /// The run's manifest so far.
    pub facts: RunManifest,
    /// The other layers.
    pub layers: Vec<LayerRow>,
    /// The new layer's number.
    pub number: i32,
}

/// A folder of runs.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Runs already opened.
    opened: Mutex<HashMap<String, Opened>>,
}

impl Store {
    /// Looks at a folder without changing it; a missing one is an empty store.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join("store.json");
        match fs::read(&path) {
            Ok(text) => {
                let found: StoreFile = serde_json::from_slice(&text)
                    .map_err(|e| exec_datafusion_err!("store: read {}: {e}", path.display()))?;
                if found.format != FORMAT {
                    return exec_err!(
                        "store: {} needs store version {FORMAT}, got version {}: open it with the polysema that \
                         made it, or choose another store folder",
                        root.display(),
                        found.format
                    );
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io_error("read", &path, e)),
        }
        Ok(Self {
            root: root.to_path_buf(),
            opened: Mutex::default(),
        })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Names of the committed runs, sorted.
    pub fn runs(&self) -> Result<Vec<String>> {
        let folder = self.root.join("runs");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(io_error("read", &folder, e)),
        };
        let mut names = vec![];
        for entry in entries {
            let entry = entry.map_err(|e| io_error("read", &folder, e))?;
            if let Ok(name) = entry.file_name().into_string()
                && check_name("run", &name).is_ok()
                && manifest::path(&entry.path()).exists()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// A committed run as it is now; the same [`Run`] until it is replaced.
    pub fn run(&self, name: &str) -> Result<Arc<Run>> {
        let folder = self.run_folder(name);
        let path = manifest::path(&folder);
        let text = match check_name("run", name).map(|()| fs::read(&path)) {
            Ok(Ok(text)) => text,
            Ok(Err(e)) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("read", &path, e));
            }
            _ => return self.unknown_run(name),
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, run)) = opened.get(name)
            && *seen == text
        {
            return Ok(Arc::clone(run));
        }
        let run = Arc::new(Run::open(name, &folder, &text)?);
        opened.insert(name.to_string(), (text, Arc::clone(&run)));
        Ok(run)
    }

    /// Starts writing a run; it becomes visible with [`RunWriter::commit`].
    ///
    /// Takes the store's write lock and removes what killed writers left behind.
    pub fn begin(&self, name: &str, replace: bool) -> Result<RunWriter> {
        check_name("run", name)?;
        let lock = self.prepare()?;
        let folder = self.run_folder(name);
        if !replace && manifest::path(&folder).exists() {
            return plan_err!(
                "store: a new run name is required, got '{name}', which exists in {}: pass replace: true to replace it",
                self.root.display()
            );
        }
        self.mark()?;
        writer::sweep(&self.root.join("runs"))?;
        RunWriter::start(name, &folder, lock)
    }

    /// Starts the next state of a run, which has a layer of this name and kind more, or anew if it has one already. The
    /// files of the other layers are taken over; the table `layers` is the caller's to write.
    ///
    /// Takes the store's write lock and removes what killed writers left behind.
    /// Errors: the run has a layer of that name of another kind.
    pub fn extend(&self, name: &str, layer: &str, kind: &str) -> Result<Extension> {
        let lock = self.prepare()?;
        // Read under the lock: nobody replaces it meanwhile.
        let run = self.run(name)?;
        let mut layers = run.layers()?;
        let same = layers.iter().find(|row| row.name == layer);
        if let Some(row) = same.filter(|row| row.kind != kind) {
            return plan_err!(
                "store: a name that no layer of run '{name}' has is required, got '{layer}' of layer {}",
                row.layer
            );
        }
        let replaced = same.map(|row| row.layer);
        let next = layers.iter().map(|row| row.layer + 1).max().unwrap_or(0);
        layers.retain(|row| Some(row.layer) != replaced);
        writer::sweep(&self.root.join("runs"))?;
        let mut writer = RunWriter::start(name, &self.run_folder(name), lock)?;
        let kept = |file: &&manifest::FileEntry| {
            file.table != Table::Layers.name() && (file.layer.is_none() || file.layer != replaced)
        };
        for file in run.entries().iter().filter(kept) {
            writer.adopt(run.folder(), file)?;
        }
        Ok(Extension {
            writer,
            facts: run.manifest().clone(),
            layers,
            number: replaced.unwrap_or(next),
        })
    }

    /// Starts writing a model's folder; it becomes visible with [`FolderWriter::commit`]. Takes the store's write lock.
    pub fn begin_model(&self, name: &str, replace: bool) -> Result<FolderWriter> {
        check_name("model", name)?;
        let lock = self.prepare()?;
        if !replace && self.has_model(name) {
            return plan_err!(
                "store: a new model name is required, got '{name}', which exists in {}: pass replace: true to \
                 replace it",
                self.root.display()
            );
        }
        self.mark()?;
        FolderWriter::start(&self.root.join(MODELS), name, lock)
    }

    /// Whether a model of this name is stored.
    pub fn has_model(&self, name: &str) -> bool {
        check_name("model", name).is_ok() && self.model_folder(name).is_dir()
    }

    /// Names of the stored models, sorted.
    pub fn models(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = writer::entries(&self.root.join(MODELS))?
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_string()))
            .filter(|name| self.has_model(name))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Where a model is: the stored model of that name if no file or folder is called so, else the path itself.
    pub fn resolve_model(&self, model: &Path) -> Result<PathBuf> {
        let name = model
            .to_str()
            .filter(|name| check_name("model", name).is_ok());
        let Some(name) = name.filter(|_| !model.exists()) else {
            return Ok(model.to_path_buf());
        };
        if self.has_model(name) {
            return Ok(self.model_folder(name));
        }
        let known = match self.models()?.as_slice() {
            [] => "it has none".to_string(),
            names => format!("stored models: {}", names.join(", ")),
        };
        exec_err!(
            "store: a model folder, a safetensors file or a model of {} is required, got '{name}'; {known}",
            self.root.display()
        )
    }

    /// Makes the store's folder and takes its write lock.
    fn prepare(&self) -> Result<lock::WriteLock> {
        fs::create_dir_all(&self.root).map_err(|e| io_error("create", &self.root, e))?;
        let lock = lock::acquire(&self.root)?;
        // Another process may have made the store since this one looked at it.
        Self::open(&self.root)?;
        Ok(lock)
    }

    /// Writes the store's version into a new one. Only under the write lock.
    fn mark(&self) -> Result<()> {
        let path = self.root.join("store.json");
        if !path.exists() {
            let text = serde_json::to_vec(&StoreFile { format: FORMAT })
                .map_err(|e| exec_datafusion_err!("store: write {}: {e}", path.display()))?;
            writer::write_atomically(&path, &text)?;
        }
        Ok(())
    }

    fn model_folder(&self, name: &str) -> PathBuf {
        self.root.join(MODELS).join(name)
    }

    /// Whether a run of this name is committed, readable or not.
    pub fn has(&self, name: &str) -> bool {
        check_name("run", name).is_ok() && manifest::path(&self.run_folder(name)).exists()
    }

    fn run_folder(&self, name: &str) -> PathBuf {
        self.root.join("runs").join(name)
    }

    fn unknown_run<T>(&self, name: &str) -> Result<T> {
        let known = self.runs()?;
        let known = if known.is_empty() {
            "it has none".to_string()
        } else {
            format!("known runs: {}", known.join(", "))
        };
        plan_err!(
            "store: a run of {} is required, got '{name}'; {known}",
            self.root.display()
        )
    }
}

/// A run is a schema's name in SQL, and everything a folder's name on disk.
fn check_name(kind: &str, name: &str) -> Result<()> {
    let word = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !word {
        return plan_err!(
            "store: a {kind} name of letters, digits, '_' and '-' is required, got '{name}'"
        );
    }
    if kind != "model" && RESERVED.iter().any(|r| r.eq_ignore_ascii_case(name)) {
        return plan_err!(
            "store: a {kind} name other than {} is required, got '{name}'",
            RESERVED.join(", ")
        );
    }
    Ok(())
}

/// Every failed system call is reported with what was tried on which path.
fn io_error(action: &str, path: &Path, error: io::Error) -> DataFusionError {
    exec_datafusion_err!("store: {action} {}: {error}", path.display())
}
