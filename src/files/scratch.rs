//! Folders for what need not last. Those of killed processes are removed when the next one is made.

use std::path::{Path, PathBuf};

use datafusion::error::Result;

use super::disk::{self, Held, hold};
use super::file_error;

const BEGINNING: &str = "polysema-scratch-";

/// A folder in the system's temporary one, gone when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Tells the others that someone uses it.
    _held: Held,
}

impl Scratch {
    /// A new one.
    pub fn new() -> Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    fn within(folder: &Path) -> Result<Self> {
        sweep(folder);
        loop {
            let made = tempfile::Builder::new()
                .prefix(BEGINNING)
                .tempdir_in(folder);
            let path = made
                .map_err(|e| file_error("create a folder in", folder, e))?
                .keep();
            // Another process that swept just now may have held it, or removed it.
            if let Ok(Some(held)) = hold(&path, true)
                && path.is_dir()
            {
                return Ok(Self { path, _held: held });
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = disk::remove_all(&self.path);
    }
}

/// What cannot be removed, such as other users' folders, is left.
fn sweep(folder: &Path) {
    for path in disk::entries(folder).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(BEGINNING.as_bytes())
            && disk::is_folder(&path).is_ok_and(|is| is)
            && let Ok(Some(_held)) = hold(&path, true)
        {
            let _ = disk::remove_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let living = Scratch::within(folder.path()).unwrap();
        let killed = folder.path().join("polysema-scratch-killed");
        std::fs::create_dir_all(killed.join("inside")).unwrap();
        let outside = tempfile::tempdir().unwrap();
        let link = folder.path().join("polysema-scratch-link");
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        let second = Scratch::within(folder.path()).unwrap();
        assert!(!killed.exists() && living.path().exists() && second.path().exists());
        assert!(outside.path().exists());
        drop((living, second));
        assert_eq!(disk::entries(folder.path()).unwrap(), [link]);
    }
}
