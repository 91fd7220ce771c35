//! `table.json`: which generation counts, and the parts it has.

use std::path::Path;

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use crate::files::checksums::Tail;
use crate::files::generations::GenerationName;
use crate::store::FORMAT;

pub(super) const POINTER: &str = "table.json";

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct PartEntry {
    pub number: u32,
    pub size_bytes: u64,
    /// None where it was written before there were checksums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// Of each record batch.
    pub rows: Vec<u32>,
}

impl PartEntry {
    pub fn file(&self) -> String {
        format!("part-{}.arrow", self.number)
    }

    pub fn total(&self) -> u64 {
        self.rows.iter().map(|rows| u64::from(*rows)).sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct KeptManifest {
    pub format: u32,
    pub generation: GenerationName,
    /// Seconds since 1970.
    pub written_at: i64,
    /// In the order of their rows; at least one, which has the columns.
    pub parts: Vec<PartEntry>,
}

/// What a manifest of every version says.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl KeptManifest {
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let unreadable = |e| exec_datafusion_err!("read {}: {e}", path.display());
        let head: Head = serde_json::from_slice(text).map_err(unreadable)?;
        if head.format != FORMAT {
            return exec_err!(
                "{} needs store version {FORMAT}, got version {}: read it with the polysema that made it",
                path.display(),
                head.format
            );
        }
        serde_json::from_slice(text).map_err(unreadable)
    }
}
