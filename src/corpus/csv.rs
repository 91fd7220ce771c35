//! CSV as rows of a corpus: RFC 4180 with a line of names, an empty cell as NULL. The columns' types are found by reading
//! a file once before. Our own reader, since the one in reach takes an unclosed quote for text to the end of the file.
//! Above 400 lines with its tests.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::at_least;

use super::cells::{Cell, Kinds, MOST_COLUMNS, ValueKind, count, too_many};
use super::objects::{BATCH_BYTES, BOM, COPIES, MOST_ROW};
use super::row_batch::{Contents, RowBatch};
use crate::files::unpacked::Unpacked;
use crate::files::{file_error, unpacked};

/// Where in a row a byte is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Within {
    /// At the beginning of a cell.
    Nothing,
    /// In a cell without quotes.
    Cell,
    /// Behind an opening quote.
    Quotes,
    /// Behind a quote within quotes, which closes them or is the first of two.
    Quote,
}

/// The cells of a row, one behind the other.
struct Cells {
    delimiter: u8,
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Cells {
    /// Adds a byte; where the next one is, or nothing behind the last of the row.
    fn put(&mut self, within: Within, byte: u8) -> std::result::Result<Option<Within>, String> {
        Ok(Some(match (within, byte) {
            (Within::Quotes, b'"') => Within::Quote,
            (Within::Quote, b'"') | (Within::Quotes, _) => {
                self.text.push(byte);
                Within::Quotes
            }
            (Within::Nothing, b'"') => Within::Quotes,
            (_, b'\n') => {
                if within == Within::Cell && self.text.ends_with(b"\r") {
                    self.text.pop();
                }
                let is_blank =
                    within != Within::Quote && self.text.is_empty() && self.ends.is_empty();
                if !is_blank {
                    return Ok(None);
                }
                Within::Nothing
            }
            (_, byte) if byte == self.delimiter => {
                self.ends.push(self.text.len());
                Within::Nothing
            }
            (Within::Quote, b'\r') => Within::Quote,
            (Within::Quote, byte) => {
                let letter = char::from(byte);
                return Err(format!(
                    "the end of a cell is required behind its closing quote, got '{letter}'"
                ));
            }
            _ => {
                self.text.push(byte);
                Within::Cell
            }
        }))
    }
}

/// The rows of a file, one after the other.
struct CsvReader {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// The columns' names.
    names: Vec<String>,
    /// CsvReader read.
    rows: u64,
    /// The last one's.
    last: Cells,
    /// Bytes that unpacking the file holds.
    unpacking: usize,
    memory: MemoryReservation,
}

impl CsvReader {
    fn open(path: &Path, delimiter: u8, memory: MemoryReservation) -> Result<Self> {
        let opened = unpacked::open(path).map_err(|e| file_error("open", path, e))?;
        let Unpacked { mut reader, held } = opened;
        let start = reader.fill_buf().map_err(|e| file_error("read", path, e))?;
        let mark = if start.starts_with(BOM) { BOM.len() } else { 0 };
        reader.consume(mark);
        let mut rows = Self {
            path: path.to_path_buf(),
            reader,
            names: vec![],
            rows: 0,
            last: Cells {
                delimiter,
                text: vec![],
                ends: vec![],
            },
            unpacking: held,
            memory,
        };
        if rows.next()? {
            rows.names = rows.cells()?.into_iter().map(str::to_string).collect();
        }
        rows.rows = 0;
        let names = &rows.names;
        // The text is one more.
        if let Some(name) = names.get(MOST_COLUMNS + 1) {
            return exec_err!("{}: {}", path.display(), too_many(name));
        }
        match (0..names.len()).find(|i| names[..*i].contains(&names[*i])) {
            Some(i) => exec_err!(
                "{} requires columns of different names, got '{}' twice",
                path.display(),
                names[i]
            ),
            None => Ok(rows),
        }
    }

    /// Reads a row that is no blank line; false at the end of the file.
    fn next(&mut self) -> Result<bool> {
        self.last.text.clear();
        self.last.ends.clear();
        let mut within = Some(Within::Nothing);
        while let Some(mut at) = within {
            self.hold()?;
            let read = self.reader.fill_buf();
            let read = read.map_err(|e| file_error("read", &self.path, e))?;
            if read.is_empty() {
                match at {
                    Within::Quotes => {
                        return self.refuse("a closing quote is required, got the end of the file");
                    }
                    Within::Nothing if self.last.ends.is_empty() => return Ok(false),
                    _ => break,
                }
            }
            let mut used = 0;
            let mut refused = None;
            for byte in read {
                used += 1;
                match self.last.put(at, *byte) {
                    Ok(Some(next)) => at = next,
                    Ok(None) => {
                        within = None;
                        break;
                    }
                    Err(what) => {
                        refused = Some(what);
                        break;
                    }
                }
            }
            within = within.map(|_| at);
            self.reader.consume(used);
            if let Some(what) = refused {
                return self.refuse(&what);
            }
            if self.last.text.len() > MOST_ROW {
                return self.refuse(&format!("at most {MOST_ROW} bytes are required, got more"));
            }
        }
        self.last.ends.push(self.last.text.len());
        self.rows += 1;
        Ok(true)
    }

    /// Reserves a batch and a row that is read on.
    fn hold(&self) -> Result<()> {
        let row = 2 * self.last.text.len() + (1 << 18);
        let bytes = COPIES * BATCH_BYTES + row + self.unpacking;
        at_least(
            &self.memory,
            bytes,
            format_args!("the rows of {}", self.path.display()),
        )
    }

    fn refuse<T>(&self, what: &str) -> Result<T> {
        exec_err!("{} row {}: {what}", self.path.display(), self.rows + 1)
    }

    /// The row's cells, as many as there are names.
    fn cells(&self) -> Result<Vec<&str>> {
        let refused = |what: &str| exec_err!("{} row {}: {what}", self.path.display(), self.rows);
        if self.last.ends.len() != self.names.len() && !self.names.is_empty() {
            let (names, cells) = (self.names.len(), self.last.ends.len());
            return refused(&format!(
                "{names} cells, one for each column, are required, got {cells}"
            ));
        }
        let mut start = 0;
        let mut cells = Vec::with_capacity(self.last.ends.len());
        for end in &self.last.ends {
            match str::from_utf8(&self.last.text[start..*end]) {
                Ok(cell) => cells.push(cell),
                Err(_) => return refused("UTF-8 text is required, got other bytes"),
            }
            start = *end;
        }
        Ok(cells)
    }

    /// The place of the text.
    fn place(&self, column: &str) -> Result<usize> {
        match self.names.iter().position(|name| name == column) {
            Some(at) => Ok(at),
            None => exec_err!(
                "{} requires the text column '{column}', got the columns {}",
                self.path.display(),
                self.names.join(", ")
            ),
        }
    }
}

/// Reads every row of a file once and adds its columns to those known.
pub(super) fn survey(
    path: &Path,
    delimiter: u8,
    column: &str,
    memory: MemoryReservation,
    kinds: &mut Kinds,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let mut rows = CsvReader::open(path, delimiter, memory)?;
    let text = rows.place(column)?;
    let names = rows.names.clone();
    let mut own = vec![ValueKind::Null; names.len()];
    while rows.next()? {
        for (kind, cell) in own.iter_mut().zip(rows.cells()?) {
            *kind = kind.join(ValueKind::of(&Cell::of_text(cell)));
        }
        if rows.rows % 256 == 0 {
            tick()?;
        }
    }
    let columns = names.into_iter().zip(own).enumerate();
    for (_, (name, kind)) in columns.filter(|(place, _)| *place != text) {
        let counted = count(kinds, name, kind);
        counted.map_err(|what| exec_datafusion_err!("{}: {what}", path.display()))?;
    }
    Ok(())
}

/// The rows of a file that was surveyed.
pub(super) struct CsvRows {
    rows: CsvReader,
    text: usize,
    /// The kind of each column, and its place in the file, if it has the column.
    columns: Vec<(ValueKind, Option<usize>)>,
}

impl CsvRows {
    pub(super) fn open(
        path: &Path,
        delimiter: u8,
        column: &str,
        kinds: &Kinds,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let rows = CsvReader::open(path, delimiter, memory)?;
        let place = |name: &String| rows.names.iter().position(|known| known == name);
        let columns = kinds
            .iter()
            .map(|(name, kind)| (as_stored(*kind), place(name)));
        Ok(Self {
            text: rows.place(column)?,
            columns: columns.collect(),
            rows,
        })
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        let (mut texts, mut size_bytes) = (vec![], 0);
        let first = self.rows.rows;
        let mut values: Vec<Vec<Cell>> = vec![vec![]; self.columns.len()];
        while size_bytes < BATCH_BYTES && self.rows.next()? {
            let cells = self.rows.cells()?;
            texts.push(cells[self.text].to_string());
            for ((kind, place), values) in self.columns.iter().zip(&mut values) {
                values.push(match place.map(|place| cells[place]) {
                    None | Some("") => Cell::Null,
                    Some(cell) if *kind == ValueKind::String => Cell::Text(cell.to_string()),
                    Some(cell) => Cell::of_text(cell),
                });
            }
            // Cells without letters take place, too.
            size_bytes += self.rows.last.text.len() + 8 * cells.len();
        }
        if texts.is_empty() {
            return Ok(None);
        }
        let columns = self.columns.iter().zip(&values);
        let columns = columns.map(|((kind, _), values)| kind.array(values));
        Ok(Some(RowBatch::new(
            Contents::Texts(texts),
            columns.collect(),
            first,
        )))
    }
}

/// What is stored as text is stored as it was written.
fn as_stored(kind: ValueKind) -> ValueKind {
    match kind.data_type() {
        DataType::Utf8 => ValueKind::String,
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, AsArray};
    use datafusion::arrow::datatypes::{Float64Type, Int64Type};

    use super::*;
    use crate::corpus::cells::fields;
    use crate::jobs::JobContext;

    fn open(content: &[u8]) -> Result<(CsvRows, Kinds)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, content).unwrap();
        let memory = || JobContext::default().memory("rows");
        let mut kinds = vec![];
        survey(&path, b',', "text", memory(), &mut kinds, &mut || Ok(()))?;
        let rows = CsvRows::open(&path, b',', "text", &kinds, memory())?;
        Ok((rows, kinds))
    }

    /// The values are those that Python's `csv` gives, but for the blank line, which is a row of nothing there.
    #[test]
    fn cells_are_read_as_rfc_4180_says() {
        let content = "\u{feff}n,text,x,word,zip\r\n1,\"a \"\"b\"\", c\",0.5,true,007\r\n\n,\"two\r\nlines\",,x,\n-3,5\" disk,1e2,,1";
        let (mut rows, kinds) = open(content.as_bytes()).unwrap();
        let types = fields(&kinds);
        let types: Vec<_> = types
            .iter()
            .map(|f| (f.name().as_str(), f.data_type().clone()))
            .collect();
        use DataType::{Float64, Int64, Utf8};
        assert_eq!(
            types,
            [("n", Int64), ("x", Float64), ("word", Utf8), ("zip", Utf8)]
        );
        let batch = rows.next_batch().unwrap().unwrap();
        let expected = ["a \"b\", c", "two\r\nlines", "5\" disk"];
        assert!(matches!(&batch.contents, Contents::Texts(texts) if *texts == expected));
        let n = batch.columns[0].as_primitive::<Int64Type>();
        assert_eq!(n.iter().collect::<Vec<_>>(), [Some(1), None, Some(-3)]);
        let x = batch.columns[1].as_primitive::<Float64Type>();
        assert_eq!(x.iter().collect::<Vec<_>>(), [Some(0.5), None, Some(100.0)]);
        let text = |column: usize| -> Vec<Option<String>> {
            let cells = batch.columns[column].as_string::<i32>();
            cells.iter().map(|cell| cell.map(str::to_string)).collect()
        };
        assert_eq!(text(2), [Some("true".into()), Some("x".into()), None]);
        assert_eq!(text(3), [Some("007".into()), None, Some("1".into())]);
        assert_eq!(batch.columns[0].len(), 3);
        assert!(rows.next_batch().unwrap().is_none());
    }

    #[test]
    fn bad_rows_are_named() {
        let columns = (0..=1024).map(|n| format!(",c{n}")).collect::<String>();
        let columns = format!("text{columns}\n");
        for (content, expected) in [
            (
                &b"text,x\na,1\nb\n"[..],
                "row 2: 2 cells, one for each column, are required, got 1",
            ),
            (
                b"text,x\na,1,2\n",
                "row 1: 2 cells, one for each column, are required, got 3",
            ),
            (
                b"text\na\n\"b\nc\n",
                "row 2: a closing quote is required, got the end of the file",
            ),
            (
                b"text\n\"a\"b\n",
                "row 1: the end of a cell is required behind its closing quote, got 'b'",
            ),
            (
                b"text\n\xff\n",
                "row 1: UTF-8 text is required, got other bytes",
            ),
            (
                b"x,x,text\n",
                "requires columns of different names, got 'x' twice",
            ),
            (
                b"text;x\na;1\n",
                "requires the text column 'text', got the columns text;x",
            ),
            (b"", "requires the text column 'text', got the columns"),
            (
                columns.as_bytes(),
                "at most 1024 columns beside the text are required, got 'c1024' as well",
            ),
        ] {
            let message = open(content).err().expect("refused").strip_backtrace();
            assert!(
                message.contains(expected) && message.contains("a.csv"),
                "{message}"
            );
        }
        assert!(open(b"text\n").unwrap().0.next_batch().unwrap().is_none());
    }
}
