//! The file of `\o`, which results go to in place of the terminal.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::format::Format;
use crate::files::disk::{self, DiskFile};

/// The file that results are written to instead of stdout.
pub struct OutputFile {
    path: PathBuf,
    file: DiskFile,
    /// What its ending says, before what `\format` does.
    pub format: Option<Format>,
}

impl OutputFile {
    /// Makes it, or empties one that is there.
    pub fn create(path: &str) -> Result<Self, Failure> {
        let file = disk::create_or_clear(Path::new(path)).map_err(|error| {
            Failure::Error(format!(
                "\\o: a file that can be written is required, got {path} ({error})"
            ))
        })?;
        Ok(Self {
            format: Format::of_file(Path::new(path)),
            path: path.into(),
            file,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        written.map_err(|error| io::Error::other(format!("{}: {error}", self.path.display())))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
