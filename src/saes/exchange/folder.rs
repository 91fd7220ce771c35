//! A folder in another tool's format, there whole or not at all.

use std::fs;
use std::io::Write;
use std::path::Path;

use datafusion::error::Result;

use super::invalid;
use crate::files::whole::NewFolder;
use crate::files::{disk, file_error};

/// What may lie in a folder that is replaced, so that nothing else is lost with it.
const REPLACEABLE: [&str; 6] = [
    "cfg.json",
    "sae_weights.safetensors",
    "sparsity.safetensors",
    "config.json",
    "ae.safetensors",
    "ae.pt",
];

/// Lets `fill` write the files of a new folder. An error leaves what was there before.
pub(super) fn write(
    folder: &Path,
    replace: bool,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if fs::symlink_metadata(folder).is_ok() {
        check_replaceable(folder, replace)?;
    }
    let next = NewFolder::create(folder)?;
    fill(next.path())?;
    next.commit(|old| check_replaceable(old, replace))
}

/// Writes a small file.
pub(super) fn write_file(path: &Path, text: &[u8]) -> Result<()> {
    let written = disk::create_new(path).and_then(|mut file| file.write_all(text));
    written.map_err(|e| file_error("write", path, e))
}

fn check_replaceable(folder: &Path, replace: bool) -> Result<()> {
    let shown = folder.display();
    if !replace {
        return Err(invalid(format!(
            "{shown}: a new folder is required, got one that exists: pass replace: true to replace it"
        )));
    }
    disk::require_folder(folder)?;
    for path in disk::entries(folder)? {
        let name = path.file_name().unwrap_or_default();
        let known = REPLACEABLE.iter().any(|known| name == *known);
        // A folder or link of that name is someone else's.
        if !known || disk::open(&path).is_err() {
            return Err(invalid(format!(
                "{shown}: a folder of a sparse autoencoder's files alone is required to replace it, got one with {}",
                name.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_what_was_there() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("sae");
        let entries = || fs::read_dir(parent.path()).expect("a folder").count();
        let full = |path: &Path| {
            write_file(&path.join("cfg.json"), b"{}")?;
            Err(invalid("no space left on device".into()))
        };
        write(&folder, false, full).expect_err("a full disk");
        assert_eq!(entries(), 0);

        write(&folder, false, |path| {
            write_file(&path.join("cfg.json"), b"1")
        })
        .expect("written");
        write(&folder, false, |_| Ok(())).expect_err("it exists");
        write(&folder, true, full).expect_err("a full disk");
        assert_eq!(
            fs::read(folder.join("cfg.json")).expect("the old file"),
            b"1"
        );
        write(&folder, true, |path| {
            write_file(&path.join("cfg.json"), b"2")
        })
        .expect("replaced");
        assert_eq!(
            fs::read(folder.join("cfg.json")).expect("the new file"),
            b"2"
        );
        assert_eq!(entries(), 1);

        fs::write(folder.join("notes.txt"), "mine").expect("a file");
        let error = write(&folder, true, |_| Ok(())).expect_err("someone's file");
        assert!(error.to_string().contains("notes.txt"), "{error}");
        fs::remove_file(folder.join("notes.txt")).expect("removed");

        fs::create_dir_all(folder.join("config.json/mine")).expect("a folder");
        let error = write(&folder, true, |_| Ok(())).expect_err("someone's folder");
        assert!(error.to_string().contains("config.json"), "{error}");
        assert!(folder.join("config.json/mine").exists());
    }

    #[test]
    fn what_is_put_into_it_meanwhile_is_kept() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("sae");
        write(&folder, false, |path| {
            write_file(&path.join("cfg.json"), b"1")
        })
        .expect("written");
        let error = write(&folder, true, |path| {
            fs::write(folder.join("notes.txt"), "mine").expect("a file");
            write_file(&path.join("cfg.json"), b"2")
        });
        assert!(error.is_err());
        assert!(folder.join("notes.txt").exists());
        assert_eq!(
            fs::read(folder.join("cfg.json")).expect("the old file"),
            b"1"
        );
        assert_eq!(fs::read_dir(parent.path()).expect("a folder").count(), 1);
    }
}
