//! Checksums (CRC-32) of whole files, or of the beginnings of files that grow.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crc32fast::Hasher;
use datafusion::common::exec_err;
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::checksums::{OTHER, PIECE, agrees, damaged};
use super::{disk, file_error};

/// What a file had, or its beginning if it grows, when it was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its name in its folder.
    pub name: String,
    /// Bytes.
    pub size_bytes: u64,
    /// CRC-32 of them.
    pub checksum: u32,
}

impl FileSum {
    /// Of a file as it is.
    pub fn of(path: &Path) -> Result<Self> {
        let mut file = disk::open(path).map_err(|e| file_error("open", path, e))?;
        let (size_bytes, checksum) =
            sum_of(&mut file, |_| Ok(()))?.map_err(|e| file_error("read", path, e))?;
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(Self {
            name: name.unwrap_or_default().to_string(),
            size_bytes,
            checksum,
        })
    }

    /// Whether the file of this name in a folder begins with what it had. `go_on` is as of [`super::checksums::BlockSums::all_damaged`].
    ///
    /// Errors: it does not, or the name is none.
    pub fn check(&self, folder: &Path, go_on: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let path = folder.join(&self.name);
        // It is read from a file, which may be anyone's.
        if path.file_name() != Some(self.name.as_ref()) || path.parent() != Some(folder) {
            return exec_err!(
                "a file's name is required in {}, got '{}'",
                folder.display(),
                self.name
            );
        }
        let file = disk::open(&path).map_err(|e| file_error("open", &path, e))?;
        let summed = sum_of(&mut file.take(self.size_bytes), go_on)?;
        let (size_bytes, checksum) = summed.map_err(|e| file_error("read", &path, e))?;
        if size_bytes < self.size_bytes {
            let expected = self.size_bytes;
            return Err(damaged(
                &path,
                format_args!("it has {size_bytes} of {expected} bytes"),
            ));
        }
        match agrees(checksum == self.checksum) {
            true => Ok(()),
            false => Err(damaged(&path, OTHER)),
        }
    }

    /// As [`FileSum::check`] of a file that does not grow.
    pub fn check_all(&self, folder: &Path, go_on: impl FnMut(u64) -> Result<()>) -> Result<()> {
        self.check(folder, go_on)?;
        let path = folder.join(&self.name);
        let found = path.metadata().map_err(|e| file_error("read", &path, e))?;
        match found.len() == self.size_bytes {
            true => Ok(()),
            false => Err(damaged(
                &path,
                format_args!(
                    "it has {} bytes more",
                    found.len().saturating_sub(self.size_bytes)
                ),
            )),
        }
    }
}

/// Bytes and checksum of what is read.
fn sum_of(
    file: &mut impl Read,
    mut go_on: impl FnMut(u64) -> Result<()>,
) -> Result<io::Result<(u64, u32)>> {
    let (mut sum, mut size_bytes, mut piece) = (Hasher::new(), 0, vec![0; PIECE]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Ok((size_bytes, sum.finalize()))),
            Ok(n) => {
                sum.update(&piece[..n]);
                size_bytes += n as u64;
                go_on(n as u64)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// A sum of what is appended to a file, which may begin with what lies in it.
#[derive(Debug, Clone, Default)]
pub struct Growing(Hasher);

impl Growing {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds what is read from a file, up to its end.
    pub fn add_file(&mut self, file: File, bytes: u64) -> io::Result<()> {
        let (mut file, mut piece) = (file.take(bytes), vec![0; PIECE]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(()),
                n => self.0.update(&piece[..n]),
            }
        }
    }

    /// Of what was added so far.
    pub fn checksum(&self) -> u32 {
        self.0.clone().finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_with_what_it_had() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a");
        std::fs::write(&path, "123456789")?;
        let sum = FileSum::of(&path)?;
        assert_eq!((sum.size_bytes, sum.checksum), (9, 0xcbf4_3926));
        let mut growing = Growing::default();
        growing.add_file(File::open(&path)?, 4)?;
        growing.add(b"56789");
        assert_eq!(growing.checksum(), sum.checksum);
        let check = |sum: &FileSum| sum.check(folder.path(), |_| Ok(()));
        check(&sum)?;
        std::fs::write(&path, "1234567890")?;
        check(&sum)?;
        for other in ["12345678", "123456780"] {
            std::fs::write(&path, other)?;
            let error = check(&sum).expect_err("damaged").to_string();
            assert!(error.contains("a damaged: it"), "{error}");
        }
        for name in ["../a", "/etc/hostname", "", "..", "b/a"] {
            let named = FileSum {
                name: name.to_string(),
                ..sum.clone()
            };
            let error = check(&named).expect_err("no name").to_string();
            assert!(error.contains("a file's name is required"), "{error}");
        }
        Ok(())
    }
}
