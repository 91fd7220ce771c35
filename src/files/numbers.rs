//! A file of numbers that are read back in the order they were written in, whole or not at all: its hash is kept
//! elsewhere.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytemuck::{NoUninit, Pod};
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::disk::{self, DiskFile};
use super::file_error;

/// Bytes read or written at a time. Chosen, not tuned.
const BUFFER: usize = 1 << 18;

/// Numbers being written.
pub struct NumbersWriter {
    path: PathBuf,
    out: BufWriter<Hashed<DiskFile>>,
}

/// What passes through a file, and its hash.
struct Hashed<F> {
    file: F,
    hasher: blake3::Hasher,
}

impl<F> Hashed<F> {
    fn new(file: F) -> Self {
        let hasher = blake3::Hasher::new();
        Self { file, hasher }
    }

    fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

impl Write for Hashed<DiskFile> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for Hashed<File> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }
}

impl NumbersWriter {
    /// Begins a new file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = disk::create_new(path).map_err(|e| file_error("create", path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            out: BufWriter::with_capacity(BUFFER, Hashed::new(file)),
        })
    }

    /// Appends numbers.
    pub fn put<T: NoUninit>(&mut self, numbers: &[T]) -> Result<()> {
        let written = self.out.write_all(bytemuck::cast_slice(numbers));
        written.map_err(|e| file_error("write", &self.path, e))
    }

    /// Ends writing; the hash of what was written.
    pub fn finish(mut self) -> Result<String> {
        let flushed = self.out.flush();
        flushed.map_err(|e| file_error("write", &self.path, e))?;
        Ok(self.out.get_ref().hash())
    }
}

/// Numbers being read.
pub struct NumbersReader {
    path: PathBuf,
    file: BufReader<Hashed<File>>,
    /// Bytes that were not read yet.
    left: u64,
}

impl NumbersReader {
    /// Opens a file that [`NumbersWriter`] wrote.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = disk::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (left, file) = opened.map_err(|e| file_error("open", path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            file: BufReader::with_capacity(BUFFER, Hashed::new(file)),
            left,
        })
    }

    /// Reads as many numbers as there is room for.
    pub fn fill<T: Pod>(&mut self, numbers: &mut [T]) -> Result<()> {
        let bytes = bytemuck::cast_slice_mut(numbers);
        self.require(bytes.len() as u64)?;
        let read = self.file.read_exact(bytes);
        read.map_err(|e| file_error("read", &self.path, e))?;
        self.left -= bytes.len() as u64;
        Ok(())
    }

    /// Reads one number, or an array of them.
    pub fn next<T: Pod>(&mut self) -> Result<T> {
        let mut number = [T::zeroed()];
        self.fill(&mut number)?;
        Ok(number[0])
    }

    /// Reads `n` of them.
    pub fn list<T: Pod>(&mut self, n: usize) -> Result<Vec<T>> {
        // Before they have room: how many there are may be anyone's word.
        self.require((n as u64).saturating_mul(size_of::<T>() as u64))?;
        let mut numbers = vec![T::zeroed(); n];
        self.fill(&mut numbers)?;
        Ok(numbers)
    }

    fn require(&self, bytes: u64) -> Result<()> {
        match bytes <= self.left {
            true => Ok(()),
            false => exec_err!(
                "read {}: {bytes} bytes more are required, got {}",
                self.path.display(),
                self.left
            ),
        }
    }

    /// Ends reading.
    ///
    /// Errors: something is left, or what was read has another hash.
    pub fn finish(self, hash: &str) -> Result<()> {
        let (left, found) = (self.left, self.file.get_ref().hash());
        match left == 0 && found == hash {
            true => Ok(()),
            false => exec_err!(
                "read {}: a whole file is required, got {left} bytes too many and the hash {found}",
                self.path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_their_order_and_damage_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers");
        let mut writer = NumbersWriter::create(&path).expect("a file");
        writer.put(&[1.5f32, f32::NAN]).expect("written");
        writer.put(&[[7u32, 8], [9, 10]]).expect("written");
        writer.put(&[-0.25f64]).expect("written");
        let hash = writer.finish().expect("written");
        let read = |hash: &str| -> Result<()> {
            let mut reader = NumbersReader::open(&path)?;
            let mut floats = [0f32; 2];
            reader.fill(&mut floats)?;
            assert!(floats[0] == 1.5 && floats[1].is_nan());
            assert_eq!(reader.list::<[u32; 2]>(2)?, [[7, 8], [9, 10]]);
            let _: f64 = reader.next()?;
            assert!(reader.next::<u32>().is_err() && reader.list::<u32>(usize::MAX).is_err());
            reader.finish(hash)
        };
        read(&hash).expect("what was written");
        assert!(read("0").is_err());
        let mut bytes = std::fs::read(&path).expect("a file");
        *bytes.last_mut().expect("bytes") ^= 1;
        std::fs::write(&path, &bytes).expect("a file");
        assert!(read(&hash).is_err(), "another last number");
        bytes.push(0);
        std::fs::write(&path, &bytes).expect("a file");
        assert!(read(&hash).is_err(), "a byte more");
        std::fs::write(&path, &bytes[..9]).expect("a file");
        assert!(read(&hash).is_err(), "cut short");
    }
}
