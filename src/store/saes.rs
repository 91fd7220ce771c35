//! Sparse autoencoders of a store: `saes/NAME/sae.json` tells what one is and names the folder its weights lie in.
//!
//! As with runs a writer fills a new generation and renames a new `sae.json` over the old one. While one is trained,
//! `saes/NAME/training` holds the last checkpoint, and `saes/NAME/lock` keeps others from training it too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lock::{self, WriteLock};
use super::manifest::{FORMAT, Source, Versions};
use super::writer::{sync_folder, write_atomically};
use super::{Store, check_name, io_error};

const MANIFEST: &str = "sae.json";
const TRAINING: &str = "training";

/// Facts of a sparse autoencoder that its author states at commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SaeManifest {
    /// Its name, which is also the name of its latents' layer.
    pub name: String,
    /// Width of the vectors it reads.
    pub d_in: usize,
    /// Number of latents.
    pub d_sae: usize,
    /// `relu`, `topk`, ...
    pub variant: String,
    /// Latents active at once, of the top-k variants.
    pub k: Option<usize>,
    /// Whether `b_dec` is taken off a vector before it is encoded.
    pub centered: bool,
    /// The run that has its latents as a layer.
    pub run: Option<String>,
    /// The number of that layer.
    pub layer: Option<i32>,
    /// Where in the model its vectors are read, `blocks.2.mlp.out`; none if they come from a table.
    pub hook: Option<String>,
    /// The model whose activations it reads.
    pub model: Option<Source>,
    /// The corpus it was trained on.
    pub corpus: Option<Source>,
    /// What it was trained on, in words.
    pub source: String,
    /// Every option of the training or the import, given or default.
    pub options: Map<String, Value>,
    /// Facts a foreign file brought, kept for its export.
    pub foreign: Map<String, Value>,
    /// Optimizer steps.
    pub steps: u64,
    /// Rows seen in training.
    pub rows: u64,
    /// Mean squared error over rows and dimensions of what it was trained on.
    pub mse: Option<f64>,
    /// How long the training took.
    pub seconds: f64,
    /// Seconds since 1970, UTC.
    pub created_at: i64,
    /// What wrote it.
    pub versions: Versions,
}

#[derive(Serialize, Deserialize)]
struct SaeFile {
    format: u32,
    generation: String,
    #[serde(flatten)]
    facts: Value,
}

/// A committed sparse autoencoder.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSae {
    /// What it is.
    pub manifest: SaeManifest,
    /// The folder of its weights.
    pub folder: PathBuf,
}

impl Store {
    fn saes_folder(&self) -> PathBuf {
        self.root().join("saes")
    }

    /// Names of the committed sparse autoencoders, sorted.
    pub fn saes(&self) -> Result<Vec<String>> {
        let folder = self.saes_folder();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(io_error("read", &folder, e)),
        };
        let mut names = vec![];
        for entry in entries {
            let entry = entry.map_err(|e| io_error("read", &folder, e))?;
            if entry.path().join(MANIFEST).exists()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether a sparse autoencoder of this name is committed.
    pub fn has_sae(&self, name: &str) -> bool {
        check_name("sae", name).is_ok() && self.saes_folder().join(name).join(MANIFEST).exists()
    }

    /// A committed sparse autoencoder as it is now.
    pub fn sae(&self, name: &str) -> Result<StoredSae> {
        let folder = self.saes_folder().join(name);
        let path = folder.join(MANIFEST);
        let text = match check_name("sae", name).map(|()| fs::read(&path)) {
            Ok(Ok(text)) => text,
            Ok(Err(e)) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("read", &path, e));
            }
            _ => {
                let known = match self.saes()?.as_slice() {
                    [] => "it has none".to_string(),
                    known => format!("known: {}", known.join(", ")),
                };
                return plan_err!(
                    "store: a sparse autoencoder of {} is required, got '{name}'; {known}",
                    self.root().display()
                );
            }
        };
        let unreadable = |e| exec_datafusion_err!("store: read {}: {e}", path.display());
        let file: SaeFile = serde_json::from_slice(&text).map_err(unreadable)?;
        if file.format != FORMAT {
            return exec_err!(
                "store: '{name}' needs store version {FORMAT}, got version {}: open it with the polysema that made it",
                file.format
            );
        }
        Ok(StoredSae {
            manifest: serde_json::from_value(file.facts).map_err(unreadable)?,
            folder: folder.join(file.generation),
        })
    }

    /// Starts writing a sparse autoencoder; it becomes visible with [`SaeWriter::commit`].
    ///
    /// Errors: it exists and `replace` is false; another process is writing it.
    pub fn begin_sae(&self, name: &str, replace: bool) -> Result<SaeWriter> {
        check_name("sae", name)?;
        self.require_new_sae(name, replace)?;
        let store = self.prepare()?;
        self.mark()?;
        drop(store);
        let folder = self.saes_folder().join(name);
        fs::create_dir_all(&folder).map_err(|e| io_error("create", &folder, e))?;
        let lock = lock::acquire(&folder)?;
        // Another process may have committed it since.
        self.require_new_sae(name, replace)?;
        Ok(SaeWriter {
            name: name.to_string(),
            folder,
            staged: None,
            _lock: lock,
        })
    }
}

impl Store {
    fn require_new_sae(&self, name: &str, replace: bool) -> Result<()> {
        match self.has_sae(name) && !replace {
            false => Ok(()),
            true => plan_err!(
                "store: a new name of a sparse autoencoder is required, got '{name}', which exists in {}: pass \
                 replace: true to replace it",
                self.root().display()
            ),
        }
    }
}

/// A sparse autoencoder being made. Dropped before its commit it leaves its training folder, if one was begun.
#[derive(Debug)]
pub struct SaeWriter {
    name: String,
    folder: PathBuf,
    /// The folder of the weights, once they are written.
    staged: Option<String>,
    _lock: WriteLock,
}

impl SaeWriter {
    /// The folder of the checkpoints, whether it is there or not.
    pub fn training(&self) -> PathBuf {
        self.folder.join(TRAINING)
    }

    /// Writes the weights: `write` fills their folder, which is seen by nobody before the commit.
    pub fn stage(&mut self, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let generation = (0..)
            .map(|n| format!("gen-{n}"))
            .find(|name| !self.folder.join(name).exists())
            .unwrap_or_default();
        let weights = self.folder.join(&generation);
        fs::create_dir(&weights).map_err(|e| io_error("create", &weights, e))?;
        self.staged = Some(generation);
        write(&weights)?;
        sync_folder(&weights)
    }

    /// Makes it visible, with the weights that were staged.
    pub fn commit(mut self, facts: &SaeManifest) -> Result<()> {
        if facts.name != self.name {
            return plan_err!(
                "store: commit requires the facts of '{}', got those of '{}'",
                self.name,
                facts.name
            );
        }
        let path = self.folder.join(MANIFEST);
        let Some(generation) = self.staged.clone() else {
            return plan_err!(
                "store: commit of '{}' requires weights, got none",
                self.name
            );
        };
        let invalid = |e| exec_datafusion_err!("store: write {}: {e}", path.display());
        let file = SaeFile {
            format: FORMAT,
            generation: generation.clone(),
            facts: serde_json::to_value(facts).map_err(invalid)?,
        };
        let text = serde_json::to_vec(&file).map_err(invalid)?;
        write_atomically(&path, &text)?;
        self.staged = None;
        sync_folder(&self.folder)?;
        self.sweep(&generation);
        Ok(())
    }

    /// Removes what is no longer needed; what cannot be removed now is swept by the next commit.
    fn sweep(&self, generation: &str) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let stale = name.to_string_lossy().starts_with("gen-") && name != generation;
            if stale || name == TRAINING {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Drop for SaeWriter {
    fn drop(&mut self) {
        if let Some(staged) = &self.staged {
            // What cannot be removed is invisible, and swept by the next commit.
            let _ = fs::remove_dir_all(self.folder.join(staged));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str) -> SaeManifest {
        SaeManifest {
            name: name.to_string(),
            d_in: 4,
            d_sae: 8,
            variant: "relu".to_string(),
            ..Default::default()
        }
    }

    fn write(text: &'static str) -> impl FnOnce(&Path) -> Result<()> {
        move |folder| Ok(fs::write(folder.join("weights"), text)?)
    }

    #[test]
    fn it_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(store.saes().unwrap().is_empty());
        let writer = store.begin_sae("s", false).unwrap();
        let second = store.begin_sae("s", false).unwrap_err();
        assert!(
            second
                .strip_backtrace()
                .contains("which another writer holds")
        );
        let mut writer = writer;
        assert!(writer.stage(|_| exec_err!("disk full")).is_err());
        drop(writer);
        assert!(!folder.path().join("saes/s/gen-0").exists());
        let without = store.begin_sae("s", false).unwrap().commit(&facts("s"));
        assert!(
            without
                .unwrap_err()
                .strip_backtrace()
                .ends_with("requires weights, got none")
        );

        let commit = |text, replace| {
            let mut writer = store.begin_sae("s", replace)?;
            fs::create_dir_all(writer.training())?;
            writer.stage(write(text))?;
            writer.commit(&facts("s"))
        };
        commit("one", false).unwrap();
        let error = commit("two", false).unwrap_err();
        assert!(error.strip_backtrace().contains("pass replace: true"));
        commit("two", true).unwrap();
        let stored = store.sae("s").unwrap();
        assert_eq!(stored.manifest, facts("s"));
        let weights = fs::read_to_string(stored.folder.join("weights")).unwrap();
        assert_eq!(weights, "two");
        assert_eq!(store.saes().unwrap(), ["s"]);
        let mut left: Vec<_> = fs::read_dir(folder.path().join("saes/s"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["gen-1", "lock", "sae.json"]);
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let error = store.sae("s").unwrap_err();
        assert!(error.strip_backtrace().ends_with("got 's'; it has none"));
        let mut writer = store.begin_sae("other", false).unwrap();
        writer.stage(write("one")).unwrap();
        writer.commit(&facts("other")).unwrap();
        let error = store.sae("s").unwrap_err();
        assert!(error.strip_backtrace().ends_with("got 's'; known: other"));
    }
}
