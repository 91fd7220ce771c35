//! JSON lines: one object a line. The other columns' types are found by reading the file once before.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::exec_err;
use datafusion::error::Result;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::text::TextBatch;
use crate::files::file_error;

/// Bytes of text after which a batch is complete. Chosen, not tuned.
const BATCH_BYTES: usize = 1 << 20;

/// An object with its keys in the order of the line.
struct Row(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
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

/// What the values of one key have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    /// Anything else, or a mixture: kept as JSON text.
    Json,
}

impl Kind {
    fn of(value: &Value) -> Kind {
        match value {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Boolean,
            Value::Number(n) if n.is_i64() => Kind::Integer,
            Value::Number(_) => Kind::Number,
            Value::String(_) => Kind::String,
            Value::Array(_) | Value::Object(_) => Kind::Json,
        }
    }

    fn join(self, other: Kind) -> Kind {
        match (self, other) {
            (a, b) if a == b => a,
            (Kind::Null, kind) | (kind, Kind::Null) => kind,
            (Kind::Integer, Kind::Number) | (Kind::Number, Kind::Integer) => Kind::Number,
            _ => Kind::Json,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Kind::Boolean => DataType::Boolean,
            Kind::Integer => DataType::Int64,
            Kind::Number => DataType::Float64,
            Kind::Null | Kind::String | Kind::Json => DataType::Utf8,
        }
    }

    fn array(self, values: &[Option<Value>]) -> ArrayRef {
        let values = values.iter().map(|v| v.as_ref().filter(|v| !v.is_null()));
        match self {
            Kind::Boolean => Arc::new(BooleanArray::from_iter(values.map(|v| v?.as_bool()))),
            Kind::Integer => Arc::new(Int64Array::from_iter(values.map(|v| v?.as_i64()))),
            Kind::Number => Arc::new(Float64Array::from_iter(values.map(|v| v?.as_f64()))),
            Kind::Null | Kind::String => {
                Arc::new(StringArray::from_iter(values.map(|v| v?.as_str())))
            }
            Kind::Json => Arc::new(StringArray::from_iter(
                values.map(|v| v.map(Value::to_string)),
            )),
        }
    }
}

/// Lines that are not blank, numbered from 1.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    bytes: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| file_error("open", path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            reader: BufReader::with_capacity(1 << 18, file),
            number: 0,
            bytes: vec![],
        })
    }

    fn next_row(&mut self) -> Result<Option<Row>> {
        loop {
            self.bytes.clear();
            let n = self.reader.read_until(b'\n', &mut self.bytes);
            if n.map_err(|e| file_error("read", &self.path, e))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let Ok(line) = str::from_utf8(&self.bytes) else {
                return self.refuse("UTF-8 text is required, got other bytes".to_string());
            };
            if !line.trim().is_empty() {
                return match serde_json::from_str(line) {
                    Ok(row) => Ok(Some(row)),
                    Err(e) => self.refuse(format!("a JSON object is required, got {e}")),
                };
            }
        }
    }

    fn refuse<T>(&self, what: String) -> Result<T> {
        exec_err!("{} line {}: {what}", self.path.display(), self.number)
    }

    /// Takes the text out of a row.
    fn text(&self, row: &mut Row, column: &str) -> Result<String> {
        let Some(at) = row.0.iter().position(|(key, _)| key == column) else {
            let keys: Vec<_> = row.0.iter().map(|(key, _)| key.as_str()).collect();
            return self.refuse(format!(
                "the text column '{column}' is required, got the keys {}",
                keys.join(", ")
            ));
        };
        match row.0.remove(at).1 {
            Value::String(text) => Ok(text),
            other => {
                let kind = match other {
                    Value::Null => "null",
                    Value::Bool(_) => "a boolean",
                    Value::Number(_) => "a number",
                    Value::Array(_) => "an array",
                    _ => "an object",
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
    kinds: Vec<(String, Kind)>,
}

impl Jsonl {
    pub(super) fn open(
        path: &Path,
        column: &str,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut kinds: Vec<(String, Kind)> = vec![];
        let mut lines = Lines::open(path)?;
        while let Some(mut row) = lines.next_row()? {
            lines.text(&mut row, column)?;
            for (key, value) in row.0 {
                let kind = Kind::of(&value);
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
            lines: Lines::open(path)?,
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
        let mut values: Vec<Vec<Option<Value>>> = vec![vec![]; self.kinds.len()];
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
                values.push(at.map(|at| row.0.swap_remove(at).1));
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
    use datafusion::arrow::datatypes::{Float64Type, Int64Type};

    use super::*;

    fn open(content: &[u8]) -> Result<Jsonl> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, content).unwrap();
        Jsonl::open(&path, "text", &mut || Ok(()))
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
        ] {
            let message = refused(content);
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("a.jsonl"), "{message}");
        }
    }
}
