//! The file that says that a folder is a store, and of which version.

use std::path::Path;

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::names::STORE;
use super::source::FORMAT;
use crate::files::seal;

#[derive(Serialize, Deserialize)]
struct StoreFile {
    format: u32,
}

/// What it says of a store of this version.
pub(super) fn text() -> Result<Vec<u8>> {
    let text = serde_json::to_vec(&StoreFile { format: FORMAT });
    let text = text.map_err(|e| exec_datafusion_err!("write {STORE}: {e}"))?;
    Ok(seal::seal(&text))
}

/// Refuses what says another version, or was damaged.
pub(super) fn check(path: &Path, text: &[u8]) -> Result<()> {
    seal::is_sealed(path, text)?;
    let found: StoreFile = serde_json::from_slice(text)
        .map_err(|e| exec_datafusion_err!("read {}: {e}", path.display()))?;
    match found.format == FORMAT {
        true => Ok(()),
        false => exec_err!(
            "{} needs store version {FORMAT}, got version {}: choose another store folder and ingest into it again, or \
             open this one with the polysema that made it",
            path.parent().unwrap_or(path).display(),
            found.format
        ),
    }
}
