//! Folders of a store that are no runs, such as models: filled beside their place, then renamed into it.
//!
//! A folder that is replaced is away for the moment between two renames; a writer killed in that moment is made good
//! by the next one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use datafusion::error::Result;

use super::io_error;
use super::lock::WriteLock;
use super::writer::{entries, sync_folder};

const NEXT: &str = ".next-";
const REPLACED: &str = ".replaced-";

/// A folder being filled; invisible until [`FolderWriter::commit`], gone when dropped without it.
#[derive(Debug)]
pub struct FolderWriter {
    place: PathBuf,
    next: PathBuf,
    replaced: PathBuf,
    _lock: WriteLock,
}

impl FolderWriter {
    /// Begins `name` among the folders of one kind.
    pub(super) fn start(folders: &Path, name: &str, lock: WriteLock) -> Result<Self> {
        fs::create_dir_all(folders).map_err(|e| io_error("create", folders, e))?;
        sweep(folders)?;
        let writer = Self {
            place: folders.join(name),
            next: folders.join(format!("{NEXT}{name}")),
            replaced: folders.join(format!("{REPLACED}{name}")),
            _lock: lock,
        };
        fs::create_dir(&writer.next).map_err(|e| io_error("create", &writer.next, e))?;
        Ok(writer)
    }

    /// The folder to fill.
    pub fn folder(&self) -> &Path {
        &self.next
    }

    /// Writes one file of it.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.next.join(name);
        fs::write(&path, content).map_err(|e| io_error("write", &path, e))
    }

    /// Puts the folder into its place, instead of the one it replaces.
    pub fn commit(self) -> Result<()> {
        for path in entries(&self.next)? {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|e| io_error("write", &path, e))?;
        }
        sync_folder(&self.next)?;
        let moved =
            |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| io_error("rename", from, e));
        let replaces = self.place.exists();
        if replaces {
            moved(&self.place, &self.replaced)?;
        }
        if let Err(error) = moved(&self.next, &self.place) {
            if replaces {
                moved(&self.replaced, &self.place)?;
            }
            return Err(error);
        }
        if let Some(folders) = self.place.parent() {
            sync_folder(folders)?;
        }
        // What cannot be removed now is swept by the next writer.
        let _ = fs::remove_dir_all(&self.replaced);
        Ok(())
    }
}

impl Drop for FolderWriter {
    fn drop(&mut self) {
        // After a commit there is none.
        let _ = fs::remove_dir_all(&self.next);
    }
}

/// Removes what killed writers left, and puts back what one of them had moved away. Only under the write lock.
fn sweep(folders: &Path) -> Result<()> {
    for path in entries(folders)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (done, act) = if let Some(name) = name.strip_prefix(REPLACED)
            && !folders.join(name).exists()
        {
            (fs::rename(&path, folders.join(name)), "rename")
        } else if name.starts_with(NEXT) || name.starts_with(REPLACED) {
            (fs::remove_dir_all(&path), "remove")
        } else {
            (io::Result::Ok(()), "read")
        };
        done.map_err(|e| io_error(act, &path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_folder_appears_whole_and_is_replaced_whole() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let write = |replace: bool, files: &[&str], commit: bool| -> Result<()> {
            let writer = store.begin_model("m", replace)?;
            for file in files {
                writer.write(file, b"x")?;
            }
            if commit { writer.commit() } else { Ok(()) }
        };
        write(false, &["a"], false)?;
        assert!(!store.has_model("m"), "invisible without a commit");
        write(false, &["a", "b"], true)?;
        assert!(write(false, &["c"], true).is_err(), "a name that exists");
        write(true, &["c"], false)?;
        assert!(folder.path().join("models/m/b").exists(), "untouched");
        write(true, &["c"], true)?;
        let files = entries(&folder.path().join("models/m"))?;
        assert_eq!(files, [folder.path().join("models/m/c")]);
        assert_eq!(store.models()?, ["m"]);
        Ok(())
    }

    #[test]
    fn what_killed_writers_leave_is_made_good() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let models = folder.path().join("models");
        for left in [".next-a", ".replaced-b", ".replaced-c", "c"] {
            fs::create_dir_all(models.join(left))?;
        }
        drop(store.begin_model("d", false)?);
        assert_eq!(store.models()?, ["b", "c"]);
        assert_eq!(entries(&models)?.len(), 2);
        Ok(())
    }
}
