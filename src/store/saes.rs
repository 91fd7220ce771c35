//! Sparse autoencoders of a store: each belongs to a run, whose manifest tells what it is and whose generation has its
//! weights, so that a layer of latents and its autoencoder are committed, replaced and removed as one.
//!
//! While one is trained, `training/NAME` holds the last checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;

use super::Store;
use super::lock::{self, Name, WriteLock};
use super::manifest::FileEntry;
use super::names::check_name;
use super::run::Run;
use super::sae_manifest::{CurveEntry, SaeEntry, SaeManifest, hash};
use super::sae_training;
use crate::files::generations::Generations;
use crate::files::{file_error, words};
use crate::remote::Remote;

/// A committed sparse autoencoder. Its weights stay as they are while it lives.
#[derive(Debug, Clone)]
pub struct StoredSae {
    /// What it is.
    pub manifest: SaeManifest,
    path: PathBuf,
    hash: String,
    curve: Option<CurveEntry>,
    /// Keeps the file where it is.
    run: Option<Arc<Run>>,
}

impl PartialEq for StoredSae {
    fn eq(&self, other: &Self) -> bool {
        self.manifest == other.manifest && self.hash == other.hash
    }
}

impl StoredSae {
    pub(super) fn new(run: &Arc<Run>, entry: &SaeEntry) -> Self {
        Self {
            path: run.folder().join(SaeEntry::file_name(&entry.facts.name)),
            manifest: entry.facts.clone(),
            hash: entry.hash.clone(),
            curve: entry.curve.clone(),
            run: Some(Arc::clone(run)),
        }
    }

    /// What it is, without a hold on its files.
    pub fn let_go(self) -> Self {
        Self { run: None, ..self }
    }

    /// How its training went, with [`sae_training::columns`]; none where no curve is kept.
    ///
    /// Errors: the file is missing or not what was committed.
    pub fn training_curve(&self) -> Result<Option<RecordBatch>> {
        let name = sae_training::file_name(&self.manifest.name);
        let read = |entry: &CurveEntry| {
            let elsewhere = match &self.run {
                Some(run) => run.elsewhere(&name, entry.size_bytes)?,
                None => None,
            };
            sae_training::read(&self.path.with_file_name(&name), entry, elsewhere)
        };
        self.curve.as_ref().map(read).transpose()
    }

    /// Bytes of its weights, of its training's curve and of its layer's tables.
    pub fn size_bytes(&self) -> Result<u64> {
        let weights = match self.remote() {
            Some((remote, path)) => remote.size(&path)?,
            None => {
                let found = self.path.metadata();
                found.map_err(|e| file_error("read", &self.path, e))?.len()
            }
        };
        let layer = self.manifest.layer;
        let of_layer = |file: &&FileEntry| file.layer.is_some() && file.layer == layer;
        let entries = self.run.iter().flat_map(|run| run.entries());
        let files = entries.filter(of_layer);
        let curve = self.curve.as_ref().map_or(0, |curve| curve.size_bytes);
        Ok(weights + curve + files.map(|file| file.size_bytes).sum::<u64>())
    }

    /// Where its weights are, if they are not here.
    fn remote(&self) -> Option<(&Arc<Remote>, String)> {
        let run = self.run.as_ref()?;
        run.remote(&SaeEntry::file_name(&self.manifest.name))
    }

    /// The hash of its weights.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The file of its weights.
    ///
    /// Errors: it is missing or not what was committed.
    pub fn weights(&self) -> Result<&Path> {
        if let Some((remote, path)) = self.remote()
            && hash(&self.path).ok().as_ref() != Some(&self.hash)
        {
            remote.copy(&path)?;
        }
        match hash(&self.path)? == self.hash {
            true => Ok(&self.path),
            false => exec_err!(
                "a whole file is required, got {} damaged: its hash is another",
                self.path.display()
            ),
        }
    }
}

impl Store {
    /// The committed sparse autoencoders by name. Those of runs that cannot be read are left out.
    pub fn stored_saes(&self) -> Result<BTreeMap<String, StoredSae>> {
        let mut found = BTreeMap::new();
        for run in self.runs()? {
            let Ok(run) = self.run(&run) else {
                continue;
            };
            for entry in run.saes() {
                let name = entry.facts.name.clone();
                found
                    .entry(name)
                    .or_insert_with(|| StoredSae::new(&run, entry));
            }
        }
        Ok(found)
    }

    /// Their names, sorted.
    pub fn saes(&self) -> Result<Vec<String>> {
        Ok(self.stored_saes()?.into_keys().collect())
    }

    /// Whether a sparse autoencoder of this name is committed.
    pub fn has_sae(&self, name: &str) -> bool {
        self.sae(name).is_ok()
    }

    /// A committed sparse autoencoder as it is now.
    pub fn sae(&self, name: &str) -> Result<StoredSae> {
        if check_name("sae", name).is_ok() {
            // Most often where it was found last.
            if let Some(run) = self.sae_runs().get(name).and_then(|run| self.run(run).ok())
                && let Some(entry) = run.saes().iter().find(|entry| entry.facts.name == name)
            {
                return Ok(StoredSae::new(&run, entry));
            }
            if let Some(found) = self.stored_saes()?.remove(name) {
                let run = found.manifest.run.clone().unwrap_or_default();
                self.sae_runs().insert(name.to_string(), run);
                return Ok(found);
            }
        }
        let known = match self.saes()?.as_slice() {
            [] => "it has none".to_string(),
            known => format!("known: {}", known.join(", ")),
        };
        plan_err!(
            "a sparse autoencoder of {} is required, got '{name}'; {known}{}",
            self.place(),
            self.unreadable_runs()?
        )
    }

    /// What is said of runs whose autoencoders are not known.
    fn unreadable_runs(&self) -> Result<String> {
        let runs = self.runs()?.into_iter();
        let told = runs.filter_map(|name| {
            let error = self.run(&name).err()?;
            Some(format!("; run {name} cannot be read: {}", words(&error)))
        });
        Ok(told.collect())
    }

    /// Keeps a sparse autoencoder's name while it is made, by training or import; it is committed with its run.
    ///
    /// Errors: it exists and `replace` is false; another process is making it.
    pub fn begin_sae(&self, name: &str, replace: bool) -> Result<SaeWriter> {
        check_name("sae", name)?;
        self.require_new_sae(name, replace)?;
        self.prepare()?;
        let of = Name {
            kind: "autoencoder",
            name,
        };
        let lock = lock::acquire(self.root(), of, "making it", None)?;
        // Another process may have committed it since.
        self.require_new_sae(name, replace)?;
        Ok(SaeWriter {
            training: self.training(name)?,
            _lock: lock,
        })
    }

    /// The checkpoints of the training of this name, whether there are any or not.
    pub fn training(&self, name: &str) -> Result<Generations> {
        check_name("sae", name)?;
        let folder = self.root().join("training").join(name);
        Ok(Generations::new(folder, "checkpoint.json"))
    }

    fn require_new_sae(&self, name: &str, replace: bool) -> Result<()> {
        match self.has_sae(name) && !replace {
            false => Ok(()),
            true => plan_err!(
                "a new name of a sparse autoencoder is required, got '{name}', which exists in {}: pass \
                 replace: true to replace it",
                self.place()
            ),
        }
    }
}

/// The name of a sparse autoencoder that is being made, and the checkpoints of its training.
#[derive(Debug)]
pub struct SaeWriter {
    training: Generations,
    _lock: WriteLock,
}

impl SaeWriter {
    /// The checkpoints, whether there are any or not.
    pub fn training(&self) -> &Generations {
        &self.training
    }
}
