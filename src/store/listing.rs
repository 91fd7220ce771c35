//! The names of a store's runs in a file, for who reads it where folders cannot be listed: behind an HTTP address.

use std::path::{Path, PathBuf};

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::manifest::MANIFEST;
use super::names::{RUNS, check_name};
use crate::files::generations::Generations;
use crate::files::whole::write_changed;
use crate::files::{disk, seal};

/// The file's name.
pub(super) const LISTING: &str = "runs.json";

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunListing {
    pub(super) runs: Vec<String>,
}

/// Names of the committed runs of a folder, sorted.
pub(super) fn runs(root: &Path) -> Result<Vec<String>> {
    let entries = disk::entries(&root.join(RUNS))?;
    let committed = |folder: &&PathBuf| Generations::new(folder.to_path_buf(), MANIFEST).exists();
    let names = entries
        .iter()
        .filter(committed)
        .filter_map(|path| path.file_name()?.to_str());
    let mut names: Vec<_> = names
        .filter(|name| check_name("run", name).is_ok())
        .map(str::to_string)
        .collect();
    names.sort();
    Ok(names)
}

/// What it says of these runs.
pub(super) fn text(runs: Vec<String>) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(&RunListing { runs });
    let text = text.map_err(|e| exec_datafusion_err!("write {LISTING}: {e}"))?;
    Ok(seal::seal(&text))
}

/// Writes it where it says other names. Under the store's lock.
pub(super) fn keep(root: &Path) -> Result<()> {
    let path = root.join(LISTING);
    let runs = runs(root)?;
    let is_empty = runs.is_empty();
    let text = text(runs)?;
    match is_empty && disk::read(&path).is_err() {
        true => Ok(()),
        false => write_changed(&path, &text),
    }
}
