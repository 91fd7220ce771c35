//! Whole or not there: a file, a folder or a generation of files appears in one rename, or what was there stays.
//!
//! ```text
//!     refused, killed or cut off from power       what is found afterwards
//!     before the rename                           the old; the new under a hidden name, which the next use removes
//!     after it, before the folder is on disk      old or new; neither was removed, so that whichever it is is whole
//!     after that                                  the new; what it replaced until the next use, if not removed yet
//! ```
//!
//! The next use tells what killed processes left from what living ones write or read by the system's locks, which end
//! with the process. Where two folders cannot be exchanged in one step a reader finds none for the moment between two
//! renames, and the next use puts the old one back if there was no second.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::disk::{self, DiskFile, Held, hold};
use super::file_error;

/// Distinguishes what one process writes at the same time.
static NEXT: AtomicU64 = AtomicU64::new(0);

pub(super) fn parent(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the hidden names of what is written beside a place begin.
pub(super) fn hidden(place: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".polysema-");
    name
}

/// A hidden name beside a place, new in this process.
fn beside(place: &Path, what: &str) -> PathBuf {
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut name = hidden(place);
    name.push(format!("{process}-{number}.{what}"));
    parent(place).join(name)
}

pub(super) fn begins_with(name: &OsStr, beginning: &OsStr) -> bool {
    let (name, beginning) = (name.as_encoded_bytes(), beginning.as_encoded_bytes());
    name.starts_with(beginning)
}

/// Removes what killed processes left beside a place, and puts back what one of them had moved away.
fn sweep_beside(place: &Path) -> io::Result<()> {
    let hidden = hidden(place);
    let left = |path: &PathBuf| path.file_name().is_some_and(|n| begins_with(n, &hidden));
    let entries = disk::entries(parent(place)).unwrap_or_default();
    let left: Vec<_> = entries.into_iter().filter(left).collect();
    if !left.is_empty() {
        // Until the last rename is on disk, what it replaced may be needed.
        disk::sync(parent(place))?;
    }
    for path in left {
        let Ok(Some(_held)) = hold(&path, true) else {
            continue;
        };
        let moved_away = path.extension().is_some_and(|e| e == "old");
        if moved_away && place.symlink_metadata().is_err() {
            disk::rename(&path, place)?;
        } else {
            disk::remove_all(&path)?;
        }
    }
    Ok(())
}

/// A file that takes its place when it is whole; gone when dropped without [`NewFile::commit`].
#[derive(Debug)]
pub struct NewFile {
    place: PathBuf,
    next: PathBuf,
    file: DiskFile,
    done: bool,
}

impl NewFile {
    /// Begins a file beside its place.
    pub fn create(place: &Path) -> Result<Self> {
        Self::create_by(disk::create_new, place)
    }

    fn create_by(create: impl Fn(&Path) -> io::Result<DiskFile>, place: &Path) -> Result<Self> {
        // What cannot be removed now is in nobody's way.
        let _ = sweep_beside(place);
        loop {
            let next = beside(place, "next");
            let file = create(&next).map_err(|e| file_error("create", &next, e))?;
            // Locked, so that nobody takes it for what a killed process left; if someone just did, once more.
            if file.lock() && next.symlink_metadata().is_ok() {
                return Ok(Self {
                    place: place.to_path_buf(),
                    next,
                    file,
                    done: false,
                });
            }
        }
    }

    /// Puts it into its place, on disk; its size in bytes.
    pub fn commit(mut self) -> Result<u64> {
        let size = self.file.sync();
        let size = size.map_err(|e| file_error("write", &self.next, e))?;
        disk::rename(&self.next, &self.place).map_err(|e| file_error("write", &self.place, e))?;
        self.done = true;
        let folder = parent(&self.place);
        disk::sync(folder).map_err(|e| file_error("write", folder, e))?;
        Ok(size)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.done {
            let _ = disk::remove_file(&self.next);
        }
    }
}

/// Writes a small file, or puts it in place of one.
pub fn write_file(place: &Path, text: &[u8]) -> Result<()> {
    write_to(NewFile::create(place)?, place, text)
}

/// The same, unless that is what it says.
pub fn write_changed(place: &Path, text: &[u8]) -> Result<()> {
    match disk::read(place) {
        Ok(found) if found == text => Ok(()),
        _ => write_file(place, text),
    }
}

/// Writes a small file that nobody else may read, or puts it in place of one.
#[cfg(feature = "serve")]
pub fn write_private_file(place: &Path, text: &[u8]) -> Result<()> {
    write_to(
        NewFile::create_by(disk::create_new_private, place)?,
        place,
        text,
    )
}

fn write_to(mut file: NewFile, place: &Path, text: &[u8]) -> Result<()> {
    let written = file.write_all(text);
    written.map_err(|e| file_error("write", place, e))?;
    file.commit().map(|_| ())
}

/// A folder of files that takes its place when it is whole; gone when dropped without [`NewFolder::commit`].
#[derive(Debug)]
pub struct NewFolder {
    place: PathBuf,
    next: PathBuf,
    /// Whether it is on disk in its place, so that what it replaced is needed no more.
    confirmed: bool,
    held: Held,
}

impl NewFolder {
    /// Begins a folder beside its place.
    pub fn create(place: &Path) -> Result<Self> {
        if place.file_name().is_none() {
            return exec_err!("a folder with a name is required, got {}", place.display());
        }
        sweep_beside(place).map_err(|e| file_error("clean up beside", place, e))?;
        loop {
            let next = beside(place, "next");
            disk::create_folder(&next).map_err(|e| file_error("create", &next, e))?;
            if let Ok(Some(held)) = hold(&next, true)
                && next.symlink_metadata().is_ok()
            {
                return Ok(Self {
                    place: place.to_path_buf(),
                    next,
                    confirmed: false,
                    held,
                });
            }
        }
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.next
    }

    /// Writes a file into it, whose name may name folders, with `/` between.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.next.join(name);
        let refused = |e| file_error("write", &path, e);
        disk::create_folders(parent(&path)).map_err(refused)?;
        let mut file = disk::create_new(&path).map_err(refused)?;
        file.write_all(bytes).map_err(refused)
    }

    /// Puts it into its place, on disk. A folder there is replaced if `replaceable` does not refuse it.
    pub fn commit(mut self, replaceable: impl Fn(&Path) -> Result<()>) -> Result<()> {
        sync_files(&self.next)?;
        let (place, next) = (self.place.clone(), self.next.clone());
        let refused = |e| file_error("replace", &place, e);
        if place.symlink_metadata().is_ok() {
            disk::require_folder(&place)?;
            replaceable(&place)?;
            match disk::exchange(&next, &place) {
                Err(e) if e.kind() == io::ErrorKind::Unsupported => self.replace_in_two()?,
                done => done.map_err(refused)?,
            }
            // Someone may have put a file of theirs into it meanwhile.
            if disk::is_folder(&next).map_err(refused)?
                && let Err(error) = replaceable(&next)
            {
                disk::exchange(&next, &place).map_err(refused)?;
                return Err(error);
            }
        } else {
            disk::rename(&next, &place).map_err(|e| file_error("create", &place, e))?;
        }
        let folder = parent(&place);
        disk::sync(folder).map_err(|e| file_error("write", folder, e))?;
        self.confirmed = true;
        Ok(())
    }

    /// Where the disk cannot exchange two folders.
    fn replace_in_two(&self) -> Result<()> {
        let (place, old) = (&self.place, beside(&self.place, "old"));
        let refused = |e| file_error("replace", place, e);
        disk::rename(place, &old).map_err(refused)?;
        if let Err(error) = disk::rename(&self.next, place) {
            // Where this fails too the next use of the place puts it back.
            let _ = disk::rename(&old, place);
            return Err(refused(error));
        }
        disk::sync(parent(place)).map_err(refused)?;
        // What cannot be removed now is removed by the next use of the place.
        let _ = disk::remove_all(&old);
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Under the hidden name lies the new folder, or after an exchange the old one.
        if self.confirmed || self.held.is(&self.next) {
            let _ = disk::remove_all(&self.next);
        }
    }
}

/// Waits until all files below a folder, and their names, are on disk.
pub(super) fn sync_files(folder: &Path) -> Result<()> {
    for path in disk::entries(folder)? {
        match disk::is_folder(&path).map_err(|e| file_error("read", &path, e))? {
            // Of very many files each takes a turn of the disk.
            true => disk::sync_below(&path),
            false => disk::sync(&path),
        }
        .map_err(|e| file_error("write", &path, e))?;
    }
    disk::sync(folder).map_err(|e| file_error("write", folder, e))
}

#[cfg(test)]
#[path = "whole_tests.rs"]
mod tests;
