//! The activation store on disk: one folder per run, Arrow IPC files, committed by one atomic rename.
//!
//! A run's `manifest.json` names the generation folder its files lie in. Writers fill a new generation and then
//! rename a new manifest over the old one, so a reader sees the whole old run or the whole new one.
//! Above 400 lines with the tests of what a replacement shows its readers.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::plan_err;
use datafusion::error::Result;

mod arrow_writer;
mod cache;
pub mod catalog;
mod check;
mod elsewhere;
mod file;
mod gather;
pub mod info;
mod info_meanings;
mod info_training;
pub mod kept;
mod key_order;
mod listing;
mod lock;
mod manifest;
mod meanings;
mod models;
mod names;
mod partitions;
mod provider;
mod pushdown;
mod row_spool;
mod run;
mod sae_manifest;
pub mod sae_training;
mod saes;
mod scan;
mod scan_columns;
pub mod schema;
mod selection;
mod snapshot;
mod source;
mod store_file;
mod table;
mod turns;
mod unfinished;
#[cfg(feature = "cloud")]
mod upload;
mod writer;

use crate::files::generations::Generations;
use crate::files::loaded::Loaded;
use crate::files::whole::write_file;
use crate::files::{disk, file_error};
use crate::remote::{self, Remote};
use lock::Name;
use manifest::{MANIFEST, Manifest};
use names::{RUNS, STORE, UNFINISHED, check_name};

pub use cache::{PassedRows, RunCache, RunLayers};
pub use catalog::{PUBLIC, Selected, StoreCatalog, Views};
pub use check::{CheckedThing, Damage, GoOn, PartRows, TablePart};
pub use lock::{Tried, Waiting, WriteLock};
pub use manifest::{Counts, RunManifest};
pub use models::{ModelPath, ModelWriter};
pub use provider::RunTable;
pub use row_spool::{RowSpool, SpooledRows};
pub use run::{LayerRow, LayerWeights, Run, StoredToken};
pub use sae_manifest::SaeManifest;
pub use saes::{SaeWriter, StoredSae};
pub use scan::{LayerNeurons, RunScan};
pub use snapshot::Snapshot;
pub use source::{FORMAT, Source, Versions};
pub use table::Table;
pub use unfinished::CorpusShard;
#[cfg(feature = "cloud")]
pub use upload::Uploaded;
pub use writer::{RunWriter, TableWriter};

/// The runs of a store that were opened, by name, with the manifest text they were opened from.
#[derive(Debug, Default)]
struct OpenedRuns(Mutex<HashMap<String, Opened>>);

/// A run with the text of the manifest it was opened from.
type Opened = (Vec<u8>, Arc<Run>);

impl OpenedRuns {
    fn get(&self, name: &str, text: &[u8]) -> Option<Arc<Run>> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, run) = runs.get(name)?;
        (seen == text).then(|| Arc::clone(run))
    }

    fn set(&self, name: &str, text: Vec<u8>, run: &Arc<Run>) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(name.to_string(), (text, Arc::clone(run)));
    }

    /// Those who read it go on; it is opened anew for the next.
    fn forget(&self, name: &str) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.remove(name);
    }
}

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
    opened: Arc<OpenedRuns>,
    /// The run each autoencoder was found in last.
    sae_runs: Mutex<HashMap<String, String>>,
    /// Models and autoencoders in memory.
    loaded: Arc<Loaded>,
    /// Where it lies, if not here: then the root has what was read of it.
    remote: Option<Arc<Remote>>,
}

impl Store {
    /// Looks at a folder without changing it; a missing one is an empty store. An address of HTTP is a store that can be
    /// read, as it is now.
    pub fn open(root: &Path) -> Result<Self> {
        match remote::address(root)? {
            Some(address) => Self::elsewhere(address),
            None => Self::here(root),
        }
    }

    fn here(root: &Path) -> Result<Self> {
        let path = root.join(STORE);
        match disk::read(&path) {
            Ok(text) => store_file::check(&path, &text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(file_error("read", &path, e)),
        }
        Ok(Self {
            root: root.to_path_buf(),
            opened: Arc::default(),
            sae_runs: Mutex::default(),
            loaded: Arc::default(),
            remote: None,
        })
    }

    /// The same store, whose models and autoencoders stay in memory here.
    pub(crate) fn with_loaded(mut self, loaded: Arc<Loaded>) -> Self {
        self.loaded = loaded;
        self
    }

    /// What was read from it into memory.
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Where it lies, for people.
    pub fn place(&self) -> String {
        match &self.remote {
            Some(remote) => remote.address().to_string(),
            None => self.root.display().to_string(),
        }
    }

    /// Whether it lies elsewhere, where it can be read alone.
    pub fn is_elsewhere(&self) -> bool {
        self.remote.is_some()
    }

    /// The store's folder; of one that lies elsewhere that of this machine with what was read of it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Names of the committed runs, sorted.
    pub fn runs(&self) -> Result<Vec<String>> {
        listing::runs(&self.root)
    }

    /// A committed run as it is now; the same [`Run`] until it is replaced. It stays readable while it lives.
    pub fn run(&self, name: &str) -> Result<Arc<Run>> {
        if check_name("run", name).is_err() {
            return self.unknown_run(name);
        }
        let of = self.generations(name);
        if let Some(text) = of.text()?
            && let Some(run) = self.opened.get(name, &text)
        {
            return Ok(run);
        }
        let opened = of.open(|text| {
            let manifest = Manifest::parse(name, &of.pointer(), text)?;
            let generation = manifest.generation.clone();
            Ok((manifest, generation))
        })?;
        let Some((text, manifest, generation)) = opened else {
            return self.unknown_run(name);
        };
        let remote = self.remote.clone();
        let run = Arc::new(Run::new(name, manifest, generation, remote));
        self.opened.set(name, text, &run);
        Ok(run)
    }

    /// Starts writing a run; it becomes visible with [`RunWriter::commit`]. Autoencoders of a run that is replaced are
    /// taken over, without their layers.
    ///
    /// Holds the run's name, and removes what killed writers left behind.
    pub fn begin(&self, name: &str, replace: bool) -> Result<RunWriter> {
        self.begin_after(name, replace, None)
    }

    /// As [`Store::begin`], after who holds the run's name, for as long as `waiting` allows.
    pub fn begin_after(
        &self,
        name: &str,
        replace: bool,
        waiting: Option<Waiting<'_>>,
    ) -> Result<RunWriter> {
        check_name("run", name)?;
        self.prepare()?;
        self.sweep("run", RUNS, |name| self.generations(name))?;
        self.sweep("run", UNFINISHED, |name| self.unfinished(name))?;
        let of = Name { kind: "run", name };
        let lock = lock::acquire(&self.root, of, "writing it", waiting)?;
        self.require_new(name, replace)?;
        // One that cannot be read has nothing to take over.
        let replaced = self.has(name).then(|| self.run(name).ok()).flatten();
        let mut writer = RunWriter::start(self, name, lock)?;
        if let Some(run) = replaced {
            for sae in run.saes() {
                writer.adopt_sae(&run, sae, None)?;
            }
        }
        Ok(writer)
    }

    /// Prepares for an ingest that several processes work on.
    ///
    /// Errors: a new run cannot have this name.
    pub fn begin_shards(&self, name: &str, replace: bool) -> Result<()> {
        self.prepare()?;
        self.require_new(name, replace)
    }

    /// Refuses a name that a new run cannot have.
    fn require_new(&self, name: &str, replace: bool) -> Result<()> {
        check_name("run", name)?;
        if self.has_schema(name) {
            return plan_err!(
                "a run name that no schema of tables has is required, got '{name}' of {}",
                self.place()
            );
        }
        match !replace && self.has(name) {
            true => plan_err!(
                "a new run name is required, got '{name}', which exists in {}: pass replace: true to replace it",
                self.place()
            ),
            false => Ok(()),
        }
    }

    /// Starts the next state of a run, which has a layer of this name and kind more, or anew if it has one already. The
    /// other layers and autoencoders are taken over; the table `layers` is the caller's to write.
    ///
    /// Waits for who holds the run's name, for as long as `waiting` allows.
    /// Errors: the run has a layer of that name of another kind.
    pub fn extend(
        &self,
        name: &str,
        layer: &str,
        kind: &str,
        waiting: Waiting<'_>,
    ) -> Result<Extension> {
        self.prepare()?;
        let of = Name { kind: "run", name };
        check_name("run", name)?;
        let lock = lock::acquire(&self.root, of, "adding a layer to it", Some(waiting))?;
        // Read under the lock: nobody replaces it meanwhile.
        let run = self.run(name)?;
        let mut layers = run.layers()?;
        let same = layers.iter().find(|row| row.name == layer);
        if let Some(row) = same.filter(|row| row.kind != kind) {
            return plan_err!(
                "a name that no layer of run '{name}' has is required, got '{layer}' of layer {}",
                row.layer
            );
        }
        let replaced = same.map(|row| row.layer);
        let next = layers.iter().map(|row| row.layer + 1).max().unwrap_or(0);
        layers.retain(|row| Some(row.layer) != replaced);
        let writer = self.next_state(&run, lock, replaced, layer)?;
        Ok(Extension {
            writer,
            facts: run.manifest().clone(),
            layers,
            number: replaced.unwrap_or(next),
        })
    }

    /// Starts the next state of a run, which has an autoencoder less, and its layer, whose number is `number`; as
    /// [`Store::extend`].
    pub fn reduce(&self, sae: &StoredSae, waiting: Waiting<'_>) -> Result<Extension> {
        let facts = &sae.manifest;
        let name = facts.run.as_deref().unwrap_or_default();
        let of = Name { kind: "run", name };
        let lock = lock::acquire(&self.root, of, "removing a layer of it", Some(waiting))?;
        let run = self.run(name)?;
        let mut layers = run.layers()?;
        layers.retain(|row| Some(row.layer) != facts.layer);
        let writer = self.next_state(&run, lock, facts.layer, &facts.name)?;
        Ok(Extension {
            writer,
            facts: run.manifest().clone(),
            layers,
            number: facts.layer.unwrap_or(-1),
        })
    }

    /// A run being written that has taken over all but one layer, one autoencoder and the table `layers`.
    fn next_state(
        &self,
        run: &Arc<Run>,
        lock: WriteLock,
        layer: Option<i32>,
        sae: &str,
    ) -> Result<RunWriter> {
        let mut writer = RunWriter::start(self, run.name(), lock)?;
        let kept = |file: &&manifest::FileEntry| {
            file.table != Table::Layers.name() && (file.layer.is_none() || file.layer != layer)
        };
        for file in run.entries().iter().filter(kept) {
            writer.adopt(run, file)?;
        }
        for entry in run.saes().iter().filter(|entry| entry.facts.name != sae) {
            writer.adopt_sae(run, entry, entry.facts.layer)?;
        }
        Ok(writer)
    }

    /// Removes a run, readable or not, and what an interrupted ingest of its name has left. Those who read it go on; its
    /// files go when they have ended. The bytes it had.
    ///
    /// Errors: there is no such run; someone writes it; it has autoencoders and `cascade` is false.
    pub fn drop_run(&self, name: &str, cascade: bool) -> Result<u64> {
        if check_name("run", name).is_err() || !(self.has(name) || self.is_unfinished(name)?) {
            return self.unknown_run(name);
        }
        let of = Name { kind: "run", name };
        let _lock = lock::acquire(&self.root, of, "removing it", None)?;
        let saes = self.saes_of(name);
        if !saes.is_empty() && !cascade {
            return plan_err!(
                "a run without autoencoders is required, got '{name}' with {}: drop them with drop_sae first, or \
                 pass cascade: true to drop them too",
                saes.join(", ")
            );
        }
        let _commit = lock::store(&self.root)?;
        self.opened.forget(name);
        let left = self.unfinished(name).remove()? + self.remove_shards(name)?;
        let bytes = left + self.generations(name).remove()?;
        listing::keep(&self.root)?;
        Ok(bytes)
    }

    /// Names of the autoencoders of a run; none if it cannot be read.
    pub fn saes_of(&self, run: &str) -> Vec<String> {
        let run = self.run(run).ok();
        let entries = run.iter().flat_map(|run| run.saes());
        entries.map(|entry| entry.facts.name.clone()).collect()
    }

    /// Makes the store's folder, of this version. Only what writes needs it.
    fn prepare(&self) -> Result<()> {
        disk::create_folders(&self.root).map_err(|e| file_error("create", &self.root, e))?;
        let _lock = lock::store(&self.root)?;
        // Another process may have made the store since this one looked at it.
        Self::here(&self.root)?;
        listing::keep(&self.root)?;
        let path = self.root.join(STORE);
        if path.exists() {
            return Ok(());
        }
        write_file(&path, &store_file::text()?)
    }

    /// Removes what killed writers, and readers of what was removed, left in the things of a kind that nobody writes.
    fn sweep(
        &self,
        kind: &'static str,
        folder: &str,
        of: impl Fn(&str) -> Generations,
    ) -> Result<()> {
        for path in disk::entries(&self.root.join(folder))? {
            let name = path.file_name().unwrap_or_default();
            let Some(name) = name.to_str().filter(|name| check_name(kind, name).is_ok()) else {
                continue;
            };
            if let Some(_lock) = lock::try_acquire(&self.root, Name { kind, name })? {
                of(name).sweep()?;
            }
        }
        Ok(())
    }

    /// Whether a run of this name is committed, readable or not.
    pub fn has(&self, name: &str) -> bool {
        check_name("run", name).is_ok() && self.generations(name).exists()
    }

    fn generations(&self, run: &str) -> Generations {
        Generations::new(self.root.join(RUNS).join(run), MANIFEST)
    }

    fn sae_runs(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.sae_runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown_run<T>(&self, name: &str) -> Result<T> {
        let known = self.runs()?;
        let known = if known.is_empty() {
            "it has none".to_string()
        } else {
            format!("known runs: {}", known.join(", "))
        };
        plan_err!(
            "a run of {} is required, got '{name}'; {known}",
            self.place()
        )
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
