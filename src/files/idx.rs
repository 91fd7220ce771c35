//! The idx format: unsigned bytes behind a magic number and their dimensions, plain or gzipped.
//!
//! Source: LeCun, Cortes, Burges, the MNIST database; all numbers are big-endian.

use std::io::{BufReader, Read};
use std::path::Path;

use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use flate2::read::MultiGzDecoder;
use polysema_udfs::arrow::memory::hold;

use super::{file_error, regular};

/// Bytes read between two looks at the clock.
const CHUNK: u64 = 1 << 20;

/// Bytes that one byte of deflate stands for at most: a match of 258 is two bits. (RFC 1951, section 3.2.5)
const DEFLATE: u64 = 1032;

fn is_zipped(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gz")
}

/// An array of bytes.
#[derive(Debug)]
pub struct Idx {
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<u8>,
}

impl Idx {
    /// Reads an array of `rank` dimensions; what was read is counted into `hasher`, and its values are added to `memory`
    /// before they are read.
    pub fn read(
        path: &Path,
        rank: usize,
        hasher: &mut blake3::Hasher,
        memory: &MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
        let size = file
            .metadata()
            .map_err(|e| file_error("read", path, e))?
            .len();
        let file = BufReader::with_capacity(1 << 16, file);
        match is_zipped(path) {
            true => {
                let most = size.saturating_mul(DEFLATE);
                let reader = MultiGzDecoder::new(file);
                Self::decode(path, rank, reader, most, hasher, memory, tick)
            }
            false => Self::decode(path, rank, file, size, hasher, memory, tick),
        }
    }

    /// Whether a file begins as one of unsigned bytes does.
    pub fn begins(path: &Path) -> bool {
        let mut magic = [0; 4];
        let read = regular::open(path).and_then(|file| match is_zipped(path) {
            true => MultiGzDecoder::new(BufReader::new(file)).read_exact(&mut magic),
            false => { file }.read_exact(&mut magic),
        });
        read.is_ok() && magic[..3] == [0, 0, 8]
    }

    /// `most` is how many bytes the file can give.
    fn decode(
        path: &Path,
        rank: usize,
        mut reader: impl Read,
        most: u64,
        hasher: &mut blake3::Hasher,
        memory: &MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let shown = path.display();
        let mut header = vec![];
        let n_header = 4 + 4 * rank as u64;
        let read = reader.by_ref().take(n_header).read_to_end(&mut header);
        read.map_err(|e| file_error("read", path, e))?;
        // Two zeros, the type of unsigned bytes, the number of dimensions.
        let magic = 0x0800 + rank as u32;
        let (words, _) = header.as_chunks::<4>();
        let words: Vec<u32> = words
            .iter()
            .map(|bytes| u32::from_be_bytes(*bytes))
            .collect();
        match words.first() {
            Some(found) if *found == magic => {}
            Some(found) => {
                return exec_err!(
                    "{shown}: an idx file of bytes in {rank} dimensions, magic number {magic:#010x}, is \
                     required, got {found:#010x}"
                );
            }
            None => {
                return exec_err!(
                    "{shown}: an idx file is required, got {} bytes",
                    header.len()
                );
            }
        }
        let dims: Vec<usize> = words[1..].iter().map(|n| *n as usize).collect();
        let n_values = dims
            .iter()
            .try_fold(1u64, |n, dim| n.checked_mul(*dim as u64));
        let Some(n_values) = n_values.filter(|_| dims.len() == rank) else {
            return exec_err!(
                "{shown}: {rank} dimensions of an array that fits into memory are required, got {dims:?}"
            );
        };
        if n_values > regular::MOST_BYTES {
            return exec_err!(
                "{shown}: at most {} values are required, got an array of shape {dims:?}",
                regular::MOST_BYTES
            );
        }
        if n_values > most {
            return exec_err!(
                "{shown}: {n_values} values of an array of shape {dims:?} are required, got a file of at most {most}"
            );
        }
        hasher.update(&header);
        let all = memory.size().saturating_add(n_values as usize);
        hold(memory, all, format_args!("the values of {shown}"))?;
        let mut values = vec![];
        // One more than there should be, so that a longer file is noticed.
        let mut left = n_values.saturating_add(1);
        loop {
            let mut chunk = reader.by_ref().take(left.min(CHUNK));
            let n = chunk.read_to_end(&mut values);
            let n = n.map_err(|e| file_error("read", path, e))? as u64;
            left -= n;
            if n == 0 || left == 0 {
                break;
            }
            tick()?;
        }
        if values.len() as u64 != n_values {
            return exec_err!(
                "{shown}: {n_values} values of an array of shape {dims:?} are required, got {}{}",
                if left == 0 { "at least " } else { "" },
                values.len()
            );
        }
        hasher.update(&values);
        Ok(Self { dims, values })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(name: &str, content: &[u8], rank: usize) -> Result<Idx> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let hasher = &mut blake3::Hasher::new();
        Idx::read(&path, rank, hasher, &unbounded(), &mut || Ok(()))
    }

    fn unbounded() -> MemoryReservation {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        MemoryConsumer::new("test").register(&pool)
    }

    fn refused(name: &str, content: &[u8], rank: usize) -> String {
        read(name, content, rank).unwrap_err().strip_backtrace()
    }

    const MATRIX: [u8; 18] = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255];

    #[test]
    fn plain_and_zipped_are_the_same() {
        for (name, content) in [("a", MATRIX.to_vec()), ("a.gz", zipped(&MATRIX))] {
            let array = read(name, &content, 2).unwrap();
            assert_eq!(array.dims, [2, 3]);
            assert_eq!(array.values, [1, 2, 3, 4, 5, 255]);
        }
    }

    #[test]
    fn files_that_are_something_else_are_named() {
        let wrong = refused("a", &MATRIX, 3);
        assert!(wrong.contains("a: an idx file of bytes in 3 dimensions, magic number 0x00000803, is required, got 0x00000802"), "{wrong}");
        assert!(refused("a", &[0, 0], 1).contains("a: an idx file is required, got 2 bytes"));
        let dims = refused("a", &MATRIX[..9], 2);
        assert!(dims.contains("2 dimensions of an array"), "{dims}");
        let huge = [&[0, 0, 8, 3][..], &[255; 12]].concat();
        assert!(refused("a", &huge, 3).contains("fits into memory"));
    }

    #[test]
    fn files_of_another_length_are_named() {
        let short = refused("a", &MATRIX[..16], 2);
        assert!(
            short.ends_with("6 values of an array of shape [2, 3] are required, got 4"),
            "{short}"
        );
        let long = [&MATRIX[..], &[0, 0]].concat();
        assert!(refused("a", &long, 2).ends_with("are required, got at least 7"));
        let cut = zipped(&MATRIX);
        let cut = refused("a.gz", &cut[..cut.len() - 9], 2);
        assert!(cut.contains("read") && cut.contains("a.gz"), "{cut}");
        let mut broken = zipped(&MATRIX);
        let at = broken.len() - 6;
        broken[at] ^= 0xff;
        let broken = refused("a.gz", &broken, 2);
        assert!(
            broken.contains("read") && broken.contains("a.gz"),
            "{broken}"
        );
        assert!(refused("a.gz", &MATRIX, 2).contains("a.gz"));
    }
}
