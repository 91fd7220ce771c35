//! Record batches of Arrow IPC, the file and the stream, from a mapped file: a message at a time, each held against what
//! the file has before it is decoded.

use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::reader::StreamDecoder;
use datafusion::arrow::ipc::root_as_message;
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::at_least;

use crate::files::guarded::guarded;
use crate::files::{file_error, mapped, regular};

/// What a file begins and ends with; between them lies a stream and the places of its batches. (Arrow, IPC file format)
const MAGIC: &[u8] = b"ARROW1";
/// Bytes that what stands before the stream is padded to at least, with zeros.
const BEFORE: usize = 8;
/// What stands before the length of a message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Bytes that the description of a batch may have. Chosen: those of some million columns.
const MOST_METADATA: usize = 1 << 26;
/// Bytes that a compressed buffer may say it has. Chosen: more than 32-bit offsets reach.
const MOST_BUFFER: i64 = 1 << 31;

/// The batches of a file.
pub(super) struct IpcBatches {
    path: PathBuf,
    /// Bytes of the file.
    mapped: usize,
    /// What was not read.
    rest: Buffer,
    decoder: StreamDecoder,
    memory: MemoryReservation,
}

impl IpcBatches {
    /// Reads the schema.
    pub(super) fn open(path: &Path, memory: MemoryReservation) -> Result<(SchemaRef, Self)> {
        let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
        let mut rest = mapped::map(path, &file)?;
        let mapped = rest.len();
        if rest.starts_with(MAGIC) {
            if rest.len() < BEFORE + MAGIC.len() || !rest.ends_with(MAGIC) {
                return Err(damaged(path, "its end is missing"));
            }
            // Some writers pad to more.
            let (words, _) = rest[BEFORE..].as_chunks::<BEFORE>();
            let padding = words
                .iter()
                .take_while(|word| **word == [0; BEFORE])
                .count();
            rest.advance(BEFORE * (1 + padding));
        }
        let mut batches = Self {
            path: path.to_path_buf(),
            mapped,
            rest,
            decoder: StreamDecoder::new(),
            memory,
        };
        while batches.decoder.schema().is_none() {
            if batches.message()?.is_none() {
                return Err(damaged(path, "it has no schema"));
            }
        }
        let schema = batches.decoder.schema();
        let schema = schema.ok_or_else(|| damaged(path, "it has no schema"))?;
        Ok((schema, batches))
    }

    /// Decodes a message, which may be a batch; none after the last.
    fn message(&mut self) -> Result<Option<Option<RecordBatch>>> {
        mapped::require_uncut(&self.path, self.mapped)?;
        let Some((bytes, unpacked)) = self.next_message()? else {
            return Ok(None);
        };
        if unpacked > 0 {
            let of = format_args!("a compressed batch of {}", self.path.display());
            at_least(&self.memory, unpacked, of)?;
        }
        // What is before the next message makes the decoder look at one that has no body.
        let found = [
            self.decode(bytes)?,
            self.decode(CONTINUATION.to_vec().into())?,
        ];
        Ok(Some(found.into_iter().flatten().next()))
    }

    fn decode(&mut self, mut bytes: Buffer) -> Result<Option<RecordBatch>> {
        let decoder = &mut self.decoder;
        let mut found = None;
        while !bytes.is_empty() {
            // Arrow's decoder asserts some of what it reads.
            match guarded(|| decoder.decode(&mut bytes)) {
                Some(Ok(batch)) => found = found.or(batch),
                Some(Err(e)) => return Err(damaged(&self.path, e)),
                None => return Err(damaged(&self.path, "it cannot be decoded")),
            }
        }
        Ok(found)
    }

    /// The bytes of the next message behind its marker, and those that its buffers have when they are unpacked.
    fn next_message(&mut self) -> Result<Option<(Buffer, usize)>> {
        let bytes = self.rest.as_slice();
        let marked = if bytes.starts_with(&CONTINUATION) {
            4
        } else {
            0
        };
        let cut = || damaged(&self.path, "a message is cut");
        let Some(length) = bytes.get(marked..marked + 4) else {
            // A stream may end without saying so.
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(cut())
            };
        };
        let length = u32::from_le_bytes(length.try_into().map_err(|_| cut())?) as usize;
        if length == 0 {
            self.rest = Buffer::from(vec![0_u8; 0]);
            return Ok(None);
        }
        if length > MOST_METADATA {
            let what =
                format!("a message of at most {MOST_METADATA} bytes is required, got {length}");
            return Err(damaged(&self.path, what));
        }
        let body = marked + 4 + length;
        let metadata = bytes.get(marked + 4..body).ok_or_else(cut)?;
        let message = root_as_message(metadata).map_err(|e| damaged(&self.path, e))?;
        let end = usize::try_from(message.bodyLength()).ok();
        let end = end
            .and_then(|length| body.checked_add(length))
            .ok_or_else(cut)?;
        let content = bytes.get(body..end).ok_or_else(cut)?;
        let of_dictionary = message
            .header_as_dictionary_batch()
            .and_then(|of| of.data());
        let batch = message.header_as_record_batch().or(of_dictionary);
        let mut unpacked = 0;
        if let Some(batch) = batch.filter(|batch| batch.compression().is_some()) {
            for buffer in batch.buffers().iter().flatten() {
                let start = usize::try_from(buffer.offset()).map_err(|_| cut())?;
                let length = start.checked_add(8).and_then(|end| content.get(start..end));
                let Some(length) = length.filter(|_| buffer.length() >= 8) else {
                    continue;
                };
                let length = i64::from_le_bytes(length.try_into().map_err(|_| cut())?);
                if length > MOST_BUFFER {
                    let what = format!(
                        "a buffer of at most {MOST_BUFFER} bytes is required, got {length}"
                    );
                    return Err(damaged(&self.path, what));
                }
                unpacked += length.max(0) as usize;
            }
        }
        let found = self.rest.slice_with_length(marked, end - marked);
        self.rest.advance(end);
        Ok(Some((found, unpacked)))
    }
}

impl Iterator for IpcBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.message() {
                Ok(None) => return None,
                Ok(Some(None)) => {}
                Ok(Some(Some(batch))) => return Some(Ok(batch)),
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> DataFusionError {
    exec_datafusion_err!(
        "a whole file or stream of Arrow IPC is required, got {}: {what}",
        path.display()
    )
}
