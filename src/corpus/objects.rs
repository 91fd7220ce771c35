//! JSON objects of a file, one a line or in one array, each with its keys in order and its numbers as they were written.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::at_least;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::cells::Cell;
use crate::files::json::fault_of_line;
use crate::files::unpacked::Unpacked;
use crate::files::{file_error, unpacked};

/// Most bytes of a row. Chosen: a hundred books.
pub(super) const MOST_ROW: usize = 1 << 28;
/// Bytes of text after which a batch is complete. Chosen, not tuned.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Bytes of a row that are read before more memory is reserved.
const STEP: usize = 1 << 16;
/// Bytes held for a byte of a batch: of its line, parsed, as a cell, in a column.
pub(super) const COPIES: usize = 4;

/// What some writers put before UTF-8.
pub(super) const BOM: &[u8] = "\u{feff}".as_bytes();
/// What Python writes for numbers that JSON does not have.
const NO_NUMBERS: [&str; 2] = ["NaN", "Infinity"];

/// An object with its keys in the order of the line.
pub(super) struct OrderedObject<T>(pub(super) Vec<(String, T)>);

impl<'de> Deserialize<'de> for OrderedObject<Value> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = OrderedObject<Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<OrderedObject<Value>, A::Error> {
                let mut pairs: Vec<(String, Value)> = vec![];
                let mut known = HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if !known.insert(key.clone()) {
                        return Err(A::Error::custom(format_args!("key '{key}' twice")));
                    }
                    pairs.push((key, value));
                }
                Ok(OrderedObject(pairs))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The texts of the values of an object, in order; the line is a valid one.
fn raw_values(line: &str) -> Vec<&str> {
    let bytes = line.as_bytes();
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let (mut begins, mut values) = (None, vec![]);
    for (at, byte) in bytes.iter().enumerate() {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b':' if depth == 1 => begins = Some(at + 1),
            b',' if depth == 1 => values.extend(begins.take().map(|from| line[from..at].trim())),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    values.extend(begins.take().map(|from| line[from..at].trim()));
                }
            }
            _ => {}
        }
    }
    values
}

/// Where the objects of a file are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Arrangement {
    /// In lines that are not blank.
    Lines,
    /// In an array that was not begun.
    Array,
    /// In one of which something was read.
    InArray,
    /// All were read.
    Ended,
}

/// The objects of a file, one after the other.
pub(super) struct Objects {
    pub(super) path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    layout: Arrangement,
    /// Of the line or the object, from 1.
    pub(super) number: usize,
    /// The last one's.
    pub(super) bytes: Vec<u8>,
    /// Bytes of an object at most.
    pub(super) most: usize,
    /// Bytes that unpacking the file holds.
    unpacking: usize,
    /// Of a batch and its longest object.
    memory: MemoryReservation,
}

impl Objects {
    pub(super) fn open(path: &Path, memory: MemoryReservation) -> Result<Self> {
        let opened = unpacked::open(path).map_err(|e| file_error("open", path, e))?;
        let Unpacked { mut reader, held } = opened;
        let start = reader.fill_buf().map_err(|e| file_error("read", path, e))?;
        let mark = if start.starts_with(BOM) { BOM.len() } else { 0 };
        let mut letters = start[mark..].iter().filter(|b| !b.is_ascii_whitespace());
        let layout = match letters.next() {
            Some(b'[') => Arrangement::Array,
            _ => Arrangement::Lines,
        };
        reader.consume(mark);
        Ok(Self {
            path: path.to_path_buf(),
            reader,
            layout,
            number: 0,
            bytes: vec![],
            most: MOST_ROW,
            unpacking: held,
            memory,
        })
    }

    /// Reserves an object of which so many bytes are read next.
    fn hold(&self, next: usize) -> Result<()> {
        let bytes = COPIES * (BATCH_BYTES + self.bytes.len() + next) + self.unpacking;
        let of = format_args!("the lines of {}", self.path.display());
        at_least(&self.memory, bytes, of)
    }

    /// Reads an object, memory first; false at the end of the file.
    fn next(&mut self) -> Result<bool> {
        self.bytes.clear();
        let found = match self.layout {
            Arrangement::Lines => self.next_line()?,
            Arrangement::Array | Arrangement::InArray => self.next_element()?,
            Arrangement::Ended => false,
        };
        self.number += usize::from(found);
        if self.bytes.len() > self.most {
            return self.refuse(format!(
                "a line of at most {} bytes is required, got more",
                self.most
            ));
        }
        Ok(found)
    }

    fn next_line(&mut self) -> Result<bool> {
        loop {
            let next = STEP.min(self.most + 1 - self.bytes.len());
            self.hold(next)?;
            let mut part = self.reader.by_ref().take(next as u64);
            let n = part.read_until(b'\n', &mut self.bytes);
            let n = n.map_err(|e| file_error("read", &self.path, e))?;
            if n < next || self.bytes.ends_with(b"\n") || self.bytes.len() > self.most {
                return Ok(!self.bytes.is_empty());
            }
        }
    }

    fn next_element(&mut self) -> Result<bool> {
        let is_first = self.layout == Arrangement::Array;
        if is_first {
            // The bracket that made it an array.
            self.letter()?;
            self.reader.consume(1);
        }
        self.layout = Arrangement::InArray;
        let mut letter = self.letter()?;
        if !is_first && letter == Some(b',') {
            self.reader.consume(1);
            letter = self.letter()?;
            if letter == Some(b']') {
                return self.refuse_next("a value is required behind a comma, got ']'");
            }
        } else if !is_first && letter.is_some_and(|letter| letter != b']') {
            return self.refuse_next("',' or ']' is required behind a value, got another letter");
        }
        if letter == Some(b']') {
            self.reader.consume(1);
            self.layout = Arrangement::Ended;
            return match self.letter()? {
                None => Ok(false),
                Some(_) => self.refuse_next("nothing is required behind the array, got more"),
            };
        }
        self.element()?;
        Ok(true)
    }

    /// The next byte that is no space, which stays; none at the end of the file.
    fn letter(&mut self) -> Result<Option<u8>> {
        loop {
            let next = self.reader.fill_buf();
            let next = next.map_err(|e| file_error("read", &self.path, e))?;
            let spaces = next.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let letter = next.get(spaces).copied();
            let ended = next.is_empty();
            self.reader.consume(spaces);
            if letter.is_some() || ended {
                return Ok(letter);
            }
        }
    }

    /// Reads one value of an array.
    fn element(&mut self) -> Result<()> {
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        loop {
            self.hold(STEP)?;
            let next = self.reader.fill_buf();
            let next = next.map_err(|e| file_error("read", &self.path, e))?;
            let next = &next[..next.len().min(STEP)];
            if next.is_empty() {
                return self
                    .refuse_next("the end of the array, ']', is required, got that of the file");
            }
            let (mut used, mut ended) = (0, false);
            for byte in next {
                // A number or a word ends before what follows it.
                if !in_string
                    && depth == 0
                    && matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t')
                {
                    ended = true;
                    break;
                }
                used += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    _ if in_string => {}
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                ended = depth == 0 && !in_string && matches!(byte, b'}' | b']' | b'"');
                if ended {
                    break;
                }
            }
            self.bytes.extend_from_slice(&next[..used]);
            self.reader.consume(used);
            if ended || self.bytes.len() > self.most {
                return Ok(());
            }
        }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<OrderedObject<Cell>>> {
        while self.next()? {
            let Ok(line) = str::from_utf8(&self.bytes) else {
                return self.refuse("UTF-8 text is required, got other bytes".to_string());
            };
            if line.trim().is_empty() {
                continue;
            }
            return match serde_json::from_str::<OrderedObject<Value>>(line) {
                Ok(row) => {
                    let values = row.0.into_iter().zip(raw_values(line));
                    let cells = values.map(|((key, value), raw)| (key, Cell::of_json(value, raw)));
                    Ok(Some(OrderedObject(cells.collect())))
                }
                Err(e) if NO_NUMBERS.iter().any(|name| line.contains(name)) => {
                    self.refuse(format!(
                        "a JSON object is required, in which NaN and Infinity are null, got {}",
                        fault_of_line(&e)
                    ))
                }
                Err(e) => self.refuse(format!(
                    "a JSON object is required, got {}",
                    fault_of_line(&e)
                )),
            };
        }
        Ok(None)
    }

    pub(super) fn refuse<T>(&self, what: String) -> Result<T> {
        let place = match self.layout {
            Arrangement::Lines => "line",
            _ => "row",
        };
        exec_err!("{} {place} {}: {what}", self.path.display(), self.number)
    }

    /// The same of what follows.
    fn refuse_next<T>(&mut self, what: &str) -> Result<T> {
        self.number += 1;
        self.refuse(what.to_string())
    }

    /// Takes the text or the token ids out of a row.
    pub(super) fn content(
        &self,
        row: &mut OrderedObject<Cell>,
        column: &str,
    ) -> Result<RowContent> {
        let Some(at) = row.0.iter().position(|(key, _)| key == column) else {
            let keys: Vec<_> = row.0.iter().map(|(key, _)| key.as_str()).collect();
            return self.refuse(format!(
                "the text column '{column}' is required, got the keys {}",
                keys.join(", ")
            ));
        };
        let kind = match row.0.remove(at).1 {
            Cell::Text(text) => return Ok(RowContent::Text(text)),
            Cell::Json(json) if json.starts_with('[') => match serde_json::from_str(&json) {
                Ok(ids) => return Ok(RowContent::Ids(ids)),
                Err(_) => "an array that is no list of token ids",
            },
            Cell::Null => "null",
            Cell::Boolean(_) => "a boolean",
            Cell::Json(json) if json.starts_with('{') => "an object",
            _ => "a number",
        };
        self.refuse(format!("text in column '{column}' is required, got {kind}"))
    }
}

/// What a row holds.
pub(super) enum RowContent {
    Text(String),
    Ids(Vec<i64>),
}

impl RowContent {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Ids(_) => "a list of token ids",
        }
    }
}
