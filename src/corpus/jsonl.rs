//! JSON lines: one object a line. The other columns' types are found by reading the file once before.
//! Above 400 lines with its tests, which try every kind of value.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::at_least;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::text_batch::TextBatch;
use crate::files::json::fault_of_line;
use crate::files::{file_error, regular};

/// Most bytes of a line. Chosen: a hundred books.
const MOST_LINE: usize = 1 << 28;
/// Bytes of text after which a batch is complete. Chosen, not tuned.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of a line that are read before more memory is reserved.
const STEP: usize = 1 << 16;
/// Bytes held for a byte of a batch: of its line, parsed, as a cell, in a column.
const COPIES: usize = 4;

/// What some writers put before UTF-8.
pub(super) const BOM: &[u8] = "\u{feff}".as_bytes();
/// What Python writes for numbers that JSON does not have.
const NO_NUMBERS: [&str; 2] = ["NaN", "Infinity"];

/// An object with its keys in the order of the line.
struct Row<T>(Vec<(String, T)>);

impl<'de> Deserialize<'de> for Row<Value> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Row<Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<Value>, A::Error> {
                let mut pairs: Vec<(String, Value)> = vec![];
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if pairs.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom(format_args!("key '{key}' twice")));
                    }
                    pairs.push((key, value));
                }
                Ok(Row(pairs))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A value of a column.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Boolean(bool),
    /// A whole number as it was written.
    Whole(i128),
    Float(f64),
    Text(String),
    /// Anything else, as JSON.
    Json(String),
}

impl Cell {
    /// A value whose text is `raw`: numbers are read from it, since `Value` rounds those that it has no room for.
    fn new(value: Value, raw: &str) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(value),
            Value::String(text) => Self::Text(text),
            Value::Number(_) if raw.contains(['.', 'e', 'E']) => match raw.parse() {
                Ok(float) => Self::Float(float),
                Err(_) => Self::Json(raw.to_string()),
            },
            Value::Number(_) => match raw.parse() {
                Ok(whole) if WHOLE.contains(&whole) => Self::Whole(whole),
                _ => Self::Json(raw.to_string()),
            },
            Value::Array(_) | Value::Object(_) => Self::Json(without_spaces(raw)),
        }
    }

    /// As JSON.
    fn json(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Boolean(value) => Some(value.to_string()),
            Self::Whole(value) => Some(value.to_string()),
            Self::Float(value) => Some(Value::from(*value).to_string()),
            Self::Text(text) => Some(Value::from(text.as_str()).to_string()),
            Self::Json(text) => Some(text.clone()),
        }
    }
}

/// The whole numbers that a column of 64 bits can hold.
const WHOLE: RangeInclusive<i128> = i64::MIN as i128..=u64::MAX as i128;
/// Whole numbers up to this size are floats, too.
const EXACT: i128 = 1 << 53;

/// What the values of one key have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ValueKind {
    Null,
    Boolean,
    Number(Numbers),
    String,
    /// Anything else, or a mixture: kept as JSON text.
    Json,
}

/// The least and the largest whole number, and whether there are floats.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Numbers {
    least: i128,
    most: i128,
    floats: bool,
}

impl ValueKind {
    fn of(value: &Cell) -> ValueKind {
        match value {
            Cell::Null => ValueKind::Null,
            Cell::Boolean(_) => ValueKind::Boolean,
            Cell::Whole(n) => ValueKind::Number(Numbers {
                least: *n,
                most: *n,
                floats: false,
            }),
            Cell::Float(_) => ValueKind::Number(Numbers {
                least: 0,
                most: 0,
                floats: true,
            }),
            Cell::Text(_) => ValueKind::String,
            Cell::Json(_) => ValueKind::Json,
        }
    }

    fn join(self, other: ValueKind) -> ValueKind {
        match (self, other) {
            (a, b) if a == b => a,
            (ValueKind::Null, kind) | (kind, ValueKind::Null) => kind,
            (ValueKind::Number(a), ValueKind::Number(b)) => ValueKind::Number(Numbers {
                least: a.least.min(b.least),
                most: a.most.max(b.most),
                floats: a.floats || b.floats,
            }),
            _ => ValueKind::Json,
        }
    }

    /// The type that holds every value exactly.
    fn data_type(self) -> DataType {
        match self {
            ValueKind::Boolean => DataType::Boolean,
            ValueKind::Number(of) if of.floats => match of.least >= -EXACT && of.most <= EXACT {
                true => DataType::Float64,
                false => DataType::Utf8,
            },
            ValueKind::Number(of) if of.most <= i128::from(i64::MAX) => DataType::Int64,
            ValueKind::Number(of) if of.least >= 0 => DataType::UInt64,
            ValueKind::Number(_) | ValueKind::Null | ValueKind::String | ValueKind::Json => {
                DataType::Utf8
            }
        }
    }

    fn array(self, values: &[Cell]) -> ArrayRef {
        let values = values.iter();
        match (self.data_type(), self) {
            (DataType::Boolean, _) => Arc::new(BooleanArray::from_iter(values.map(|v| match v {
                Cell::Boolean(value) => Some(*value),
                _ => None,
            }))),
            (DataType::Int64, _) => Arc::new(Int64Array::from_iter(values.map(|v| match v {
                Cell::Whole(n) => i64::try_from(*n).ok(),
                _ => None,
            }))),
            (DataType::UInt64, _) => Arc::new(UInt64Array::from_iter(values.map(|v| match v {
                Cell::Whole(n) => u64::try_from(*n).ok(),
                _ => None,
            }))),
            (DataType::Float64, _) => Arc::new(Float64Array::from_iter(values.map(|v| match v {
                Cell::Whole(n) => Some(*n as f64),
                Cell::Float(value) => Some(*value),
                _ => None,
            }))),
            (_, ValueKind::String) => Arc::new(StringArray::from_iter(values.map(|v| match v {
                Cell::Text(text) => Some(text.as_str()),
                _ => None,
            }))),
            _ => Arc::new(StringArray::from_iter(values.map(Cell::json))),
        }
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

/// JSON without the spaces between its parts.
fn without_spaces(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let kept = json.chars().filter(|c| {
        if in_string {
            in_string = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !c.is_ascii_whitespace()
    });
    kept.collect()
}

/// Lines that are not blank, numbered from 1.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    bytes: Vec<u8>,
    /// Bytes of a line at most.
    most: usize,
    /// Of a batch and its longest line.
    memory: MemoryReservation,
}

impl Lines {
    fn open(path: &Path, memory: MemoryReservation) -> Result<Self> {
        let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            reader: BufReader::with_capacity(1 << 18, file),
            number: 0,
            bytes: vec![],
            most: MOST_LINE,
            memory,
        })
    }

    /// Reads a line, memory first; false at the end of the file.
    fn next_line(&mut self) -> Result<bool> {
        self.bytes.clear();
        loop {
            let next = STEP.min(self.most + 1 - self.bytes.len());
            let bytes = COPIES * (BATCH_BYTES + self.bytes.len() + next);
            let of = format_args!("the lines of {}", self.path.display());
            at_least(&self.memory, bytes, of)?;
            let mut part = self.reader.by_ref().take(next as u64);
            let n = part.read_until(b'\n', &mut self.bytes);
            let n = n.map_err(|e| file_error("read", &self.path, e))?;
            if n < next || self.bytes.ends_with(b"\n") || self.bytes.len() > self.most {
                return Ok(!self.bytes.is_empty());
            }
        }
    }

    fn next_row(&mut self) -> Result<Option<Row<Cell>>> {
        loop {
            if !self.next_line()? {
                return Ok(None);
            }
            self.number += 1;
            if self.bytes.len() > self.most {
                return self.refuse(format!(
                    "a line of at most {} bytes is required, got more",
                    self.most
                ));
            }
            if self.number == 1 && self.bytes.starts_with(BOM) {
                self.bytes.drain(..BOM.len());
            }
            let Ok(line) = str::from_utf8(&self.bytes) else {
                return self.refuse("UTF-8 text is required, got other bytes".to_string());
            };
            if !line.trim().is_empty() {
                return match serde_json::from_str::<Row<Value>>(line) {
                    Ok(row) => {
                        let values = row.0.into_iter().zip(raw_values(line));
                        let cells = values.map(|((key, value), raw)| (key, Cell::new(value, raw)));
                        Ok(Some(Row(cells.collect())))
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
        }
    }

    fn refuse<T>(&self, what: String) -> Result<T> {
        exec_err!("{} line {}: {what}", self.path.display(), self.number)
    }

    /// Takes the text out of a row.
    fn text(&self, row: &mut Row<Cell>, column: &str) -> Result<String> {
        let Some(at) = row.0.iter().position(|(key, _)| key == column) else {
            let keys: Vec<_> = row.0.iter().map(|(key, _)| key.as_str()).collect();
            return self.refuse(format!(
                "the text column '{column}' is required, got the keys {}",
                keys.join(", ")
            ));
        };
        match row.0.remove(at).1 {
            Cell::Text(text) => Ok(text),
            other => {
                let kind = match other {
                    Cell::Null => "null",
                    Cell::Boolean(_) => "a boolean",
                    Cell::Json(json) if json.starts_with('[') => "an array",
                    Cell::Json(json) if json.starts_with('{') => "an object",
                    _ => "a number",
                };
                self.refuse(format!("text in column '{column}' is required, got {kind}"))
            }
        }
    }
}

/// A JSON lines file whose every line has been read once.
pub(super) struct Jsonl {
    lines: Lines,
    column: String,
    kinds: Vec<(String, ValueKind)>,
}

impl Jsonl {
    pub(super) fn open(
        path: &Path,
        column: &str,
        memory: MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut kinds: Vec<(String, ValueKind)> = vec![];
        let mut lines = Lines::open(path, memory)?;
        while let Some(mut row) = lines.next_row()? {
            lines.text(&mut row, column)?;
            for (key, value) in row.0 {
                let kind = ValueKind::of(&value);
                match kinds.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, known)) => *known = known.join(kind),
                    None => kinds.push((key, kind)),
                }
            }
            if lines.number % 256 == 0 {
                tick()?;
            }
        }
        Ok(Self {
            lines: Lines::open(path, lines.memory)?,
            column: column.to_string(),
            kinds,
        })
    }

    /// Columns beside the text, in order of first appearance.
    pub(super) fn fields(&self) -> Vec<Field> {
        let kinds = self.kinds.iter();
        kinds
            .map(|(name, kind)| Field::new(name, kind.data_type(), true))
            .collect()
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<TextBatch>> {
        let mut texts = vec![];
        let mut size_bytes = 0;
        let mut values: Vec<Vec<Cell>> = vec![vec![]; self.kinds.len()];
        while size_bytes < BATCH_BYTES {
            let Some(mut row) = self.lines.next_row()? else {
                break;
            };
            let text = self.lines.text(&mut row, &self.column)?;
            // A line's other bytes count too: rows of empty text must not pile up.
            size_bytes += self.lines.bytes.len();
            texts.push(text);
            for ((name, _), values) in self.kinds.iter().zip(&mut values) {
                let at = row.0.iter().position(|(key, _)| key == name);
                values.push(at.map_or(Cell::Null, |at| row.0.swap_remove(at).1));
            }
        }
        if texts.is_empty() {
            return Ok(None);
        }
        let columns = self.kinds.iter().zip(&values);
        let columns = columns.map(|((_, kind), values)| kind.array(values));
        Ok(Some(TextBatch {
            texts,
            columns: columns.collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{Float64Type, Int64Type, UInt64Type};

    use super::*;
    use crate::jobs::JobContext;

    fn open(content: &[u8]) -> Result<Jsonl> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, content).unwrap();
        let memory = JobContext::default().memory("lines");
        Jsonl::open(&path, "text", memory, &mut || Ok(()))
    }

    fn refused(content: &[u8]) -> String {
        open(content).err().expect("refused").strip_backtrace()
    }

    #[test]
    fn columns_keep_their_types_and_the_order_of_appearance() {
        let mut jsonl = open(
            br#"{"z": 1, "text": "a", "mixed": 1, "half": 1}

{"text": "b", "flag": true, "mixed": "x", "half": 0.5, "tags": ["p", "q"]}
"#,
        )
        .unwrap();
        let names: Vec<_> = jsonl.fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, ["z", "mixed", "half", "flag", "tags"]);
        let batch = jsonl.next_batch().unwrap().unwrap();
        assert_eq!(batch.texts, ["a", "b"]);
        let z = batch.columns[0].as_primitive::<Int64Type>();
        assert_eq!(z.iter().collect::<Vec<_>>(), [Some(1), None]);
        let mixed = batch.columns[1].as_string::<i32>();
        assert_eq!(mixed.iter().collect::<Vec<_>>(), [Some("1"), Some("\"x\"")]);
        let half = batch.columns[2].as_primitive::<Float64Type>();
        assert_eq!(half.values(), &[1.0, 0.5]);
        let flag = batch.columns[3].as_boolean();
        assert_eq!(flag.iter().collect::<Vec<_>>(), [None, Some(true)]);
        let tags = batch.columns[4].as_string::<i32>();
        assert_eq!(tags.value(1), r#"["p","q"]"#);
        assert!(jsonl.next_batch().unwrap().is_none());
    }

    /// Python's `json` and `float.hex` say what was written; 0.9560342718892494 is one that a fast parser rounds.
    #[test]
    fn numbers_are_kept_as_they_were_written() {
        let mut jsonl = open(
            br#"{"text": "a", "id": 9007199254740993, "hash": 14695981039346656037, "mixed": 9007199254740993, "x": 0.9560342718892494, "wide": 18446744073709551616, "neg": -1, "in": {"a": [0.9560342718892494, "b c"]}}
{"text": "b", "id": null, "hash": 3, "mixed": 1.5, "x": 1, "wide": 1, "neg": 9223372036854775808}"#,
        )
        .unwrap();
        let types: Vec<_> = jsonl
            .fields()
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        use DataType::{Float64, Int64, UInt64, Utf8};
        assert_eq!(types, [Int64, UInt64, Utf8, Float64, Utf8, Utf8, Utf8]);
        let batch = jsonl.next_batch().unwrap().unwrap();
        let ids = batch.columns[0].as_primitive::<Int64Type>();
        assert_eq!(ids.value(0), 9_007_199_254_740_993);
        let hashes = batch.columns[1].as_primitive::<UInt64Type>();
        assert_eq!(hashes.values(), &[14_695_981_039_346_656_037, 3]);
        let x = batch.columns[3].as_primitive::<Float64Type>();
        assert_eq!(x.value(0).to_bits(), 0x3fee_97d5_2f73_d2ee);
        let text = |column: usize, row: usize| {
            batch.columns[column]
                .as_string::<i32>()
                .value(row)
                .to_string()
        };
        assert_eq!([text(2, 0), text(2, 1)], ["9007199254740993", "1.5"]);
        assert_eq!([text(4, 0), text(4, 1)], ["18446744073709551616", "1"]);
        assert_eq!([text(5, 0), text(5, 1)], ["-1", "9223372036854775808"]);
        assert_eq!(text(6, 0), r#"{"a":[0.9560342718892494,"b c"]}"#);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let mut jsonl = open("\u{feff}{\"text\": \"a\"}\n".as_bytes()).unwrap();
        assert_eq!(jsonl.next_batch().unwrap().unwrap().texts, ["a"]);
    }

    #[test]
    fn a_line_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"text\": \"a\"}\n{\"text\": \"abc\"}").unwrap();
        let mut lines = Lines::open(&path, JobContext::default().memory("lines")).unwrap();
        lines.most = 14;
        assert!(lines.next_row().unwrap().is_some());
        let error = lines.next_row().err().expect("refused").strip_backtrace();
        assert!(
            error.ends_with("line 2: a line of at most 14 bytes is required, got more"),
            "{error}"
        );
    }

    #[test]
    fn bad_lines_are_named() {
        for (content, expected) in [
            (
                &b"{\"text\": \"a\"}\n[1]"[..],
                "line 2: a JSON object is required, got",
            ),
            (
                b"{\"text\": \"a\"",
                "line 1: a JSON object is required, got",
            ),
            (
                b"{\"body\": 1}",
                "line 1: the text column 'text' is required, got the keys body",
            ),
            (
                b"\n{\"text\": 5}",
                "line 2: text in column 'text' is required, got a number",
            ),
            (
                b"{\"text\": null}",
                "text in column 'text' is required, got null",
            ),
            (
                b"{\"text\": \"\xff\"}",
                "line 1: UTF-8 text is required, got other bytes",
            ),
            (b"{\"text\": \"a\", \"text\": \"b\"}", "key 'text' twice"),
            (
                b"{\"text\": \"a\", \"x\": NaN}",
                "line 1: a JSON object is required, in which NaN and Infinity are null, got",
            ),
        ] {
            let message = refused(content);
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("a.jsonl"), "{message}");
        }
    }
}
