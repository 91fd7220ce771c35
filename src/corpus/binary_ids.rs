//! Token ids as they lie in memory, in the byte order of today's machines: nanoGPT's `.bin`, and llm.c's with its header.
//!
//! A bare file does not say how wide its ids are. They have 16 bits where the model's vocabulary has room in them, as
//! nanoGPT writes them, and 32 bits where it has not; the option `dtype` says otherwise. What contradicts is refused.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::hold;

use super::options::Dtype;
use super::row_batch::{Contents, RowBatch};
use crate::files::{file_error, regular};
use crate::options::Word;

/// Bytes of ids read at once.
const PIECE: usize = 1 << 18;
/// Bytes of a header, and the numbers it begins with and the width of the ids behind it. (llm.c's data loader)
const HEADER: usize = 1024;
const HEADERS: [(u32, Dtype); 2] = [(20_240_520, Dtype::Uint16), (20_240_801, Dtype::Uint32)];

/// The ids of a file, which are one row.
pub(super) struct BinaryIds {
    path: PathBuf,
    reader: BufReader<File>,
    dtype: Dtype,
    /// Bytes that were not read.
    rest: u64,
    begun: bool,
    _memory: MemoryReservation,
}

impl BinaryIds {
    pub(super) fn open(
        path: &Path,
        dtype: Option<Dtype>,
        d_vocab: usize,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let failed = |e| file_error("read", path, e);
        let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
        let size = file.metadata().map_err(failed)?.len();
        // A piece, its ids, and the same as a row.
        let of = format_args!("the token ids of {}", path.display());
        hold(&memory, PIECE + 2 * PIECE / 2 * size_of::<i64>(), of)?;
        let mut start = vec![];
        let mut reader = BufReader::with_capacity(PIECE, file);
        reader
            .by_ref()
            .take(PIECE as u64)
            .read_to_end(&mut start)
            .map_err(failed)?;
        let word = |at: usize| {
            let bytes = start.get(4 * at..4 * at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let header = HEADERS
            .iter()
            .find(|(magic, _)| word(0) == Some(*magic) && start.len() >= HEADER);
        let (skipped, found) = match header {
            Some((_, dtype)) => (HEADER, *dtype),
            None => (0, dtype.unwrap_or(Dtype::of(d_vocab))),
        };
        let rest = size - skipped as u64;
        let width = found.width() as u64;
        if !rest.is_multiple_of(width) {
            return exec_err!(
                "{} requires ids of {width} bytes each, got {rest} bytes (the option dtype says how wide they are)",
                path.display()
            );
        }
        if let (Some((magic, _)), Some(n)) = (header, word(2))
            && u64::from(n) * width != rest
        {
            return exec_err!(
                "{} requires {n} ids of {width} bytes, as its header of {magic} says, got {rest} bytes",
                path.display()
            );
        }
        if let (Some(_), Some(dtype)) = (header, dtype)
            && dtype != found
        {
            return exec_err!(
                "{} requires dtype {}, as its header says, got {}",
                path.display(),
                found.name(),
                dtype.name()
            );
        }
        if header.is_none() && dtype.is_none() && found == Dtype::Uint16 && looks_wide(&start) {
            return exec_err!(
                "{} requires the option dtype: its ids would be of 16 bits, which the model's {d_vocab} tokens have room \
                 in, but every second one is 0, as in ids of 32 bits",
                path.display()
            );
        }
        reader
            .seek(SeekFrom::Start(skipped as u64))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            reader,
            dtype: found,
            rest,
            begun: false,
            _memory: memory,
        })
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        if self.begun && self.rest == 0 {
            return Ok(None);
        }
        self.begun = true;
        let mut bytes = vec![0; self.rest.min(PIECE as u64) as usize];
        let read = self.reader.read_exact(&mut bytes);
        read.map_err(|e| file_error("read", &self.path, e))?;
        self.rest -= bytes.len() as u64;
        let ids = match self.dtype {
            Dtype::Uint16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| u16::from_le_bytes(*b).into())
                .collect(),
            Dtype::Uint32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| u32::from_le_bytes(*b).into())
                .collect(),
        };
        let mut batch = RowBatch::new(Contents::Ids(vec![ids]), vec![], 0);
        batch.goes_on = self.rest > 0;
        Ok(Some(batch))
    }
}

/// Whether the second half of every four bytes is 0 and not all first halves are.
fn looks_wide(bytes: &[u8]) -> bool {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().all(|word| word[2..] == [0, 0]) && words.iter().any(|word| word[..2] != [0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::JobContext;

    fn read(content: &[u8], dtype: Option<Dtype>, d_vocab: usize) -> Result<Vec<i64>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, content).unwrap();
        let memory = JobContext::default().memory("ids");
        let mut file = BinaryIds::open(&path, dtype, d_vocab, memory)?;
        let mut all = vec![];
        while let Some(batch) = file.next_batch()? {
            match batch.contents {
                Contents::Ids(ids) => all.extend(ids.concat()),
                Contents::Texts(_) => unreachable!("ids have none"),
            }
        }
        Ok(all)
    }

    fn narrow(ids: &[u16]) -> Vec<u8> {
        ids.iter().flat_map(|id| id.to_le_bytes()).collect()
    }

    fn wide(ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|id| id.to_le_bytes()).collect()
    }

    #[test]
    fn the_width_follows_from_the_vocabulary_or_is_said() {
        assert_eq!(
            read(&narrow(&[5, 65_535, 0]), None, 50_257).unwrap(),
            [5, 65_535, 0]
        );
        assert_eq!(
            read(&wide(&[5, 70_000]), None, 65_537).unwrap(),
            [5, 70_000]
        );
        assert_eq!(
            read(&wide(&[5, 7]), Some(Dtype::Uint32), 500).unwrap(),
            [5, 7]
        );
        assert_eq!(
            read(&narrow(&[5, 7]), Some(Dtype::Uint16), 100_000).unwrap(),
            [5, 7]
        );
        assert_eq!(read(&narrow(&[0; 4]), None, 500).unwrap(), [0; 4]);
        assert!(read(b"", None, 500).unwrap().is_empty());
        let many: Vec<u16> = (0..300_000).map(|i| (i % 60_000) as u16).collect();
        let expected: Vec<i64> = many.iter().map(|id| i64::from(*id)).collect();
        assert!(read(&narrow(&many), None, 60_000).unwrap() == expected);
    }

    #[test]
    fn a_header_says_it() {
        let header = |magic: u32, n: u32| [wide(&[magic, 1, n]), vec![0; HEADER - 12]].concat();
        let content = [header(20_240_520, 2), narrow(&[5, 7])].concat();
        assert_eq!(read(&content, None, 100_000).unwrap(), [5, 7]);
        let content = [header(20_240_801, 2), wide(&[5, 70_000])].concat();
        assert_eq!(read(&content, None, 500).unwrap(), [5, 70_000]);
        let error = read(&content, Some(Dtype::Uint16), 500).unwrap_err();
        assert!(
            error
                .strip_backtrace()
                .contains("dtype uint32, as its header says, got uint16")
        );
        let error = read(&content[..HEADER + 4], None, 500).unwrap_err();
        assert!(
            error
                .strip_backtrace()
                .contains("requires 2 ids of 4 bytes, as its header")
        );
    }

    #[test]
    fn what_contradicts_is_refused() {
        let refused =
            |content: &[u8], d_vocab| read(content, None, d_vocab).unwrap_err().strip_backtrace();
        assert!(refused(&wide(&[5, 7]), 500).contains("requires the option dtype"));
        assert!(refused(&[1, 2, 3], 500).contains("ids of 2 bytes each, got 3 bytes"));
        assert!(refused(&narrow(&[1, 2, 3]), 100_000).contains("ids of 4 bytes each, got 6 bytes"));
    }
}
