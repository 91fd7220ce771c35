//! JSON objects as rows of a corpus. The other columns' types are found by reading a file once before.

use std::path::Path;

use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::cells::{Cell, Kinds, ValueKind, count};
use super::objects::{BATCH_BYTES, Objects, RowContent};
use super::row_batch::{Contents, RowBatch};

/// What a reading of a file found, or of several: whether rows hold token ids (none without a row), and their columns.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    pub(super) of_ids: Option<bool>,
    pub(super) kinds: Kinds,
}

/// Reads every object of a file once.
pub(super) fn survey(
    path: &Path,
    column: &str,
    memory: MemoryReservation,
    found: &mut Surveyed,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let mut objects = Objects::open(path, memory)?;
    while let Some(mut row) = objects.next_row()? {
        let content = objects.content(&mut row, column)?;
        let is_ids = matches!(content, RowContent::Ids(_));
        if *found.of_ids.get_or_insert(is_ids) != is_ids {
            let other = if is_ids {
                "text"
            } else {
                "a list of token ids"
            };
            return objects.refuse(format!(
                "{other} in column '{column}' is required, as before, got {}",
                content.name()
            ));
        }
        for (key, value) in row.0 {
            if let Err(what) = count(&mut found.kinds, key, ValueKind::of(&value)) {
                return objects.refuse(what);
            }
        }
        if objects.number % 256 == 0 {
            tick()?;
        }
    }
    Ok(())
}

/// The rows of a file that was surveyed.
pub(super) struct JsonRows {
    objects: Objects,
    column: String,
    kinds: Kinds,
    rows: u64,
}

impl JsonRows {
    pub(super) fn open(
        path: &Path,
        column: &str,
        kinds: Kinds,
        memory: MemoryReservation,
    ) -> Result<Self> {
        Ok(Self {
            objects: Objects::open(path, memory)?,
            column: column.to_string(),
            kinds,
            rows: 0,
        })
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        let (mut texts, mut ids) = (vec![], vec![]);
        let (first, mut size_bytes) = (self.rows, 0);
        let mut values: Vec<Vec<Cell>> = vec![vec![]; self.kinds.len()];
        while size_bytes < BATCH_BYTES {
            let Some(mut row) = self.objects.next_row()? else {
                break;
            };
            match self.objects.content(&mut row, &self.column)? {
                RowContent::Text(text) => texts.push(text),
                RowContent::Ids(list) => ids.push(list),
            }
            // A line's other bytes count too: rows of empty text must not pile up, nor cells without a value.
            size_bytes += self.objects.bytes.len() + 8 * self.kinds.len();
            self.rows += 1;
            for ((name, _), values) in self.kinds.iter().zip(&mut values) {
                let at = row.0.iter().position(|(key, _)| key == name);
                values.push(at.map_or(Cell::Null, |at| row.0.swap_remove(at).1));
            }
        }
        let contents = match ids.is_empty() {
            true => Contents::Texts(texts),
            false if texts.is_empty() => Contents::Ids(ids),
            // It was not so when it was surveyed.
            false => {
                return exec_err!(
                    "{}: an unchanged file is required",
                    self.objects.path.display()
                );
            }
        };
        if contents.len() == 0 {
            return Ok(None);
        }
        let columns = self.kinds.iter().zip(&values);
        let columns = columns.map(|((_, kind), values)| kind.array(values));
        Ok(Some(RowBatch::new(contents, columns.collect(), first)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};

    use super::*;
    use crate::corpus::cells::fields;
    use crate::jobs::JobContext;

    fn memory() -> MemoryReservation {
        JobContext::default().memory("lines")
    }

    fn open(content: &[u8]) -> Result<JsonRows> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, content).unwrap();
        let mut found = Surveyed::default();
        survey(&path, "text", memory(), &mut found, &mut || Ok(()))?;
        JsonRows::open(&path, "text", found.kinds, memory())
    }

    fn texts(rows: &mut JsonRows) -> Vec<String> {
        match rows.next_batch().unwrap().unwrap().contents {
            Contents::Texts(texts) => texts,
            Contents::Ids(ids) => panic!("{ids:?}"),
        }
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
        let names: Vec<_> = fields(&jsonl.kinds)
            .iter()
            .map(|f| f.name().clone())
            .collect();
        assert_eq!(names, ["z", "mixed", "half", "flag", "tags"]);
        let batch = jsonl.next_batch().unwrap().unwrap();
        assert!(matches!(&batch.contents, Contents::Texts(texts) if *texts == ["a", "b"]));
        assert_eq!((batch.first, batch.columns.len()), (0, 5));
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
        let types = fields(&jsonl.kinds);
        let types: Vec<_> = types.iter().map(|f| f.data_type().clone()).collect();
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
        assert_eq!(texts(&mut jsonl), ["a"]);
    }

    #[test]
    fn an_array_is_rows_too() {
        let content = "\u{feff} [\n{\"text\": \"a]}\\\"\", \"n\": [1, {\"x\": \"]\"}]},{\"text\":\"b\",\"n\":7}\n]\n";
        let mut rows = open(content.as_bytes()).unwrap();
        let batch = rows.next_batch().unwrap().unwrap();
        assert!(matches!(&batch.contents, Contents::Texts(texts) if *texts == ["a]}\"", "b"]));
        let n = batch.columns[0].as_string::<i32>();
        assert_eq!([n.value(0), n.value(1)], ["[1,{\"x\":\"]\"}]", "7"]);
        assert!(rows.next_batch().unwrap().is_none());
        assert!(open(b"[]").unwrap().next_batch().unwrap().is_none());
        let columns: String = (0..100_000).map(|n| format!(", \"c{n}\": 1")).collect();
        let columns = format!("{{\"text\": \"a\"{columns}}}\n");
        for (content, expected) in [
            (
                &b"[{\"text\": \"a\"}, 5]"[..],
                "row 2: a JSON object is required, got",
            ),
            (
                b"[{\"text\": \"a\"}",
                "row 2: the end of the array, ']', is required, got that of the file",
            ),
            (b"[{\"text\": \"a\"},", "row 2: the end of the array"),
            (b"[{\"text\": \"a", "row 1: the end of the array"),
            (
                b"[{\"text\": \"a\"},]",
                "row 2: a value is required behind a comma, got ']'",
            ),
            (
                b"[{\"text\": \"a\"} {}]",
                "row 2: ',' or ']' is required behind a value",
            ),
            (
                b"[{\"text\": \"a\"}] 1",
                "row 2: nothing is required behind the array",
            ),
            (b"[\"a\"]", "row 1: a JSON object is required, got"),
            (
                columns.as_bytes(),
                "line 1: at most 1024 columns beside the text are required, got 'c1024' as well",
            ),
            (
                b"[{\"text\": {\"of\": 1}}]",
                "row 1: text in column 'text' is required, got an object",
            ),
        ] {
            let message = refused(content);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn token_ids_are_lists_of_whole_numbers() {
        let mut rows = open(b"{\"text\": [5, 0, -1]}\n{\"text\": []}").unwrap();
        let batch = rows.next_batch().unwrap().unwrap();
        assert!(matches!(&batch.contents, Contents::Ids(ids) if *ids == [vec![5, 0, -1], vec![]]));
        for (content, expected) in [
            (
                &b"{\"text\": [1.5]}"[..],
                "got an array that is no list of token ids",
            ),
            (
                b"{\"text\": [[1]]}",
                "got an array that is no list of token ids",
            ),
            (
                b"{\"text\": [1]}\n{\"text\": \"a\"}",
                "line 2: a list of token ids in column 'text' is required, as before, got text",
            ),
            (
                b"{\"text\": \"a\"}\n{\"text\": [1]}",
                "line 2: text in column 'text' is required, as before, got a list of token ids",
            ),
        ] {
            let message = refused(content);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_line_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"text\": \"a\"}\n{\"text\": \"abc\"}").unwrap();
        let mut lines = Objects::open(&path, memory()).unwrap();
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
