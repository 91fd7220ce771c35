//! The store's write lock: one writer at a time, over all processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::io_error;

/// Held until dropped; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct WriteLock {
    _file: File,
}

/// The lock of a folder: the store's, or that of one thing being made in it.
pub(super) fn acquire(root: &Path) -> Result<WriteLock> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| io_error("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(WriteLock { _file: file }),
        Err(TryLockError::WouldBlock) => exec_err!(
            "store: a store that nobody writes is required, got {}, which another writer holds: wait for its ingest \
             to end or stop it",
            root.display()
        ),
        Err(TryLockError::Error(e)) => Err(io_error("lock", &path, e)),
    }
}
