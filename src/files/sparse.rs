//! Files of which only parts are here: what was never written takes no room, and reads as zeros.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use datafusion::error::Result;

use super::disk::{self, hold};
use super::file_error;

/// Makes one of so many bytes, unless it is there.
pub fn make(path: &Path, size_bytes: u64) -> io::Result<()> {
    let file = disk::open_lock(path)?;
    match file.metadata()?.len() == size_bytes {
        true => Ok(()),
        false => file.set_len(size_bytes),
    }
}

/// Writes a part that was not there.
pub fn fill(path: &Path, start: u64, bytes: &[u8]) -> io::Result<()> {
    disk::open(path)?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(start))?;
    file.write_all(bytes)
}

/// Bytes that the files below a folder take on disk.
pub fn taken(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in disk::entries(folder)? {
        let Ok(found) = path.symlink_metadata() else {
            continue;
        };
        bytes += match found.is_dir() {
            true => taken(&path)?,
            false => on_disk(&found),
        };
    }
    Ok(bytes)
}

#[cfg(unix)]
fn on_disk(found: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(found) * 512
}

#[cfg(not(unix))]
fn on_disk(found: &std::fs::Metadata) -> u64 {
    found.len()
}

/// Notes that a file was used now.
pub fn touch(path: &Path) -> io::Result<()> {
    File::options()
        .append(true)
        .open(path)?
        .set_modified(SystemTime::now())
}

/// Removes a folder of such files that nobody holds; whether it is gone.
pub fn give_up(folder: &Path) -> Result<bool> {
    match hold(folder, true).map_err(|e| file_error("open", folder, e))? {
        None => Ok(false),
        Some(_held) => {
            disk::remove_all(folder).map_err(|e| file_error("remove", folder, e))?;
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_there_when_they_are_filled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        make(&path, 10 << 20).unwrap();
        fill(&path, 5 << 20, b"here").unwrap();
        make(&path, 10 << 20).unwrap();
        let read = disk::read(&path).unwrap();
        assert_eq!(read.len(), 10 << 20);
        assert_eq!(read[(5 << 20) - 1..][..6], *b"\0here\0");
        let taken = taken(folder.path()).unwrap();
        assert!((1..1 << 20).contains(&taken), "{taken}");
        let held = hold(folder.path(), false).unwrap();
        assert!(!give_up(folder.path()).unwrap() && path.exists());
        drop(held);
        assert!(give_up(folder.path()).unwrap() && !folder.path().exists());
    }
}
