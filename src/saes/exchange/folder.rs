//! A folder that is there whole or not at all: written beside its place, brought to the disk, renamed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::error::{DataFusionError, Result};

use super::invalid;

/// What may lie in a folder that is replaced, so that nothing else is lost with it.
const REPLACEABLE: [&str; 6] = [
    "cfg.json",
    "sae_weights.safetensors",
    "sparsity.safetensors",
    "config.json",
    "ae.safetensors",
    "ae.pt",
];

/// Distinguishes folders written at the same time by one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Lets `fill` write the files of a new folder. An error leaves what was there before.
pub(super) fn write(
    folder: &Path,
    replace: bool,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let Some(name) = folder.file_name() else {
        return Err(invalid(format!(
            "{}: a folder with a name is required",
            folder.display()
        )));
    };
    let exists = fs::symlink_metadata(folder).is_ok();
    if exists {
        check_replaceable(folder, replace)?;
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = |what: &str| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        parent.join(format!(".{}.{process}-{number}.{what}", name.display()))
    };
    let next = Unfinished(beside("next"));
    fs::create_dir(&next.0).map_err(|e| io_error("create", &next.0, e))?;
    fill(&next.0)?;
    sync(&next.0)?;
    if exists {
        let old = beside("old");
        fs::rename(folder, &old).map_err(|e| io_error("replace", folder, e))?;
        if let Err(e) = fs::rename(&next.0, folder) {
            let _ = fs::rename(&old, folder);
            return Err(io_error("replace", folder, e));
        }
        sync(parent)?;
        fs::remove_dir_all(&old).map_err(|e| io_error("remove", &old, e))
    } else {
        fs::rename(&next.0, folder).map_err(|e| io_error("create", folder, e))?;
        sync(parent)
    }
}

/// Writes a small file, down to the disk.
pub(super) fn write_file(path: &Path, text: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        io::Write::write_all(&mut file, text)?;
        file.sync_all()
    });
    written.map_err(|e| io_error("write", path, e))
}

fn check_replaceable(folder: &Path, replace: bool) -> Result<()> {
    let shown = folder.display();
    if !replace {
        return Err(invalid(format!(
            "{shown}: a new folder is required, got one that exists: pass replace: true to replace it"
        )));
    }
    let entries = fs::read_dir(folder).map_err(|e| io_error("read", folder, e))?;
    for entry in entries {
        let name = entry.map_err(|e| io_error("read", folder, e))?.file_name();
        if !REPLACEABLE.iter().any(|known| name == *known) {
            return Err(invalid(format!(
                "{shown}: a folder of a sparse autoencoder alone is required to replace it, got one with {}",
                name.display()
            )));
        }
    }
    Ok(())
}

/// A folder that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A new name is on disk only once its folder is.
fn sync(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| io_error("write", folder, e))?;
    }
    Ok(())
}

fn io_error(action: &str, path: &Path, error: io::Error) -> DataFusionError {
    invalid(format!("{action} {}: {error}", path.display()))
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
    }
}
