//! What a store says of a sparse autoencoder: its part of its run's manifest.

use std::fs::File;
use std::path::Path;

use datafusion::error::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::names::check_name;
use super::source::{Source, Versions};
use crate::files::checksums::Tail;
use crate::files::{disk, file_error};

/// Facts of a sparse autoencoder that its author states at commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SaeManifest {
    /// Its name, which is also the name of its latents' layer.
    pub name: String,
    /// Width of the vectors it reads.
    pub d_in: usize,
    /// Width of the vectors it gives back, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_out: Option<usize>,
    /// Number of latents.
    pub d_sae: usize,
    /// `relu`, `topk`, ...
    pub variant: String,
    /// Latents active at once, of the top-k variants.
    pub k: Option<usize>,
    /// Whether `b_dec` is taken off a vector before it is encoded.
    pub centered: bool,
    /// What is taken off a vector first and put back at the end: `rms`, `standard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<String>,
    /// Whether the vector itself adds to what is given back.
    #[serde(default)]
    pub skip: bool,
    /// Whether what it gives back stands for another vector than the one it reads.
    #[serde(default)]
    pub transcodes: bool,
    /// Numbers of latents that were trained to do with those before them alone, of a matryoshka.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<usize>,
    /// The format it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The run that has its latents as a layer.
    pub run: Option<String>,
    /// The number of that layer.
    pub layer: Option<i32>,
    /// Where in the model its vectors are read, `blocks.2.mlp.out`; none if they come from a table.
    pub hook: Option<String>,
    /// Where what a transcoder gives back stands, `blocks.2.mlp.out`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_out: Option<String>,
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

/// The file of a training's curve; its one record batch has all rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CurveEntry {
    pub size_bytes: u64,
    pub tail: Tail,
    pub rows: u32,
}

/// An autoencoder in the manifest of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SaeEntry {
    pub facts: SaeManifest,
    /// blake3 of the file of its weights.
    pub hash: String,
    /// Of its training's curve. None of an imported one, and where it was written before curves were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveEntry>,
}

impl SaeEntry {
    /// Of weights that were written into a generation, now on disk, and of the curve beside them.
    pub fn of(facts: SaeManifest, curve: Option<CurveEntry>, generation: &Path) -> Result<Self> {
        let path = generation.join(Self::file_name(&facts.name));
        disk::sync(&path).map_err(|e| file_error("write", &path, e))?;
        let hash = hash(&path)?;
        Ok(Self { facts, hash, curve })
    }

    pub fn check(&self, manifest: &Path) -> Result<()> {
        let name = check_name("sae", &self.facts.name);
        name.map_err(|e| e.context(format!("read {}", manifest.display())))
    }

    pub fn file_name(name: &str) -> String {
        format!("sae-{name}.safetensors")
    }
}

pub(super) fn hash(path: &Path) -> Result<String> {
    let file: File = disk::open(path).map_err(|e| file_error("open", path, e))?;
    let mut hasher = blake3::Hasher::new();
    let read = hasher.update_reader(file).map(|_| ());
    read.map_err(|e| file_error("read", path, e))?;
    Ok(hasher.finalize().to_hex().to_string())
}
