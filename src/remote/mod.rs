//! Files of a store that lies elsewhere, behind an HTTP address or in a bucket: parts of them are asked for when they are first needed,
//! and kept in a folder of this machine.
//!
//! What is asked for is compared with checksums by whoever reads it, so that neither a server nor another process that
//! fills the same files can change an answer.

mod address;
#[cfg(feature = "cloud")]
mod bucket;
mod cache;
mod server;
mod web;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use datafusion::common::{exec_err, resources_err};
use datafusion::error::Result;
use url::Url;

use crate::files::{disk, file_error, sparse};
use cache::Cache;
use server::FileServer;
use web::WebServer;

pub use address::address;
#[cfg(feature = "cloud")]
pub use bucket::{BucketFolder, BucketVersion};

/// Parts are asked for in multiples of so many bytes, since a question costs more than they do. Chosen, not tuned.
const STEP: usize = 1 << 16;
/// Most bytes of one question.
const MOST: usize = 8 << 20;
/// Questions at once.
const AT_ONCE: usize = 8;

/// A store that lies elsewhere.
#[derive(Debug)]
pub struct Remote {
    server: Box<dyn FileServer>,
    folder: PathBuf,
    /// Most bytes that are kept here of all such stores.
    bound: u64,
    /// What they take by now.
    taken: AtomicU64,
}

fn server(address: Url) -> Result<Box<dyn FileServer>> {
    match address.scheme() {
        #[cfg(feature = "cloud")]
        "s3" | "gs" | "az" => Ok(Box::new(BucketFolder::open(address)?)),
        _ => Ok(Box::new(WebServer::new(address)?)),
    }
}

impl Remote {
    /// Makes room for what is read of a store.
    pub fn open(address: Url) -> Result<Self> {
        let cache = Cache::of_environment()?;
        let folder = cache.folder_of(&address)?;
        let taken = cache.make_room(&folder)?;
        Ok(Self {
            server: server(address)?,
            folder,
            bound: cache.bound,
            taken: AtomicU64::new(taken),
        })
    }

    /// Where it is.
    pub fn address(&self) -> &Url {
        self.server.address()
    }

    /// The folder of this machine with what was read of it: laid out as a store.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A small file, whole; none if there is no such file.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.server.whole(path)
    }

    /// Reads a file whole to the same path here.
    ///
    /// Errors: there is none.
    pub fn copy(self: &Arc<Self>, path: &str) -> Result<()> {
        let file = Elsewhere::new(self, path.to_string(), self.size(path)?)?;
        let all = 0..file.size;
        file.fill(std::slice::from_ref(&all))
    }

    /// Bytes of a file.
    ///
    /// Errors: there is none.
    pub fn size(&self, path: &str) -> Result<u64> {
        match self.server.size(path)? {
            Some(size) => Ok(size),
            None => self.changed(path),
        }
    }

    fn changed<T>(&self, path: &str) -> Result<T> {
        exec_err!(
            "{path} of {} is required as when it was opened, got no such file: the store was changed since, open it again",
            self.address()
        )
    }

    /// Takes room for so many bytes more.
    ///
    /// Errors (resources): there is none.
    fn take(&self, bytes: u64) -> Result<()> {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken > self.bound {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
            return resources_err!(
                "room for {taken} bytes of stores that lie elsewhere is required, got POLYSEMA_CACHE_LIMIT of {} (or copy \
                 the store to this machine)",
                self.bound
            );
        }
        Ok(())
    }
}

/// Parts of a file in multiples of a step, each byte once, none larger than one question.
fn pieces(parts: &[Range<usize>], size: usize) -> Vec<Range<usize>> {
    let whole = |part: &Range<usize>| {
        let start = part.start / STEP * STEP;
        start..part.end.next_multiple_of(STEP).min(size)
    };
    let mut parts: Vec<_> = parts
        .iter()
        .map(whole)
        .filter(|part| !part.is_empty())
        .collect();
    parts.sort_by_key(|part| part.start);
    let mut pieces: Vec<Range<usize>> = vec![];
    for part in parts {
        match pieces.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => pieces.push(part),
        }
    }
    let cut = |piece: Range<usize>| {
        let Range { start, end } = piece;
        (start..end)
            .step_by(MOST)
            .map(move |first| first..end.min(first + MOST))
    };
    pieces.into_iter().flat_map(cut).collect()
}

/// A file of such a store, of which parts are here.
#[derive(Debug)]
pub struct Elsewhere {
    of: Arc<Remote>,
    /// From the store's folder on.
    path: String,
    here: PathBuf,
    size: usize,
}

impl Elsewhere {
    /// The file of a path from the store's folder on, of so many bytes; the folder it lies in is here.
    pub fn new(of: &Arc<Remote>, path: String, size_bytes: u64) -> Result<Self> {
        let here = of.folder.join(&path);
        disk::require_folder(here.parent().unwrap_or(Path::new("")))?;
        sparse::make(&here, size_bytes).map_err(|e| file_error("create", &here, e))?;
        Ok(Self {
            of: Arc::clone(of),
            path,
            here,
            size: usize::try_from(size_bytes).unwrap_or(usize::MAX),
        })
    }

    /// Has a piece of it here.
    fn ask(&self, piece: &Range<usize>) -> Result<()> {
        let Some(bytes) = self.of.server.part(&self.path, piece, self.size)? else {
            return self.of.changed(&self.path);
        };
        let filled = sparse::fill(&self.here, piece.start as u64, &bytes);
        filled.map_err(|e| file_error("write", &self.here, e))
    }

    /// Has parts of it here.
    pub fn fill(&self, parts: &[Range<usize>]) -> Result<()> {
        let pieces = pieces(parts, self.size);
        let bytes: usize = pieces.iter().map(ExactSizeIterator::len).sum();
        self.of.take(bytes as u64)?;
        if let [piece] = pieces.as_slice() {
            return self.ask(piece);
        }
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.ask(piece) {
                    // The others end after the piece they are at.
                    next.store(pieces.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads = (0..AT_ONCE.min(pieces.len())).map(|_| scope.spawn(work));
            let threads: Vec<_> = threads.collect();
            let done = threads.into_iter().map(|thread| thread.join());
            let done = done
                .map(|done| done.unwrap_or_else(|_| exec_err!("a thread that asks is required")));
            done.collect::<Vec<_>>().into_iter().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_asked_for_once_in_steps() {
        let size = 3 * STEP + 10;
        let of = |parts: &[(usize, usize)], size| -> Vec<(usize, usize)> {
            let parts: Vec<_> = parts.iter().map(|(start, end)| *start..*end).collect();
            let pieces = pieces(&parts, size).into_iter();
            pieces.map(|piece| (piece.start, piece.end)).collect()
        };
        assert_eq!(of(&[], size), []);
        assert_eq!(of(&[(5, 6)], size), [(0, STEP)]);
        let parts = [(2 * STEP, size), (5, 6), (7, STEP + 1)];
        assert_eq!(of(&parts, size), [(0, size)]);
        let parts = [(0, 1), (2 * STEP + 1, 2 * STEP + 2)];
        assert_eq!(of(&parts, size), [(0, STEP), (2 * STEP, 3 * STEP)]);
        let all = [(0, MOST), (MOST, 2 * MOST), (2 * MOST, 2 * MOST + STEP)];
        assert_eq!(of(&[(0, 2 * MOST + 1)], 5 * MOST), all);
    }
}
