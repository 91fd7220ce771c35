//! One memory-mapped Arrow IPC file; its record batches are decoded where they lie. Over 400 lines: what its footer and its
//! messages say is read here alone.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::ipc::convert::fb_to_schema;
use datafusion::arrow::ipc::reader::{FileDecoder, read_footer_length};
use datafusion::arrow::ipc::{Block, MetadataVersion, root_as_footer, root_as_message};
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::arrow_writer::SUMS;
use super::manifest::FileEntry;
use super::table::Table;
use crate::files::checksums::{BlockSums, Tail, damaged};
use crate::files::{disk, file_error, guarded, mapped};
use crate::remote::Elsewhere;

/// Footer length and magic at a file's end.
const TRAILER: usize = 10;
/// Continuation marker and length before a message.
const PREFIX: usize = 8;

/// A stored file, mapped and checked against its manifest entry. What is read of it is compared with its checksums, once.
#[derive(Debug)]
pub(super) struct TableFile {
    path: PathBuf,
    schema: SchemaRef,
    version: MetadataVersion,
    blocks: Vec<Block>,
    rows: Vec<u32>,
    bytes: Buffer,
    /// None where it was written before there were any, or need not last.
    sums: Option<BlockSums>,
    /// Where its parts come from that are not here.
    elsewhere: Option<Elsewhere>,
}

impl TableFile {
    pub fn open(
        path: &Path,
        table: Table,
        entry: &FileEntry,
        elsewhere: Option<Elsewhere>,
    ) -> Result<Self> {
        let rows = entry.batches.iter().map(|b| b.rows).collect();
        let file = Self::open_whole(path, entry.size_bytes, rows, entry.tail, elsewhere)?;
        table
            .check_schema(&file.schema)
            .map_err(|e| damaged(path, e.strip_backtrace()))?;
        Ok(file)
    }

    /// Opens a file of this size and tail whose record batches have these rows; the parts of one that lies elsewhere come
    /// when they are read.
    pub fn open_whole(
        path: &Path,
        size_bytes: u64,
        rows: Vec<u32>,
        tail: Option<Tail>,
        elsewhere: Option<Elsewhere>,
    ) -> Result<Self> {
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
        let bytes = mapped::map(path, &file)?;
        if let Some(elsewhere) = &elsewhere {
            fetch_tail(elsewhere, &bytes, path, tail)?;
        }
        let file = Self::of(path, bytes, tail)?;
        if file.blocks.len() != rows.len() {
            return Err(damaged(
                path,
                format_args!(
                    "{} record batches expected, {} found",
                    rows.len(),
                    file.blocks.len()
                ),
            ));
        }
        Ok(Self {
            rows,
            elsewhere,
            ..file
        })
    }

    /// Opens a file that no manifest describes and that need not last; its schema carries what it needs.
    pub fn open_alone(path: &Path) -> Result<Self> {
        let file = disk::open(path).map_err(|e| file_error("open", path, e))?;
        Self::of(path, mapped::map(path, &file)?, None)?.with_own_rows()
    }

    /// Opens a file that no manifest describes, behind which its tail is written down.
    pub fn open_cached(path: &Path) -> Result<Self> {
        let file = disk::open(path).map_err(|e| file_error("open", path, e))?;
        let bytes = mapped::map(path, &file)?;
        let Some((end, tail)) = tail_behind(&bytes) else {
            return Err(damaged(path, "it has no tail"));
        };
        Self::of(path, bytes.slice_with_length(0, end), Some(tail))?.with_own_rows()
    }

    /// Without the rows of its batches.
    fn of(path: &Path, bytes: Buffer, tail: Option<Tail>) -> Result<Self> {
        let from = tail.map_or(0, |tail| usize::try_from(tail.from).unwrap_or(usize::MAX));
        let last = bytes.get(from..);
        if let Some(tail) = tail
            && !last.is_some_and(|last| tail.is(last))
        {
            return Err(damaged(path, "its end has another checksum"));
        }
        let footer = Footer::of(path, last.unwrap_or_default(), from)?;
        let sums = match tail {
            None => None,
            Some(_) => Some(footer.sums(path, from)?),
        };
        Ok(Self {
            path: path.to_path_buf(),
            schema: footer.schema,
            version: footer.version,
            blocks: footer.blocks,
            rows: vec![],
            bytes,
            sums,
            elsewhere: None,
        })
    }

    fn with_own_rows(self) -> Result<Self> {
        let rows = (0..self.blocks.len()).map(|batch| {
            self.verify_message(batch)?;
            guarded(&self.path, || block_rows(&self.blocks[batch], &self.bytes))
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Ok(Self { rows, ..self })
    }

    /// Whether what is mapped is still there: to read behind the end of a file that was cut ends the process. One that is
    /// not found was removed, and stays as it is while it is mapped.
    ///
    /// Errors: it was cut since it was opened.
    pub fn require_uncut(&self) -> Result<()> {
        mapped::require_uncut(&self.path, self.bytes.len())
    }

    /// Compares a part of the file with its checksums.
    ///
    /// Errors: it is not what was written.
    pub fn verify(&self, part: Range<usize>) -> Result<()> {
        let Some(sums) = &self.sums else {
            return Ok(());
        };
        if self.elsewhere.is_some() {
            self.fetch(std::slice::from_ref(&part))?;
        }
        match sums.damaged(&self.bytes, part) {
            None => Ok(()),
            Some(block) => Err(damaged(
                &self.path,
                format_args!(
                    "bytes {} to {} have another checksum",
                    block.start, block.end
                ),
            )),
        }
    }

    /// Whether there may be parts of it that are not here.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Has parts of a file that lies elsewhere here, all of them at once; they are still to be verified.
    pub fn fetch(&self, parts: &[Range<usize>]) -> Result<()> {
        let (Some(elsewhere), Some(sums)) = (&self.elsewhere, &self.sums) else {
            return Ok(());
        };
        let lacking = parts
            .iter()
            .flat_map(|part| sums.lacking(&self.bytes, part.clone()));
        elsewhere.fill(&lacking.collect::<Vec<_>>())
    }

    /// Has some columns of record batches of such a file here, in two questions for all of them.
    pub fn fetch_batches(&self, batches: &[usize], columns: &[usize]) -> Result<()> {
        if !self.is_elsewhere() {
            return Ok(());
        }
        let messages = batches.iter().map(|batch| self.message(*batch));
        self.fetch(&messages.collect::<Result<Vec<_>>>()?)?;
        let mut parts = vec![];
        for batch in batches {
            self.verify_message(*batch)?;
            let block = &self.blocks[*batch];
            let found = guarded(&self.path, || {
                column_parts(block, &self.bytes, &self.schema, columns)
            })?;
            parts.extend(found);
        }
        self.fetch(&parts)?;
        parts.into_iter().try_for_each(|part| self.verify(part))
    }

    /// Where the message of a record batch lies.
    fn message(&self, batch: usize) -> Result<Range<usize>> {
        let block = &self.blocks[batch];
        let (start, metadata, _) = guarded(&self.path, || extent(block, self.bytes.len()))?;
        Ok(start..start + metadata)
    }

    fn verify_message(&self, batch: usize) -> Result<()> {
        self.verify(self.message(batch)?)
    }

    /// Compares what an array has of the file with its checksums.
    fn verify_array(&self, array: &ArrayData) -> Result<()> {
        let nulls = array.nulls().map(|nulls| nulls.inner().inner());
        for buffer in array.buffers().iter().chain(nulls) {
            // What decoding copied, since it lies crooked, is not in the file.
            if let Some(part) = self.place_of(buffer) {
                self.verify(part)?;
            }
        }
        let mut children = array.child_data().iter();
        children.try_for_each(|child| self.verify_array(child))
    }

    /// Where some bytes lie in the file, if they do: record batches are decoded where they lie, so that the distance of two
    /// pointers into one map is a place in it.
    pub fn place_of(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let start = (bytes.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize);
        let end = start.checked_add(bytes.len())?;
        (end <= self.bytes.len()).then_some(start..end)
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
        // Decoding looks at some of the values.
        self.fetch_batches(&[batch], columns)?;
        let decoded = self.decode(batch, columns)?;
        if self.sums.is_some() {
            for column in decoded.columns() {
                self.verify_array(&column.to_data())?;
            }
        }
        Ok(decoded)
    }

    /// The same, whose values are still to be verified.
    fn decode(&self, batch: usize, columns: &[usize]) -> Result<RecordBatch> {
        self.require_uncut()?;
        self.verify_message(batch)?;
        let block = &self.blocks[batch];
        let decoded = guarded(&self.path, || {
            let (start, metadata, body) = extent(block, self.bytes.len())?;
            let bytes = mapped::alone(&self.bytes, start, metadata + body);
            FileDecoder::new(Arc::clone(&self.schema), self.version)
                .with_projection(columns.to_vec())
                .read_record_batch(block, &bytes)
                .map_err(|e| e.to_string())?
                .ok_or_else(|| format!("record batch {batch} is missing"))
        })?;
        if decoded.num_rows() != self.rows[batch] as usize {
            return Err(damaged(
                &self.path,
                format_args!(
                    "record batch {batch}: {} rows expected, {} found",
                    self.rows[batch],
                    decoded.num_rows()
                ),
            ));
        }
        Ok(decoded)
    }

    /// A column of a record batch by name, of whose values those that are used are still to be verified.
    pub fn unverified_column(&self, batch: usize, name: &str) -> Result<ArrayRef> {
        let decoded = self.decode(batch, &[self.schema.index_of(name)?])?;
        Ok(Arc::clone(decoded.column(0)))
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

/// What a file says of itself at its end.
pub(super) struct Footer {
    schema: SchemaRef,
    version: MetadataVersion,
    blocks: Vec<Block>,
    sums: Option<String>,
}

impl Footer {
    /// From the end of a file, which begins at its byte `from`.
    pub fn of(path: &Path, bytes: &[u8], from: usize) -> Result<Self> {
        guarded(path, || Self::read(bytes, from))
    }

    fn read(bytes: &[u8], from: usize) -> std::result::Result<Self, String> {
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
            extent(block, from + start)?;
        }
        let entries = footer.custom_metadata();
        let mut entries = entries.iter().flat_map(|entries| entries.iter());
        let sums = entries.find(|entry| entry.key() == Some(SUMS));
        Ok(Self {
            schema: Arc::new(fb_to_schema(schema)),
            version: footer.version(),
            blocks,
            sums: sums.and_then(|entry| entry.value()).map(str::to_string),
        })
    }

    /// Where each record batch lies.
    pub fn extents(&self) -> Vec<Range<usize>> {
        // Each lies within the file, or the footer had been refused.
        let extents = (self.blocks.iter()).filter_map(|block| extent(block, usize::MAX).ok());
        extents
            .map(|(start, metadata, body)| start..start + metadata + body)
            .collect()
    }

    /// The checksums of what lies before the byte `end`.
    pub fn sums(&self, path: &Path, end: usize) -> Result<BlockSums> {
        let sums = self.sums.as_deref();
        sums.and_then(|sums| BlockSums::new(sums, end))
            .ok_or_else(|| damaged(path, "its checksums are required, got none or others"))
    }
}

/// Magic of a tail that is written down behind a file.
const BEHIND: &[u8; 8] = b"polysums";

/// Bytes of a tail that is written down behind a file.
pub(super) const BEHIND_BYTES: usize = 8 + 4 + BEHIND.len();

/// A file's tail, to be written behind it.
pub(super) fn behind(tail: Tail) -> [u8; BEHIND_BYTES] {
    let mut bytes = [0; BEHIND_BYTES];
    bytes[..8].copy_from_slice(&tail.from.to_le_bytes());
    bytes[8..12].copy_from_slice(&tail.checksum.to_le_bytes());
    bytes[12..].copy_from_slice(BEHIND);
    bytes
}

/// The bytes before a tail that was written behind them.
pub(super) fn tail_behind(bytes: &[u8]) -> Option<(usize, Tail)> {
    let (file, last) = bytes.split_last_chunk::<BEHIND_BYTES>()?;
    let tail = Tail {
        from: u64::from_le_bytes(*last.first_chunk()?),
        checksum: u32::from_le_bytes(*last[8..].first_chunk()?),
    };
    (last[12..] == BEHIND[..]).then_some((file.len(), tail))
}

/// Has the end of a file that lies elsewhere here.
///
/// Errors: it has no checksums, so that nobody knows what of it is here.
fn fetch_tail(elsewhere: &Elsewhere, bytes: &[u8], path: &Path, tail: Option<Tail>) -> Result<()> {
    let Some(tail) = tail else {
        return exec_err!(
            "a store with checksums is required of one that lies elsewhere, got none for {}: ingest it again",
            path.display()
        );
    };
    let from = usize::try_from(tail.from).unwrap_or(usize::MAX);
    match bytes.get(from..) {
        Some(last) if !tail.is(last) => {
            let end = from..bytes.len();
            elsewhere.fill(std::slice::from_ref(&end))
        }
        _ => Ok(()),
    }
}

/// Where the values of some columns of a record batch lie; all of it where a column is of a kind whose buffers are not
/// known.
fn column_parts(
    block: &Block,
    bytes: &[u8],
    schema: &SchemaRef,
    columns: &[usize],
) -> std::result::Result<Vec<Range<usize>>, String> {
    let (start, metadata, body) = extent(block, bytes.len())?;
    let first = start + metadata;
    let all = first..first + body;
    let message = root_as_message(&bytes[start + PREFIX..first]).map_err(|e| e.to_string())?;
    let batch = message.header_as_record_batch();
    let Some(buffers) = batch.and_then(|batch| batch.buffers()) else {
        return Err("a record batch without buffers".to_string());
    };
    let (mut parts, mut at) = (vec![], 0);
    for (column, field) in schema.fields().iter().enumerate() {
        let Some(n) = n_buffers(field.data_type()) else {
            return Ok(vec![all]);
        };
        if columns.contains(&column) {
            for buffer in buffers.iter().skip(at).take(n) {
                let place = |number: i64| usize::try_from(number).ok().filter(|n| *n <= body);
                let (Some(from), Some(length)) = (place(buffer.offset()), place(buffer.length()))
                else {
                    return Err("a buffer lies outside its record batch".to_string());
                };
                parts.push(first + from..(first + from + length).min(all.end));
            }
        }
        at += n;
    }
    match at == buffers.len() {
        true => Ok(parts),
        false => Ok(vec![all]),
    }
}

/// Buffers of a column in a message of Arrow's format; none where that is not always the same.
fn n_buffers(kind: &DataType) -> Option<usize> {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => Some(3),
        DataType::List(item) | DataType::LargeList(item) => Some(2 + n_buffers(item.data_type())?),
        DataType::FixedSizeList(item, _) => Some(1 + n_buffers(item.data_type())?),
        DataType::Boolean | DataType::FixedSizeBinary(_) => Some(2),
        kind if kind.is_primitive() => Some(2),
        _ => None,
    }
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
    match guarded::guarded(decode) {
        Some(decoded) => decoded.map_err(|e| damaged(path, e)),
        None => Err(damaged(path, "it cannot be decoded")),
    }
}
