//! Files mapped into memory, as buffers of Arrow.

use std::fs::{self, File};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use datafusion::arrow::buffer::Buffer;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;

use super::{disk, file_error};

/// All of a file. Who reads it later asks [`require_uncut`] before.
pub fn map(path: &Path, file: &File) -> Result<Buffer> {
    // SAFETY: files that are mapped are read only. Those of a committed generation are never written again, only unlinked or
    // replaced by another file, and an unlinked file stays as it is while mapped; of one that lies elsewhere parts are filled
    // in, each before it is compared with its checksums and read. One that others cut is noticed before each
    // batch is read; who cuts it in that moment ends this process with SIGBUS, who writes to it changes what is read.
    let map = unsafe { disk::map(file) }.map_err(|e| file_error("map", path, e))?;
    let start = NonNull::new(map.as_ptr().cast_mut())
        .ok_or_else(|| exec_datafusion_err!("map {}: no address", path.display()))?;
    let (len, map) = (map.len(), Arc::new(map));
    // SAFETY: `len` bytes from `start` on are the map's, and the buffer owns the map.
    Ok(unsafe { Buffer::from_custom_allocation(start, len, map) })
}

/// A part of a mapped file as a buffer of its own, which an operator that counts its memory does not take for the whole file.
pub fn alone(bytes: &Buffer, start: usize, length: usize) -> Buffer {
    let part = bytes.slice_with_length(start, length);
    match NonNull::new(part.as_ptr().cast_mut()) {
        // SAFETY: these are the part's bytes, which live as long as the part, the owner here.
        Some(first) => unsafe { Buffer::from_custom_allocation(first, length, Arc::new(part)) },
        None => part,
    }
}

/// Refuses a mapped file that was cut since to fewer bytes than are mapped: to read them would end the process.
///
/// A file that is not found any more was removed, and is whole while it is mapped.
pub fn require_uncut(path: &Path, mapped: usize) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.len() < mapped as u64 => exec_err!(
            "{} requires {mapped} bytes, got {}: the file was cut while it was read",
            path.display(),
            found.len()
        ),
        _ => Ok(()),
    }
}
