//! A store behind an HTTP address: its manifests are read when it is opened, its files in the parts that a question needs.

use std::path::Path;
use std::sync::Arc;

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use url::Url;

use super::Store;
use super::listing::{LISTING, RunListing};
use super::lock::OF_ELSEWHERE;
use super::manifest::{MANIFEST, Manifest};
use super::names::{RUNS, STORE, check_name};
use crate::files::generations::Generations;
use crate::files::whole::write_changed;
use crate::files::{disk, file_error, seal};
use crate::remote::Remote;

impl Store {
    /// Opens it as it is now: a run that is made or replaced later is seen when it is opened again.
    pub(super) fn elsewhere(address: Url) -> Result<Self> {
        let remote = Remote::open(address)?;
        let root = remote.folder().to_path_buf();
        let address = remote.address().as_str().as_bytes();
        write_changed(&root.join(OF_ELSEWHERE), address)?;
        let required = |path: &str| match remote.read(path)? {
            Some(text) => Ok(text),
            None => exec_err!(
                "{path} of {} is required, got no such file: a store that this version of polysema has written is \
                 required there",
                remote.address()
            ),
        };
        write_changed(&root.join(STORE), &required(STORE)?)?;
        let text = required(LISTING)?;
        let path = root.join(LISTING);
        seal::is_sealed(&path, &text)?;
        let listing = serde_json::from_slice::<RunListing>(&text);
        let listing = listing.map_err(|e| exec_datafusion_err!("read {}: {e}", path.display()))?;
        let runs = root.join(RUNS);
        for folder in disk::entries(&runs)? {
            let name = folder.file_name().unwrap_or_default();
            if !listing.runs.iter().any(|run| name == run.as_str()) {
                Generations::new(folder, MANIFEST).remove()?;
            }
        }
        for run in &listing.runs {
            check_name("run", run)?;
            let path = format!("{RUNS}/{run}/{MANIFEST}");
            // One that was removed since the listing was written.
            if let Some(text) = remote.read(&path)? {
                keep_run(run, &runs.join(run), &text)?;
            }
        }
        let store = Self::here(&root)?;
        Ok(Self {
            remote: Some(Arc::new(remote)),
            ..store
        })
    }
}

/// Keeps a run's manifest here, with a folder for the generation it names. One that cannot be read is an error of its run
/// when that is asked for, and of no other.
fn keep_run(run: &str, folder: &Path, text: &[u8]) -> Result<()> {
    let of = Generations::new(folder.to_path_buf(), MANIFEST);
    let pointer = of.pointer();
    let made = match Manifest::parse(run, &pointer, text) {
        Ok(manifest) => folder.join(String::from(manifest.generation)),
        Err(_) => folder.to_path_buf(),
    };
    disk::create_folders(&made).map_err(|e| file_error("create", &made, e))?;
    write_changed(&pointer, text)?;
    of.sweep()
}
