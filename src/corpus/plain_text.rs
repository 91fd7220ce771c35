//! A file that is one text, read in pieces that end between characters.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::hold;

use super::objects::BOM;
use super::row_batch::{Contents, RowBatch};
use crate::files::unpacked::Unpacked;
use crate::files::{file_error, unpacked};

/// Bytes of a piece. Chosen, not tuned.
const PIECE: usize = 1 << 19;

/// The text of a file.
pub(super) struct PlainText {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// The bytes of a character that the last piece did not end.
    begun: Vec<u8>,
    /// Bytes of the pieces before.
    offset: usize,
    ended: bool,
    _memory: MemoryReservation,
}

impl PlainText {
    pub(super) fn open(path: &Path, memory: MemoryReservation) -> Result<Self> {
        let opened = unpacked::open(path).map_err(|e| file_error("open", path, e))?;
        let Unpacked { mut reader, held } = opened;
        // As bytes, as text, and as the rest of a piece before the next one.
        let of = format_args!("a piece of the text of {}", path.display());
        hold(&memory, held + 3 * PIECE, of)?;
        let start = reader.fill_buf().map_err(|e| file_error("read", path, e))?;
        let offset = if start.starts_with(BOM) { BOM.len() } else { 0 };
        reader.consume(offset);
        Ok(Self {
            path: path.to_path_buf(),
            reader,
            begun: vec![],
            offset,
            ended: false,
            _memory: memory,
        })
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        if self.ended {
            return Ok(None);
        }
        let failed = |e| file_error("read", &self.path, e);
        let mut bytes = std::mem::take(&mut self.begun);
        let mut piece = self.reader.by_ref().take((PIECE - bytes.len()) as u64);
        piece.read_to_end(&mut bytes).map_err(failed)?;
        self.ended = self.reader.fill_buf().map_err(failed)?.is_empty();
        let size = bytes.len();
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let (error, valid) = (e.utf8_error(), e.utf8_error().valid_up_to());
                if error.error_len().is_some() || self.ended {
                    let offset = self.offset + valid;
                    let what =
                        format!("UTF-8 text is required, got other bytes at offset {offset}");
                    return Err(file_error("read", &self.path, what));
                }
                let mut bytes = e.into_bytes();
                self.begun = bytes.split_off(valid);
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        self.offset += size - self.begun.len();
        let mut batch = RowBatch::new(Contents::Texts(vec![text]), vec![], 0);
        batch.goes_on = !self.ended;
        Ok(Some(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::JobContext;

    fn read(content: &[u8]) -> Result<Vec<(String, bool)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, content).unwrap();
        let mut text = PlainText::open(&path, JobContext::default().memory("text"))?;
        let mut pieces = vec![];
        while let Some(batch) = text.next_batch()? {
            match batch.contents {
                Contents::Texts(texts) => pieces.push((texts.concat(), batch.goes_on)),
                Contents::Ids(_) => unreachable!("a text has none"),
            }
        }
        Ok(pieces)
    }

    #[test]
    fn pieces_are_the_text() {
        let one = read("\u{feff}one\ntwo\n".as_bytes()).unwrap();
        assert_eq!(one, [("one\ntwo\n".to_string(), false)]);
        assert_eq!(read(b"").unwrap(), [(String::new(), false)]);
        // Three bytes a character, so that a piece ends within one.
        let long = "€".repeat(PIECE / 2);
        let pieces = read(long.as_bytes()).unwrap();
        let goes_on: Vec<_> = pieces.iter().map(|(_, goes_on)| *goes_on).collect();
        assert_eq!(goes_on, [true, false]);
        assert!(pieces.into_iter().map(|(text, _)| text).collect::<String>() == long);
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_offset() {
        let refused = |content: &[u8]| read(content).unwrap_err().strip_backtrace();
        let message = refused(b"abc\xffdef");
        assert!(message.contains("a.txt: UTF-8 text is required, got other bytes at offset 3"));
        assert!(refused("\u{feff}ab\u{20ac}".as_bytes()[..7].as_ref()).ends_with("at offset 5"));
        let late = [&vec![b'a'; PIECE + 9][..], b"\xc3"].concat();
        assert!(refused(&late).ends_with(&format!("at offset {}", PIECE + 9)));
    }
}
