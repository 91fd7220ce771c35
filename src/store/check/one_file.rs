//! Reads one file and compares it with its checksums. Nothing is mapped: a file that is cut meanwhile is damage, too.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use datafusion::error::Result;

use crate::files::checksums::{Tail, damaged};
use crate::files::file_sum::FileSum;
use crate::files::{disk, file_error, seal, words};
use crate::store::file::{BEHIND_BYTES, Footer, TableFile, tail_behind};
use crate::store::sae_manifest;

/// Called with the bytes that were read, some at a time; its error ends the check.
pub type GoOn<'a> = &'a (dyn Fn(u64) -> Result<()> + Sync);

/// Most bytes of a tail: a checksum of 8 bytes for 16 KiB, so of a file of 2 TiB.
const MOST_TAIL: u64 = 1 << 30;

/// A file, and by what it is known whether it is whole.
pub(super) struct CheckedFile {
    pub path: PathBuf,
    pub by: KnownBy,
}

pub(super) enum KnownBy {
    /// An Arrow file of so many bytes and record batches of so many rows.
    Tail {
        size_bytes: u64,
        rows: Vec<u32>,
        tail: Option<Tail>,
    },
    /// A relation that can be computed anew.
    TailBehind,
    /// A hash of all of it.
    Hash(String),
    /// A checksum of all of it, or of its beginning if it may grow.
    Sum { sum: FileSum, grows: bool },
    /// A seal within.
    Seal,
}

pub(super) enum FileState {
    Whole,
    Unverified,
    /// There is no such file by now, which is no damage of what comes and goes.
    Gone,
    /// With the record batches that cannot be read; none if nothing can.
    Damaged(String, Option<Vec<usize>>),
}

/// What is wrong with a file, without its name.
pub(super) fn problem(path: &Path, error: &datafusion::error::DataFusionError) -> String {
    let said = words(error);
    let named = words(&damaged(path, ""));
    said.strip_prefix(named.trim_end())
        .unwrap_or(&said)
        .trim_start()
        .to_string()
}

impl CheckedFile {
    /// How it is. Errors are those of `go_on` alone.
    pub fn read(&self, go_on: GoOn<'_>) -> Result<FileState> {
        // An error that `go_on` gave is no damage.
        let ended = std::cell::RefCell::new(None);
        let counted = |bytes| {
            go_on(bytes).map_err(|error| {
                let same = datafusion::common::exec_datafusion_err!("{}", words(&error));
                *ended.borrow_mut() = Some(error);
                same
            })
        };
        let state = self.state(&counted);
        if let Some(error) = ended.into_inner() {
            return Err(error);
        }
        Ok(match state {
            Ok(state) => state,
            Err(error) => FileState::Damaged(problem(&self.path, &error), None),
        })
    }

    fn state(&self, go_on: &dyn Fn(u64) -> Result<()>) -> Result<FileState> {
        let path = &self.path;
        match &self.by {
            KnownBy::Tail {
                size_bytes,
                rows,
                tail: None,
            } => {
                TableFile::open_whole(path, *size_bytes, rows.clone(), None, None)?;
                Ok(FileState::Unverified)
            }
            KnownBy::Tail {
                size_bytes,
                rows,
                tail: Some(tail),
            } => {
                let mut file = disk::open(path).map_err(|e| file_error("open", path, e))?;
                let size = self.size(&file)?;
                if size != *size_bytes {
                    return Err(damaged(
                        path,
                        format_args!("it has {size} bytes, not {size_bytes}"),
                    ));
                }
                let state = self.blocks(&mut file, size, *tail, go_on)?;
                match state {
                    (_, batches) if batches != rows.len() => Err(damaged(
                        path,
                        format_args!("it has {batches} record batches, not {}", rows.len()),
                    )),
                    (state, _) => Ok(state),
                }
            }
            KnownBy::TailBehind => {
                let mut file = match disk::open(path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(FileState::Gone),
                    opened => opened.map_err(|e| file_error("open", path, e))?,
                };
                let size = self.size(&file)?;
                let behind = size.saturating_sub(BEHIND_BYTES as u64);
                let last = self.piece(&mut file, behind, size)?;
                let Some((_, tail)) = tail_behind(&last) else {
                    return Err(damaged(path, "it has no tail"));
                };
                Ok(self.blocks(&mut file, behind, tail, go_on)?.0)
            }
            KnownBy::Hash(hash) => {
                let found = sae_manifest::hash(path)?;
                let size = path.metadata().map_err(|e| file_error("read", path, e))?;
                go_on(size.len())?;
                match found == *hash {
                    true => Ok(FileState::Whole),
                    false => Err(damaged(path, "its hash is another")),
                }
            }
            KnownBy::Sum { sum, grows } => {
                let folder = path.parent().unwrap_or(Path::new(""));
                match grows {
                    true => sum.check(folder, go_on)?,
                    false => sum.check_all(folder, go_on)?,
                }
                Ok(FileState::Whole)
            }
            KnownBy::Seal => {
                let text = match disk::read(path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(FileState::Gone),
                    read => read.map_err(|e| file_error("read", path, e))?,
                };
                go_on(text.len() as u64)?;
                let sealed = seal::is_sealed(path, &text)?;
                let read: std::result::Result<serde_json::Value, _> = serde_json::from_slice(&text);
                read.map_err(|e| damaged(path, e))?;
                Ok(match sealed {
                    true => FileState::Whole,
                    false => FileState::Unverified,
                })
            }
        }
    }

    fn size(&self, file: &File) -> Result<u64> {
        let found = file.metadata();
        Ok(found.map_err(|e| file_error("read", &self.path, e))?.len())
    }

    fn piece(&self, file: &mut File, from: u64, to: u64) -> Result<Vec<u8>> {
        let length = to.checked_sub(from).filter(|length| *length <= MOST_TAIL);
        let Some(length) = length else {
            return Err(damaged(
                &self.path,
                format_args!("its end begins at byte {from} of {to}"),
            ));
        };
        let mut bytes = vec![0; length as usize];
        let read = file
            .seek(SeekFrom::Start(from))
            .and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| file_error("read", &self.path, e))?;
        Ok(bytes)
    }

    /// The state of an Arrow file that ends at `size`, and how many record batches it has.
    fn blocks(
        &self,
        file: &mut File,
        size: u64,
        tail: Tail,
        go_on: &dyn Fn(u64) -> Result<()>,
    ) -> Result<(FileState, usize)> {
        let path = &self.path;
        let last = self.piece(file, tail.from, size)?;
        go_on(last.len() as u64)?;
        if !tail.is(&last) {
            return Err(damaged(path, "its end has another checksum"));
        }
        let footer = Footer::of(path, &last, tail.from as usize)?;
        let sums = footer.sums(path, tail.from as usize)?;
        (file.rewind()).map_err(|e| file_error("read", path, e))?;
        let damages = sums.all_damaged(file, go_on)?;
        let damages = damages.map_err(|e| file_error("read", path, e))?;
        let extents = footer.extents();
        let lost: Vec<usize> = (0..extents.len())
            .filter(|batch| {
                let extent = &extents[*batch];
                let mut damages = damages.iter();
                damages.any(|damage| damage.start < extent.end && extent.start < damage.end)
            })
            .collect();
        let state = match damages.as_slice() {
            [] => FileState::Whole,
            ranges => {
                let ranges = ranges.iter().map(|r| format!("{} to {}", r.start, r.end));
                let places = ranges.collect::<Vec<_>>().join(", ");
                let problem = format!("bytes {places} have another checksum");
                FileState::Damaged(problem, Some(lost))
            }
        };
        Ok((state, extents.len()))
    }
}
