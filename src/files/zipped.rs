//! A ZIP archive in bytes that are written on as they come: sizes stand behind each part, so that nothing is gone back to.
//! The same parts make the same bytes. (APPNOTE.TXT 6.3.3, 4.3)

use std::io::{self, Write};
use std::mem::take;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// 1980-01-01, the first day of the format, in place of one that changes.
const DAY: u16 = 0x21;
/// Sizes stand behind the part.
const FLAGS: u16 = 1 << 3;
const DEFLATED: u16 = 8;
const VERSION: u16 = 20;

/// Parts, one after the other.
#[derive(Default)]
pub(super) struct ZipWriter {
    out: Vec<u8>,
    /// Bytes that were taken.
    taken: u64,
    part: Option<ZipPart>,
    directory: Vec<u8>,
    n_parts: u16,
}

struct ZipPart {
    name: String,
    at: u64,
    content: DeflateEncoder<Vec<u8>>,
    crc: Crc,
    /// Bytes after and before they were deflated.
    size: u64,
    whole: u64,
}

impl ZipWriter {
    /// Begins a part, whose content is written.
    pub(super) fn begin(&mut self, name: &str) {
        let at = self.taken + self.out.len() as u64;
        self.out.extend(b"PK\x03\x04");
        self.fields16(&[VERSION, FLAGS, DEFLATED, 0, DAY]);
        self.out.extend([0; 12]);
        self.fields16(&[name.len() as u16, 0]);
        self.out.extend(name.as_bytes());
        self.part = Some(ZipPart {
            name: name.to_string(),
            at,
            content: DeflateEncoder::new(vec![], Compression::default()),
            crc: Crc::new(),
            size: 0,
            whole: 0,
        });
    }

    fn fields16(&mut self, fields: &[u16]) {
        self.out
            .extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    }

    /// Ends the part.
    ///
    /// Errors: it is larger than 4 GiB, or lies beyond them.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let Some(mut part) = self.part.take() else {
            return Ok(());
        };
        part.content.try_finish()?;
        let rest = take(part.content.get_mut());
        part.size += rest.len() as u64;
        self.out.extend(rest);
        let small = |size: u64| {
            u32::try_from(size).map_err(|_| {
                let message = format!("at most 4 GiB are required in {}, got more", part.name);
                io::Error::other(message)
            })
        };
        let (size, whole, at) = (small(part.size)?, small(part.whole)?, small(part.at)?);
        let sizes: Vec<u8> = [part.crc.sum(), size, whole]
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        self.out.extend(b"PK\x07\x08");
        self.out.extend(&sizes);
        let name = part.name.as_bytes();
        let fields = [VERSION, VERSION, FLAGS, DEFLATED, 0, DAY];
        self.directory.extend(b"PK\x01\x02");
        self.directory
            .extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        self.directory.extend(&sizes);
        self.directory.extend((name.len() as u16).to_le_bytes());
        // No extra field, comment, disk or attributes.
        self.directory.extend([0; 12]);
        self.directory.extend(at.to_le_bytes());
        self.directory.extend(name);
        self.n_parts += 1;
        Ok(())
    }

    /// The bytes that there are since the last.
    pub(super) fn take(&mut self) -> Vec<u8> {
        if let Some(part) = &mut self.part {
            let content = take(part.content.get_mut());
            part.size += content.len() as u64;
            self.out.extend(content);
        }
        self.taken += self.out.len() as u64;
        take(&mut self.out)
    }

    /// The last bytes.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        let at = self.taken + self.out.len() as u64;
        let at = u32::try_from(at).map_err(io::Error::other)?;
        let directory = take(&mut self.directory);
        self.out.extend(&directory);
        self.out.extend(b"PK\x05\x06");
        let n = self.n_parts;
        self.fields16(&[0, 0, n, n]);
        self.out.extend((directory.len() as u32).to_le_bytes());
        self.out.extend(at.to_le_bytes());
        self.fields16(&[0]);
        Ok(self.out)
    }
}

impl Write for ZipWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(part) = &mut self.part else {
            return Err(io::Error::other("a part that was begun is required"));
        };
        part.crc.update(bytes);
        part.whole += bytes.len() as u64;
        part.content.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_their_names() {
        let bytes = |pieces: usize| {
            let mut zip = ZipWriter::default();
            let mut bytes = vec![];
            for name in ["a.txt", "b/c.txt"] {
                zip.begin(name);
                for _ in 0..1000 {
                    zip.write_all(name.as_bytes()).unwrap();
                }
                if pieces > 1 {
                    bytes.extend(zip.take());
                }
                zip.end().unwrap();
            }
            bytes.extend(zip.finish().unwrap());
            bytes
        };
        let once = bytes(1);
        assert_eq!(once, bytes(2));
        let mut archive = zip::ZipArchive::new(io::Cursor::new(once)).unwrap();
        assert_eq!(archive.len(), 2);
        let at = archive.index_for_name("b/c.txt").unwrap();
        let part = archive.by_index_raw(at).unwrap();
        assert_eq!(part.size(), 7000);
        assert!(part.compressed_size() < 100);
    }
}
