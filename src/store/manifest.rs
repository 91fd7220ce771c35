//! A run's manifest: what was done to make it, and which files hold it.

use std::path::Path;

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::sae_manifest::SaeEntry;
use super::source::{FORMAT, Source, Versions};
use super::table::Table;
use crate::files::checksums::Tail;
use crate::files::generations::GenerationName;

/// Name of a run's manifest.
pub(super) const MANIFEST: &str = "manifest.json";

/// Rows of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Documents.
    pub documents: u64,
    /// Tokens of all documents.
    pub tokens: u64,
    /// Layers.
    pub layers: u64,
    /// Neurons of all layers.
    pub neurons: u64,
    /// Dataset examples of all neurons.
    pub examples: u64,
    /// Stored vectors of all layers.
    pub vectors: u64,
}

/// Facts of a run that its author states at commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunManifest {
    /// The run's name.
    pub run: String,
    /// The model's folder.
    pub model: Source,
    /// `gpt2`, `mlp`, ...
    pub architecture: String,
    /// Types of the model's numbers in its files, that of most weights first; empty where that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weight_types: Vec<String>,
    /// The corpus's file.
    pub corpus: Source,
    /// `folded`, `raw` or `tl_folded`.
    pub layer_norm: String,
    /// Every option, given or default.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// What wrote it.
    pub versions: Versions,
    /// How much there is.
    pub counts: Counts,
    /// How long it took.
    pub seconds: f64,
    /// Seconds since 1970, UTC.
    pub created_at: i64,
}

/// A record batch of a file: what a reader must know to leave it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, i32, i32)", into = "(u32, i32, i32)")]
pub(super) struct BatchEntry {
    pub rows: u32,
    /// First and last neuron, both inclusive; 0 in tables without neurons.
    pub first: i32,
    pub last: i32,
}

impl From<(u32, i32, i32)> for BatchEntry {
    fn from((rows, first, last): (u32, i32, i32)) -> Self {
        Self { rows, first, last }
    }
}

impl From<BatchEntry> for (u32, i32, i32) {
    fn from(batch: BatchEntry) -> Self {
        (batch.rows, batch.first, batch.last)
    }
}

/// One file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub table: String,
    pub layer: Option<i32>,
    pub name: String,
    pub size_bytes: u64,
    /// None where it was written before there were checksums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// `[rows, first neuron, last neuron]` of each record batch.
    pub batches: Vec<BatchEntry>,
}

impl FileEntry {
    pub fn rows(&self) -> u64 {
        self.batches.iter().map(|b| u64::from(b.rows)).sum()
    }

    pub fn name_for(table: Table, layer: Option<i32>) -> String {
        match layer {
            Some(layer) => format!("{table}-{layer}.arrow"),
            None => format!("{table}.arrow"),
        }
    }
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub format: u32,
    pub generation: GenerationName,
    pub facts: RunManifest,
    pub files: Vec<FileEntry>,
    /// The autoencoders that read its model or made it: their weights lie beside its tables.
    #[serde(default)]
    pub saes: Vec<SaeEntry>,
}

/// What a manifest of every version says.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Manifest {
    /// Reads the text of a manifest. What it says of names is checked: the store may be someone else's.
    pub fn parse(run: &str, path: &Path, text: &[u8]) -> Result<Self> {
        let unreadable = |e| exec_datafusion_err!("read {}: {e}", path.display());
        let head: Head = serde_json::from_slice(text).map_err(unreadable)?;
        if head.format != FORMAT {
            return exec_err!(
                "run '{run}' needs store version {FORMAT}, got version {}: ingest it again with replace: true, \
                 or read it with the polysema that made it",
                head.format
            );
        }
        let mut manifest: Self = serde_json::from_slice(text).map_err(unreadable)?;
        for file in &manifest.files {
            let table = Table::stored(&file.table);
            if table.is_none_or(|t| file.name != FileEntry::name_for(t, file.layer)) {
                return exec_err!(
                    "{} requires file names of its tables, got {}",
                    path.display(),
                    file.name
                );
            }
        }
        for sae in &mut manifest.saes {
            sae.check(path)?;
            sae.facts.run = Some(run.to_string());
        }
        // A folder that was given another name is another run.
        manifest.facts.run = run.to_string();
        Ok(manifest)
    }
}
