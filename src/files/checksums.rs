//! Checksums (CRC-32) of a file's blocks, made while it is written, so that any part of it can be checked alone when it is read.
//!
//! Such a file ends in a tail that has their checksums and says where what lies in it. Who names the file keeps the
//! [`Tail`].

use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crc32fast::Hasher;
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use serde::{Deserialize, Serialize};

/// Bytes of a block. Of vectors of width 768 five lie in one; a checksum for each would be a thousandth of them. Chosen,
/// not tuned.
pub const BLOCK: usize = 1 << 14;
/// Hexadecimal digits of a checksum.
const DIGITS: usize = 8;
/// Bytes of a file read at a time. Chosen, not tuned.
pub(super) const PIECE: usize = 1 << 20;

/// Where a file's tail begins, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Bytes before it.
    pub from: u64,
    /// CRC-32 of the bytes from there to the end.
    pub checksum: u32,
}

impl Tail {
    /// Whether these are the bytes from its beginning to the end of the file.
    pub fn is(&self, bytes: &[u8]) -> bool {
        agrees(crc32fast::hash(bytes) == self.checksum)
    }
}

/// Passes bytes on to a file and sums them up.
#[derive(Debug)]
pub struct Summed<W> {
    inner: W,
    /// Of the block, or of the tail.
    sum: Hasher,
    /// Bytes of the block.
    filled: usize,
    /// Checksums of the blocks that are whole.
    blocks: String,
    written: u64,
    tail: Option<u64>,
}

impl<W: Write> Summed<W> {
    /// At the beginning of a file.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            sum: Hasher::new(),
            filled: 0,
            blocks: String::new(),
            written: 0,
            tail: None,
        }
    }

    fn end_block(&mut self) {
        let sum = std::mem::take(&mut self.sum).finalize();
        self.blocks.push_str(&format!("{sum:08x}"));
        self.filled = 0;
    }

    /// Ends the blocks: what is written from here on is the tail. Their checksums, which belong into it.
    pub fn begin_tail(&mut self) -> String {
        if self.filled > 0 {
            self.end_block();
        }
        self.tail = Some(self.written);
        std::mem::take(&mut self.blocks)
    }

    /// The file, and its tail.
    pub fn into_inner(self) -> (W, Tail) {
        let tail = Tail {
            from: self.tail.unwrap_or(self.written),
            checksum: self.sum.finalize(),
        };
        (self.inner, tail)
    }

    fn sum_up(&mut self, mut bytes: &[u8]) {
        self.written += bytes.len() as u64;
        if self.tail.is_some() {
            return self.sum.update(bytes);
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.sum.update(now);
            self.filled += now.len();
            if self.filled == BLOCK {
                self.end_block();
            }
            bytes = later;
        }
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.sum_up(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The checksums of a file's blocks, and which of them were compared with what lies in it.
#[derive(Debug)]
pub struct BlockSums {
    /// As they lie in the tail.
    text: Box<str>,
    /// Bytes before the tail.
    end: usize,
    /// A bit a block: those that are whole.
    whole: Vec<AtomicU64>,
}

impl BlockSums {
    /// Of a file whose tail begins at `end`; none if these are not as many as it has blocks.
    pub fn new(text: &str, end: usize) -> Option<Self> {
        let blocks = end.div_ceil(BLOCK);
        let digits = text.bytes().all(|digit| digit.is_ascii_hexdigit());
        (digits && text.len() == DIGITS * blocks).then(|| Self {
            text: text.into(),
            end,
            whole: (0..blocks.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
        })
    }

    fn is(&self, block: usize, bytes: &[u8]) -> bool {
        let digits = &self.text[DIGITS * block..DIGITS * (block + 1)];
        agrees(u32::from_str_radix(digits, 16) == Ok(crc32fast::hash(bytes)))
    }

    fn extent(&self, block: usize) -> Range<usize> {
        block * BLOCK..self.end.min((block + 1) * BLOCK)
    }

    /// The blocks of a part of the file that are not what was written, those beside each other as one.
    pub fn lacking(&self, file: &[u8], part: Range<usize>) -> Vec<Range<usize>> {
        let mut lacking: Vec<Range<usize>> = vec![];
        let mut start = part.start;
        while let Some(block) = self.damaged(file, start..part.end) {
            start = block.end;
            match lacking.last_mut() {
                Some(last) if last.end == block.start => last.end = block.end,
                _ => lacking.push(block),
            }
        }
        lacking
    }

    /// The first block of a part of the file that is not what was written, by its place. Each block is compared once.
    pub fn damaged(&self, file: &[u8], part: Range<usize>) -> Option<Range<usize>> {
        let end = part.end.min(self.end);
        if part.start >= end {
            return None;
        }
        let mut blocks = part.start / BLOCK..=(end - 1) / BLOCK;
        let damaged = blocks.find(|block| {
            let (word, bit) = (&self.whole[block / 64], 1 << (block % 64));
            if word.load(Ordering::Relaxed) & bit != 0 {
                return false;
            }
            let bytes = file.get(self.extent(*block));
            let whole = bytes.is_some_and(|bytes| self.is(*block, bytes));
            if whole {
                word.fetch_or(bit, Ordering::Relaxed);
            }
            !whole
        });
        damaged.map(|block| self.extent(block))
    }

    /// Reads a file up to its tail; the blocks that are not what was written, those beside each other as one.
    ///
    /// `go_on` is called with the bytes read, some at a time; its error ends the reading.
    pub fn all_damaged(
        &self,
        file: &mut impl Read,
        mut go_on: impl FnMut(u64) -> Result<()>,
    ) -> Result<io::Result<Vec<Range<usize>>>> {
        let mut damaged: Vec<Range<usize>> = vec![];
        let mut piece = vec![0; PIECE];
        let mut start = 0;
        while start < self.end {
            let piece = &mut piece[..PIECE.min(self.end - start)];
            if let Err(error) = file.read_exact(piece) {
                return Ok(Err(error));
            }
            for (at, bytes) in piece.chunks(BLOCK).enumerate() {
                let block = start / BLOCK + at;
                let extent = self.extent(block);
                if self.is(block, bytes) {
                    continue;
                }
                match damaged.last_mut() {
                    Some(last) if last.end == extent.start => last.end = extent.end,
                    _ => damaged.push(extent),
                }
            }
            start += piece.len();
            go_on(piece.len() as u64)?;
        }
        Ok(Ok(damaged))
    }
}

/// Whether a checksum is right. For the fuzzer each is, as in what someone made to do harm.
pub(super) fn agrees(right: bool) -> bool {
    right || cfg!(fuzzing)
}

/// What is wrong where a checksum is.
pub const OTHER: &str = "its checksum is another";

/// The error of a file that is not what was written.
pub fn damaged(path: &Path, what: impl std::fmt::Display) -> DataFusionError {
    exec_datafusion_err!(
        "a whole file is required, got {} damaged: {what}",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use datafusion::common::exec_err;

    use super::*;

    /// A file of `n` bytes with its tail.
    fn written(n: usize, piece: usize) -> (Vec<u8>, String, Tail) {
        let mut out = Summed::new(vec![]);
        let bytes: Vec<u8> = (0..n).map(|i| (i * 7 + i / 251) as u8).collect();
        for part in bytes.chunks(piece.max(1)) {
            out.write_all(part).expect("memory");
        }
        let sums = out.begin_tail();
        out.write_all(sums.as_bytes()).expect("memory");
        let (file, tail) = out.into_inner();
        (file, sums, tail)
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        // zlib.crc32(b"123456789") of Python 3, the check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_byte_of_every_block_and_of_the_tail_counts() {
        for n in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let (mut file, sums, tail) = written(n, 1000);
            assert_eq!((file.len() - sums.len(), tail.from), (n, n as u64));
            assert_eq!(written(n, BLOCK).1, sums, "however it was written");
            let fresh = || BlockSums::new(&sums, n).expect("as many as blocks");
            assert!(fresh().damaged(&file, 0..n).is_none() && tail.is(&file[n..]));
            let all = |file: &[u8]| {
                let read = fresh().all_damaged(&mut &file[..], |_| Ok(()));
                read.expect("not cancelled").expect("memory")
            };
            assert!(all(&file).is_empty());
            let step = 1.max(file.len() / 97);
            for at in (0..file.len()).step_by(step) {
                file[at] ^= 1 << (at % 8);
                if at < n {
                    let block = at / BLOCK * BLOCK..n.min((at / BLOCK + 1) * BLOCK);
                    assert_eq!(
                        fresh().damaged(&file, at..at + 1),
                        Some(block.clone()),
                        "{at}"
                    );
                    assert_eq!(all(&file), [block]);
                } else {
                    assert!(!tail.is(&file[n..]), "{at}");
                }
                file[at] ^= 1 << (at % 8);
            }
        }
        assert!(BlockSums::new("0123", 5).is_none() && BlockSums::new("0123456x", 5).is_none());
    }

    #[test]
    fn a_block_is_compared_once_and_blocks_beside_each_other_are_one() {
        let n = 5 * BLOCK;
        let (mut file, sums, _) = written(n, 777);
        let kept = BlockSums::new(&sums, n).expect("as many as blocks");
        assert!(kept.damaged(&file, 0..BLOCK).is_none());
        for at in [0, BLOCK + 3, 2 * BLOCK, 4 * BLOCK] {
            file[at] ^= 0x40;
        }
        assert!(kept.damaged(&file, 0..BLOCK).is_none(), "compared before");
        assert_eq!(kept.damaged(&file, 0..n), Some(BLOCK..2 * BLOCK));
        assert_eq!(
            kept.damaged(&file, 0..n),
            Some(BLOCK..2 * BLOCK),
            "and again"
        );
        let all = kept
            .all_damaged(&mut &file[..], |_| Ok(()))
            .expect("not cancelled");
        let expected = [0..3 * BLOCK, 4 * BLOCK..n];
        assert_eq!(all.expect("memory"), expected);
        let cut = kept.all_damaged(&mut &file[..BLOCK], |_| Ok(()));
        assert!(cut.expect("not cancelled").is_err(), "cut short");
        let ended = kept.all_damaged(&mut &file[..], |_| exec_err!("enough"));
        assert!(ended.is_err());
    }
}
