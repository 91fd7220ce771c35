//! Files of fixed-width records for what does not stay in memory during ingest.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytemuck::{AnyBitPattern, NoUninit};
use datafusion::common::exec_err;
use datafusion::error::Result;
use memmap2::Mmap;

use super::file_sum::{FileSum, Growing};
use super::{disk, file_error};

/// Records of `width` four-byte numbers, or half as many of eight, first all written, then read in any order.
pub struct Spool {
    path: PathBuf,
    width: usize,
    len: usize,
    writer: BufWriter<File>,
    /// Of what was written.
    sum: Growing,
    /// All of it, once writing has ended: files one behind the other, with the number of the first record of each.
    maps: Vec<(usize, Mmap)>,
}

impl Spool {
    /// Bytes in memory of one being written.
    pub const BYTES: usize = 1 << 18;

    pub fn create(folder: &Path, name: &str, width: usize) -> Result<Self> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| file_error("create", &path, e))?;
        Ok(Self {
            path,
            width,
            len: 0,
            writer: BufWriter::with_capacity(Self::BYTES, file),
            sum: Growing::default(),
            maps: vec![],
        })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends whole records.
    pub fn append<T: NoUninit>(&mut self, numbers: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(numbers);
        debug_assert!(bytes.len().is_multiple_of(self.width * 4));
        self.lengthen(bytes.len() / (self.width * 4))?;
        self.sum.add(bytes);
        self.writer
            .write_all(bytes)
            .map_err(|e| file_error("write", &self.path, e))
    }

    fn lengthen(&mut self, by: usize) -> Result<()> {
        self.len += by;
        match u32::try_from(self.len) {
            Ok(_) => Ok(()),
            Err(_) => exec_err!(
                "{} requires fewer than 2^32 records, got more",
                self.path.display()
            ),
        }
    }

    /// Takes over the records of another one behind its own. Writing has ended for both.
    pub fn join(&mut self, other: Self) -> Result<()> {
        let own = self.len;
        self.lengthen(other.len)?;
        // What has no records takes no mapping, of which a process has a limited number.
        let others = other.maps.into_iter().filter(|(_, map)| !map.is_empty());
        self.maps
            .extend(others.map(|(first, map)| (own + first, map)));
        Ok(())
    }

    /// Gives what was written so far another name, in a folder that outlives this one's; where the disk has no second
    /// names it is copied. The caller waits until it is on disk. What it has by now, whatever is added to it.
    pub fn keep(&mut self, folder: &Path) -> Result<FileSum> {
        let path = &self.path;
        (self.writer.flush()).map_err(|e| file_error("write", path, e))?;
        let name = path.file_name().unwrap_or_default();
        let kept = folder.join(name);
        disk::link(path, &kept).map_err(|e| file_error("copy", path, e))?;
        Ok(FileSum {
            name: name.to_string_lossy().into_owned(),
            size_bytes: (self.len * self.width) as u64 * 4,
            checksum: self.sum.checksum(),
        })
    }

    /// Goes on behind the first `len` records of what was kept in a folder, in place of what was written here. What
    /// lies behind them there is lost.
    pub fn go_on(&mut self, folder: &Path, len: usize) -> Result<()> {
        let path = &self.path;
        let kept = folder.join(path.file_name().unwrap_or_default());
        // What is no file has no place in a store.
        let file = disk::open(&kept).map_err(|e| file_error("open", &kept, e))?;
        let size = file.metadata().map_err(|e| file_error("open", &kept, e))?;
        let bytes = (len * self.width) as u64 * 4;
        if size.len() < bytes {
            return exec_err!(
                "read {}: {len} records are required, got {} bytes",
                kept.display(),
                size.len()
            );
        }
        let mut sum = Growing::default();
        (sum.add_file(file, bytes)).map_err(|e| file_error("read", &kept, e))?;
        disk::remove_file(path).map_err(|e| file_error("remove", path, e))?;
        disk::link(&kept, path).map_err(|e| file_error("copy", &kept, e))?;
        let reopened = || -> io::Result<File> {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = reopened().map_err(|e| file_error("open", path, e))?;
        self.writer = BufWriter::with_capacity(Self::BYTES, file);
        (self.len, self.sum) = (len, sum);
        Ok(())
    }

    /// Ends writing: the records can be read.
    pub fn flush(&mut self) -> Result<()> {
        self.writer
            .flush()
            .map_err(|e| file_error("write", &self.path, e))?;
        // SAFETY: the file lies in a folder of this work's own, and nothing is written to it any more.
        let map = unsafe { disk::map(self.writer.get_ref()) };
        self.maps = vec![(0, map.map_err(|e| file_error("map", &self.path, e))?)];
        Ok(())
    }

    /// The first `n` numbers of the records from `record` on.
    pub fn read<T: AnyBitPattern>(&self, record: usize, n: usize) -> Result<&[T]> {
        // The last that begins at or before it: one without records has the same first one as the next.
        let behind = self.maps.partition_point(|(first, _)| *first <= record);
        let bytes = self.maps[..behind].last().and_then(|(first, map)| {
            let start = (record - first) * self.width * 4;
            map.get(start..start + n * size_of::<T>())
        });
        let Some(bytes) = bytes else {
            return exec_err!(
                "read {}: {n} numbers from record {record} on are required, got {} records",
                self.path.display(),
                self.len
            );
        };
        // Of four or eight bytes each, behind whole records in a mapping that begins with a page.
        Ok(bytemuck::cast_slice(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::faults::without_mapping;

    #[test]
    fn records_come_back_from_any_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(folder.path(), "a", 2).unwrap();
        spool.append(&[1.5f32, 2.5]).unwrap();
        spool.append(&[3.5f32, 4.5, 5.5, 6.5]).unwrap();
        spool.flush().unwrap();
        assert_eq!(spool.len(), 3);
        assert_eq!(spool.read::<f32>(2, 2).unwrap(), [5.5, 6.5]);
        assert_eq!(spool.read::<f32>(0, 3).unwrap(), [1.5, 2.5, 3.5]);
    }

    #[test]
    fn what_was_kept_is_gone_on_from() {
        let [kept, first, second] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let mut spool = Spool::create(first.path(), "a", 2).unwrap();
        spool.append(&[1u32, 2, 3, 4]).unwrap();
        spool.keep(kept.path()).unwrap();
        // Not part of what was kept, though it may lie behind it.
        spool.append(&[5u32, 6]).unwrap();
        drop(spool);
        first.close().unwrap();
        for more in [[7u32, 8], [9, 10]] {
            let mut spool = Spool::create(second.path(), "a", 2).unwrap();
            spool.go_on(kept.path(), 2).unwrap();
            spool.append(&more).unwrap();
            spool.flush().unwrap();
            let all = spool.read::<u32>(0, 6).unwrap();
            assert_eq!(all, [[1, 2], [3, 4], more].concat());
            let again = tempfile::tempdir().unwrap();
            let sum = spool.keep(again.path()).unwrap();
            assert_eq!(sum, FileSum::of(&again.path().join("a")).unwrap());
            std::fs::remove_file(second.path().join("a")).unwrap();
        }
        let mut spool = Spool::create(second.path(), "a", 2).unwrap();
        let error = spool.go_on(kept.path(), 5).unwrap_err().strip_backtrace();
        assert!(error.contains("5 records are required"), "{error}");
        std::os::unix::fs::symlink("/etc/hostname", kept.path().join("b")).unwrap();
        let mut spool = Spool::create(second.path(), "b", 2).unwrap();
        assert!(spool.go_on(kept.path(), 0).is_err(), "a link");
    }

    #[test]
    fn joined_records_come_one_behind_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let spool = |name: &str, numbers: &[u32]| {
            let mut spool = Spool::create(folder.path(), name, 2).unwrap();
            spool.append(numbers).unwrap();
            spool.flush().unwrap();
            spool
        };
        let mut all = spool("a", &[]);
        let others: [(_, &[u32]); 4] = [
            ("b", &[1, 2, 3, 4]),
            ("c", &[]),
            ("d", &[5, 6]),
            ("e", &[7, 8, 9, 10]),
        ];
        for (name, numbers) in others {
            all.join(spool(name, numbers)).unwrap();
        }
        assert_eq!(all.len(), 5);
        let read: Vec<_> = (0..5).map(|i| all.read::<u32>(i, 2).unwrap()).collect();
        assert_eq!(read.concat(), (1..=10).collect::<Vec<_>>());
        for (record, n) in [(5, 2), (2, 4)] {
            let error = all.read::<u32>(record, n).unwrap_err();
            assert!(error.strip_backtrace().contains("got 5 records"));
        }
    }

    #[test]
    fn a_missing_folder_and_missing_records_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        let error = Spool::create(&nowhere, "ids", 1).err().expect("refused");
        assert!(error.strip_backtrace().contains("create"));
        let spool = Spool::create(folder.path(), "ids", 1).unwrap();
        let error = spool.read::<u32>(0, 1);
        assert!(error.unwrap_err().strip_backtrace().contains("read"));
        let mut spool = spool;
        let flushed = without_mapping(0, || spool.flush()).expect("a mapping");
        assert!(flushed.unwrap_err().strip_backtrace().contains("map"));
        spool.flush().unwrap();
    }
}
