//! The file of the rows' tokens: a token a line, as it is in `.txt`, a JSON string in `.jsonl`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use datafusion::error::{DataFusionError, Result};

use crate::files::{file_error, regular};

/// Bytes of a token at most. Chosen: no tokenizer has one of more than some hundred.
const MOST_BYTES: u64 = 1 << 20;

/// Tokens of rows, read one after the other.
pub(super) struct Tokens {
    path: PathBuf,
    reader: BufReader<File>,
    json: bool,
    /// How many there should be.
    rows: usize,
    read: usize,
}

impl Tokens {
    /// Those of a file that should have one for each of `rows` rows.
    pub(super) fn open(path: &Path, rows: usize) -> Result<Self> {
        let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            reader: BufReader::new(file),
            json: path.extension().is_some_and(|e| e == "jsonl"),
            rows,
            read: 0,
        })
    }

    /// The next `n`; `hold` reserves their bytes, some at a time.
    pub(super) fn take(
        &mut self,
        n: usize,
        hold: &dyn Fn(usize) -> Result<()>,
    ) -> Result<Vec<String>> {
        let mut tokens = Vec::with_capacity(n);
        let (mut bytes, mut held) = (0, 0);
        while tokens.len() < n {
            if bytes + MOST_BYTES as usize > held {
                held = bytes + 2 * MOST_BYTES as usize;
                hold(held)?;
            }
            match self.next()? {
                Some(token) => {
                    bytes += token.len();
                    tokens.push(token);
                }
                None => return Err(self.count()),
            }
        }
        Ok(tokens)
    }

    /// Refuses more than there should be.
    pub(super) fn finish(mut self) -> Result<()> {
        while self.next()?.is_some() {}
        match self.read == self.rows {
            true => Ok(()),
            false => Err(self.count()),
        }
    }

    fn next(&mut self) -> Result<Option<String>> {
        let mut line = vec![];
        let mut limited = self.reader.by_ref().take(MOST_BYTES + 1);
        let n = limited
            .read_until(b'\n', &mut line)
            .map_err(|e| self.invalid(e))?;
        if n == 0 {
            return Ok(None);
        }
        self.read += 1;
        if n as u64 > MOST_BYTES {
            return Err(self.invalid(format!(
                "a token of at most {MOST_BYTES} bytes is required, got more in line {}",
                self.read
            )));
        }
        // A carriage return belongs to the token.
        line.pop_if(|last| *last == b'\n');
        let text = String::from_utf8(line).map_err(|_| {
            self.invalid(format!(
                "line {}: UTF-8 text is required, got other bytes",
                self.read
            ))
        })?;
        match self.json {
            false => Ok(Some(text)),
            true => serde_json::from_str(&text).map(Some).map_err(|e| {
                self.invalid(format!(
                    "line {}: a JSON string is required, got {e}",
                    self.read
                ))
            }),
        }
    }

    fn count(&self) -> DataFusionError {
        self.invalid(format!(
            "a token for each of the {} rows is required, got {}",
            self.rows, self.read
        ))
    }

    fn invalid(&self, what: impl std::fmt::Display) -> DataFusionError {
        file_error("read", &self.path, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(name: &str, content: &[u8], rows: usize) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut tokens = Tokens::open(&path, rows)?;
        let unbounded = &|_| Ok(());
        let first = tokens.take(rows.min(1), unbounded)?;
        let rest = tokens.take(rows - first.len(), unbounded)?;
        tokens.finish()?;
        Ok([first, rest].concat())
    }

    #[test]
    fn a_carriage_return_is_part_of_a_token() {
        let read = tokens("tokens.txt", b"a\r\n\r\n b\n", 3).unwrap();
        assert_eq!(read, ["a\r", "\r", " b"]);
        let read = tokens("tokens.jsonl", b"\"\\r\\n\"\n\"b\"", 2).unwrap();
        assert_eq!(read, ["\r\n", "b"]);
    }

    #[test]
    fn other_files_are_refused() {
        let long = vec![b'a'; MOST_BYTES as usize + 1];
        for (content, rows, part) in [
            (&b"a\nb"[..], 3, "each of the 3 rows is required, got 2"),
            (b"a\nb\nc\n", 2, "each of the 2 rows is required, got 3"),
            (b"a\n\xff", 2, "line 2: UTF-8 text is required"),
            (
                &long,
                1,
                "at most 1048576 bytes is required, got more in line 1",
            ),
        ] {
            let error = tokens("tokens.txt", content, rows).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
