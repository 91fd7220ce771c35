//! Files of text as they are or packed with gzip or zstd, which their first bytes say and not their names.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use super::regular;

const BUFFER: usize = 1 << 18;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What several files of zstd in one may begin with, but for the low half of the first byte. (RFC 8878, 3.1.2)
const SKIPPABLE: &[u8] = &[0x50, 0x2a, 0x4d, 0x18];
/// Packings that are known by what they begin with, and not read.
const OTHERS: [(&[u8], &str); 4] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"BZh91AY&SY", "bzip2"),
];
/// Bytes of the window that every file of zstd may ask for, and of the largest. (RFC 8878, 3.1.1.1.2; zstd's default)
const WINDOWS: (u64, u64) = (1 << 23, 1 << 27);

/// A file being read from its beginning.
pub struct Unpacked {
    /// Its bytes.
    pub reader: Box<dyn BufRead + Send>,
    /// Bytes that reading it holds.
    pub held: usize,
}

/// Opens a file; one that is packed is unpacked while it is read.
pub fn open(path: &Path) -> io::Result<Unpacked> {
    let mut file = BufReader::with_capacity(BUFFER, regular::open(path)?);
    let start = file.fill_buf()?;
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(io::Error::other(format!(
            "a file as it is, of gzip or of zstd is required, got one of {name}"
        )));
    }
    let skippable =
        start.len() > 3 && start[0] & 0xf0 == SKIPPABLE[0] && start[1..4] == SKIPPABLE[1..];
    if start.starts_with(GZIP) {
        return Ok(unpacked(MultiGzDecoder::new(file), "gzip", 1 << 16));
    }
    if !start.starts_with(ZSTD) && !skippable {
        return Ok(Unpacked {
            reader: Box::new(file),
            held: BUFFER,
        });
    }
    let window = window(start).unwrap_or(0).max(WINDOWS.0);
    if window > WINDOWS.1 {
        return Err(io::Error::other(format!(
            "a window of at most {} bytes is required of a zstd file, got {window}",
            WINDOWS.1
        )));
    }
    let mut decoder = Decoder::with_buffer(file)?;
    decoder.window_log_max(window.next_power_of_two().ilog2())?;
    Ok(unpacked(decoder, "zstd", window as usize))
}

fn unpacked(decoder: impl Read + Send + 'static, name: &'static str, held: usize) -> Unpacked {
    Unpacked {
        reader: Box::new(BufReader::with_capacity(BUFFER, Named(decoder, name))),
        held: held + 2 * BUFFER,
    }
}

/// Bytes of the window of a frame, from its header. (RFC 8878, 3.1.1.1)
fn window(header: &[u8]) -> Option<u64> {
    let descriptor = *header.get(4)?;
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let of_window = *header.get(5)?;
        let base = 1u64 << (10 + (of_window >> 3));
        return Some(base + base / 8 * u64::from(of_window & 7));
    }
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let width = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    size[..width].copy_from_slice(header.get(at..at + width)?);
    let least = if width == 2 { 256 } else { 0 };
    Some(u64::from_le_bytes(size).saturating_add(least))
}

/// Says of what kind a file is that cannot be unpacked.
struct Named<R>(R, &'static str);

impl<R: Read> Read for Named<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Self(decoder, name) = self;
        decoder.read(bytes).map_err(|e| {
            let whole =
                format!("a whole {name} file is required, got one that is cut or damaged ({e})");
            io::Error::new(e.kind(), whole)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const TEXT: &[u8] = b"one two three";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).unwrap()
    }

    fn read(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut bytes = vec![];
        open(&path)?.reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn refused(content: &[u8]) -> String {
        read("a.txt", content).unwrap_err().to_string()
    }

    #[test]
    fn files_are_unpacked_whatever_they_are_called() {
        let skippable = [&b"\x53\x2a\x4d\x18\x02\0\0\0ab"[..], &zstd(TEXT)].concat();
        for content in [TEXT.to_vec(), gzip(TEXT), zstd(TEXT), skippable] {
            for name in ["a.txt", "a.txt.gz"] {
                assert_eq!(read(name, &content).unwrap(), TEXT);
            }
        }
        assert_eq!(read("a", b"").unwrap(), b"");
        // Several in one, as parallel packers and `cat` make them.
        for pack in [gzip, zstd] {
            let twice = [pack(b"one "), pack(b"two")].concat();
            assert_eq!(read("a", &twice).unwrap(), b"one two");
        }
    }

    #[test]
    fn what_is_cut_or_damaged_is_named() {
        for (name, packed) in [("gzip", gzip(TEXT)), ("zstd", zstd(TEXT))] {
            let whole =
                format!("a whole {name} file is required, got one that is cut or damaged (");
            for cut in [4, packed.len() - 3] {
                let error = refused(&packed[..cut]);
                assert!(error.starts_with(&whole), "{error}");
            }
        }
        let mut damaged = gzip(TEXT);
        let crc = damaged.len() - 6;
        damaged[crc] ^= 1;
        assert!(refused(&damaged).contains("cut or damaged"));
        assert_eq!(
            refused(b"BZh91AY&SY..."),
            "a file as it is, of gzip or of zstd is required, got one of bzip2"
        );
    }

    #[test]
    fn a_window_is_held_and_bounded() {
        let header = |descriptor: u8, rest: &[u8]| [ZSTD, &[descriptor], rest].concat();
        // RFC 8878: 2^(10 + 17) and one eighth of it; a content of 5; of 256 + 1.
        assert_eq!(
            window(&header(0, &[17 << 3 | 1])),
            Some((1 << 27) + (1 << 24))
        );
        assert_eq!(window(&header(0x20, &[5])), Some(5));
        assert_eq!(window(&header(0x61, &[9, 1, 0])), Some(257));
        assert_eq!(window(&header(0, &[])), None);
        let error = refused(&header(0, &[20 << 3]));
        assert_eq!(
            error,
            "a window of at most 134217728 bytes is required of a zstd file, got 1073741824"
        );
    }
}
