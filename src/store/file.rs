//! One memory-mapped Arrow IPC file; its record batches are decoded where they lie.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::convert::fb_to_schema;
use datafusion::arrow::ipc::reader::{FileDecoder, read_footer_length};
use datafusion::arrow::ipc::{Block, MetadataVersion, root_as_footer, root_as_message};
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use memmap2::Mmap;

use super::manifest::FileEntry;
use super::table::Table;
use crate::files::{disk, file_error};

/// Footer length and magic at a file's end.
const TRAILER: usize = 10;
/// Continuation marker and length before a message.
const PREFIX: usize = 8;

/// A stored file, mapped and checked against its manifest entry.
#[derive(Debug)]
pub(super) struct TableFile {
    path: PathBuf,
    schema: SchemaRef,
    version: MetadataVersion,
    blocks: Vec<Block>,
    rows: Vec<u32>,
    bytes: Buffer,
}

impl TableFile {
    pub fn open(path: &Path, table: Table, entry: &FileEntry) -> Result<Self> {
        let rows = entry.batches.iter().map(|b| b.rows).collect();
        let file = Self::open_whole(path, entry.size_bytes, rows)?;
        table
            .check_schema(&file.schema)
            .map_err(|e| corrupt(path, e.strip_backtrace()))?;
        Ok(file)
    }

    /// Opens a file of this size whose record batches have these rows.
    pub fn open_whole(path: &Path, size_bytes: u64, rows: Vec<u32>) -> Result<Self> {
        let file = disk::open(path).map_err(|e| file_error("open", path, e))?;
        let size = file
            .metadata()
            .map_err(|e| file_error("read", path, e))?
            .len();
        if size != size_bytes {
            return exec_err!(
                "{} requires {size_bytes} bytes, got {size}: the file was cut or changed",
                path.display()
            );
        }
        let bytes = map(path, &file)?;
        let (schema, version, blocks) = guarded(path, || footer(&bytes))?;
        if blocks.len() != rows.len() {
            return Err(corrupt(
                path,
                format!(
                    "{} record batches expected, {} found",
                    rows.len(),
                    blocks.len()
                ),
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            schema,
            version,
            blocks,
            rows,
            bytes,
        })
    }

    /// Opens a file that no manifest describes; its schema carries what it needs.
    pub fn open_alone(path: &Path) -> Result<Self> {
        let file = disk::open(path).map_err(|e| file_error("open", path, e))?;
        let bytes = map(path, &file)?;
        let (schema, version, blocks) = guarded(path, || footer(&bytes))?;
        let rows = guarded(path, || {
            blocks.iter().map(|b| block_rows(b, &bytes)).collect()
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            schema,
            version,
            blocks,
            rows,
            bytes,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The whole mapped file.
    pub fn bytes(&self) -> &Buffer {
        &self.bytes
    }

    /// Rows of each record batch.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Some columns of a record batch, without copying them.
    pub fn read(&self, batch: usize, columns: &[usize]) -> Result<RecordBatch> {
        let block = &self.blocks[batch];
        let decoded = guarded(&self.path, || {
            let (start, metadata, body) = extent(block, self.bytes.len())?;
            let bytes = self.bytes.slice_with_length(start, metadata + body);
            FileDecoder::new(Arc::clone(&self.schema), self.version)
                .with_projection(columns.to_vec())
                .read_record_batch(block, &bytes)
                .map_err(|e| e.to_string())?
                .ok_or_else(|| format!("record batch {batch} is missing"))
        })?;
        if decoded.num_rows() != self.rows[batch] as usize {
            return Err(corrupt(
                &self.path,
                format!(
                    "record batch {batch}: {} rows expected, {} found",
                    self.rows[batch],
                    decoded.num_rows()
                ),
            ));
        }
        Ok(decoded)
    }

    /// Columns of a record batch by name, in that order.
    pub fn columns<const N: usize>(&self, batch: usize, names: [&str; N]) -> Result<[ArrayRef; N]> {
        let places = names.iter().map(|name| self.schema.index_of(name));
        let places = places.collect::<std::result::Result<Vec<_>, _>>()?;
        let decoded = self.read(batch, &places)?;
        Ok(std::array::from_fn(|place| {
            Arc::clone(decoded.column(place))
        }))
    }
}

fn map(path: &Path, file: &File) -> Result<Buffer> {
    // SAFETY: files of a committed generation are never written again, only unlinked or replaced by another file, and
    // an unlinked file stays as it is while mapped. Who cuts it by other means ends this process with SIGBUS.
    let map = unsafe { Mmap::map(file) }.map_err(|e| file_error("map", path, e))?;
    let start = NonNull::new(map.as_ptr().cast_mut())
        .ok_or_else(|| exec_datafusion_err!("map {}: no address", path.display()))?;
    let (len, map) = (map.len(), Arc::new(map));
    // SAFETY: `len` bytes from `start` on are the map's, and the buffer owns the map.
    Ok(unsafe { Buffer::from_custom_allocation(start, len, map) })
}

type Footer = (SchemaRef, MetadataVersion, Vec<Block>);

fn footer(bytes: &[u8]) -> std::result::Result<Footer, String> {
    let end = bytes
        .len()
        .checked_sub(TRAILER)
        .ok_or("too short for a footer")?;
    let trailer = bytes[end..].try_into().map_err(|_| "no trailer")?;
    let length = read_footer_length(trailer).map_err(|e| e.to_string())?;
    let start = end
        .checked_sub(length)
        .ok_or("footer longer than the file")?;
    let footer = root_as_footer(&bytes[start..end]).map_err(|e| e.to_string())?;
    let schema = footer.schema().ok_or("no schema in the footer")?;
    if !schema.endianness().equals_to_target_endianness() {
        return Err("written on a machine of the other byte order".to_string());
    }
    let blocks = footer
        .recordBatches()
        .map_or(vec![], |blocks| blocks.iter().copied().collect::<Vec<_>>());
    for block in &blocks {
        extent(block, start)?;
    }
    Ok((Arc::new(fb_to_schema(schema)), footer.version(), blocks))
}

/// Rows of a record batch, from its message.
fn block_rows(block: &Block, bytes: &[u8]) -> std::result::Result<u32, String> {
    let (start, metadata, _) = extent(block, bytes.len())?;
    let message = &bytes[start + PREFIX..start + metadata];
    let message = root_as_message(message).map_err(|e| e.to_string())?;
    let batch = message.header_as_record_batch();
    let rows = batch.map(|batch| u32::try_from(batch.length()));
    rows.and_then(std::result::Result::ok)
        .ok_or_else(|| "a record batch without rows".to_string())
}

/// Start, metadata length and body length of a block that lies within `limit` bytes.
fn extent(block: &Block, limit: usize) -> std::result::Result<(usize, usize, usize), String> {
    let outside = || "a record batch lies outside the file".to_string();
    let start = usize::try_from(block.offset()).map_err(|_| outside())?;
    let metadata = usize::try_from(block.metaDataLength()).map_err(|_| outside())?;
    let body = usize::try_from(block.bodyLength()).map_err(|_| outside())?;
    let end = start
        .checked_add(metadata)
        .and_then(|e| e.checked_add(body));
    match end {
        Some(end) if end <= limit && metadata >= PREFIX => Ok((start, metadata, body)),
        _ => Err(outside()),
    }
}

/// Arrow's decoder asserts some of what it reads: on a damaged file that is an error like any other.
fn guarded<T>(path: &Path, decode: impl FnOnce() -> std::result::Result<T, String>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(|e| corrupt(path, e)),
        Err(_) => Err(corrupt(path, "it cannot be decoded")),
    }
}

fn corrupt(path: &Path, what: impl std::fmt::Display) -> DataFusionError {
    exec_datafusion_err!(
        "a whole file is required, got {} damaged: {what}",
        path.display()
    )
}
