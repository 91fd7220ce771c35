//! Every kind of file as rows, and what is no corpus. Above 400 lines, a kind after the other.

use std::fs::{self, File};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Int64Type, Schema};
use datafusion::arrow::ipc::writer::{FileWriter, StreamWriter};
use datafusion::parquet::arrow::ArrowWriter;

use super::*;
use crate::jobs::JobContext;

fn open(path: &Path, column: &str) -> Result<Corpus<'static>> {
    let memory = JobContext::default().memory("texts");
    // A path lives as long as the program here, which ends soon.
    let path: &'static Path = Box::leak(path.to_path_buf().into_boxed_path());
    let options = match column {
        "text" => Options::default(),
        column => Options::default().with(COLUMN, column.to_string()),
    };
    Corpus::open(CorpusPlace::Files(path), &options, 500, memory, &mut || {
        Ok(())
    })
}

/// Every row: file, number, content.
fn all(path: &Path, column: &str) -> Vec<(String, u64, String)> {
    let mut corpus = open(path, column).unwrap();
    let mut rows = vec![];
    while let Some(batch) = corpus.next_batch().unwrap() {
        let file = batch.file.as_deref().unwrap().to_string();
        for row in 0..batch.contents.len() {
            let content = match &batch.contents {
                Contents::Texts(texts) => texts[row].clone(),
                Contents::Ids(ids) => format!("{:?}", ids[row]),
            };
            rows.push((file.clone(), batch.first + row as u64, content));
        }
    }
    rows
}

fn message(result: Result<Corpus<'_>>) -> String {
    match result {
        Ok(_) => "no error".to_string(),
        Err(e) => e.strip_backtrace(),
    }
}

fn parquet(path: &Path, texts: Vec<Option<&str>>) {
    let n = texts.len() as i64;
    let batch = RecordBatch::try_from_iter([
        (
            "n_tokens",
            Arc::new(Int64Array::from_iter_values(0..n)) as _,
        ),
        ("body", Arc::new(StringArray::from(texts)) as ArrayRef),
    ])
    .unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_text_file_is_one_row_and_its_hash_that_of_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::write(&path, "one\ntwo\n").unwrap();
    assert_eq!(
        open(&path, "text").unwrap().hash(),
        blake3::hash(b"one\ntwo\n").to_string()
    );
    assert_eq!(
        all(&path, "text"),
        [("a.txt".into(), 0, "one\ntwo\n".into())]
    );
}

#[test]
fn shards_are_read_one_after_the_other_with_the_columns_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write("b.jsonl", "{\"text\": \"3\", \"n\": 1, \"m\": 0.5}\n");
    write(
        "a.json",
        "[{\"text\": \"1\"}, {\"text\": \"2\", \"n\": 2.5}]",
    );
    let expected = [("a.json", 0, "1"), ("a.json", 1, "2"), ("b.jsonl", 0, "3")];
    let expected = expected.map(|(file, row, text)| (file.to_string(), row, text.to_string()));
    assert_eq!(all(folder.path(), "text"), expected);
    let mut corpus = open(folder.path(), "text").unwrap();
    let hash = |content: &[u8]| blake3::hash(content).to_string();
    let both = [
        fs::read(folder.path().join("a.json")).unwrap(),
        fs::read(folder.path().join("b.jsonl")).unwrap(),
    ];
    assert_eq!(
        corpus.hash(),
        hash((hash(&both[0]) + &hash(&both[1])).as_bytes())
    );
    let names: Vec<_> = corpus
        .fields
        .iter()
        .map(|f| (f.name().clone(), f.data_type().clone()))
        .collect();
    assert_eq!(
        names,
        [
            ("n".into(), DataType::Float64),
            ("m".into(), DataType::Float64)
        ]
    );
    let first = corpus.next_batch().unwrap().unwrap();
    assert_eq!(first.columns[1].null_count(), 2);
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn columns_of_several_files_must_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let text = || ("text", Arc::new(StringArray::from(vec!["a"])) as ArrayRef);
    let number = ("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef);
    write_parquet(
        &folder.path().join("a.parquet"),
        &batch(vec![text(), number]),
    );
    write_parquet(&folder.path().join("b.parquet"), &batch(vec![text()]));
    assert_eq!(all(folder.path(), "text").len(), 2);
    let word = ("x", Arc::new(StringArray::from(vec!["1"])) as ArrayRef);
    write_parquet(&folder.path().join("c.parquet"), &batch(vec![word, text()]));
    let error = message(open(folder.path(), "text"));
    assert!(
        error.ends_with("c.parquet requires Int64 in column 'x', as the files before, got Utf8"),
        "{error}"
    );
}

#[test]
fn arrow_is_read_as_file_and_as_stream_and_what_is_cut_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..700).map(|i| format!("text {i}")),
    ));
    let rows = batch(vec![("text", texts)]);
    let (mut file, mut stream) = (vec![], vec![]);
    let mut writer = FileWriter::try_new(&mut file, &rows.schema()).unwrap();
    writer
        .write(&rows)
        .and_then(|()| writer.write(&rows))
        .and_then(|()| writer.finish())
        .unwrap();
    drop(writer);
    let mut writer = StreamWriter::try_new(&mut stream, &rows.schema()).unwrap();
    writer
        .write(&rows)
        .and_then(|()| writer.write(&rows))
        .and_then(|()| writer.finish())
        .unwrap();
    drop(writer);
    for content in [&file, &stream] {
        fs::write(&path, content).unwrap();
        let read = all(&path, "text");
        assert_eq!(
            (read.len(), &*read[1399].2, read[1399].1),
            (1400, "text 699", 1399)
        );
        for cut in [0, 3, 20, content.len() / 2, content.len() - 9] {
            fs::write(&path, &content[..cut]).unwrap();
            let error = match open(&path, "text") {
                Ok(mut corpus) => loop {
                    match corpus.next_batch() {
                        Ok(Some(_)) => {}
                        Ok(None) => break String::new(),
                        Err(e) => break e.strip_backtrace(),
                    }
                },
                Err(e) => e.strip_backtrace(),
            };
            let whole = "a whole file or stream of Arrow IPC is required, got";
            // A stream may end without saying so.
            let ended = cut == content.len() - 9 && content == &stream;
            assert!(error.contains(whole) || ended, "{cut}: {error}");
        }
    }
}

#[test]
fn token_ids_are_lists_of_any_integers() {
    use datafusion::arrow::array::{FixedSizeListArray, LargeListArray, ListArray};
    use datafusion::arrow::datatypes::{Int32Type, UInt16Type};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let list = ListArray::from_iter_primitive::<UInt16Type, _, _>([
        Some(vec![Some(5), Some(65_535)]),
        Some(vec![]),
    ]);
    let large = LargeListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(5), Some(65_535)]),
        Some(vec![]),
    ]);
    for lists in [Arc::new(list) as ArrayRef, Arc::new(large)] {
        write_parquet(&path, &batch(vec![("input_ids", lists)]));
        let ids: Vec<_> = all(&path, "input_ids")
            .into_iter()
            .map(|row| row.2)
            .collect();
        assert_eq!(ids, ["[5, 65535]", "[]"]);
    }
    let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        [Some(vec![Some(1), Some(-2)])],
        2,
    );
    write_parquet(
        &path,
        &batch(vec![("input_ids", Arc::new(fixed) as ArrayRef)]),
    );
    assert_eq!(all(&path, "input_ids")[0].2, "[1, -2]");
    let holes =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(vec![None])]);
    write_parquet(
        &path,
        &batch(vec![("input_ids", Arc::new(holes) as ArrayRef)]),
    );
    let error = open(&path, "input_ids")
        .unwrap()
        .next_batch()
        .unwrap_err()
        .strip_backtrace();
    assert!(
        error.ends_with("requires token ids in column 'input_ids', got NULL in row 2"),
        "{error}"
    );
}

#[test]
fn columns_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let write = |names: [&str; 3]| {
        let fields = names.map(|name| Field::new(name, DataType::Utf8, false));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let column = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
        let columns = vec![column(), column(), column()];
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    for (names, part) in [
        (["text", "x", "x"], "different names, got 'x' twice"),
        (["text", "text", "x"], "one column 'text', got several"),
        (
            ["text", "doc_id", "corpus_doc_id"],
            "different names, got 'corpus_doc_id' twice",
        ),
    ] {
        write(names);
        let error = message(open(&path, "text"));
        assert!(
            error.contains(part) && error.contains("a.parquet"),
            "{error}"
        );
    }
}

#[test]
fn unknown_endings_and_missing_files_are_refused() {
    let unknown = message(open(Path::new("corpus.md"), "text"));
    assert!(
        unknown.contains("a corpus of .txt, .jsonl") && unknown.ends_with("got corpus.md"),
        "{unknown}"
    );
    let missing = message(open(Path::new("nowhere/corpus.txt"), "text"));
    assert!(missing.contains("open nowhere/corpus.txt"));
}

#[test]
fn parquet_gives_the_text_and_the_other_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let texts: Vec<String> = (0..300).map(|i| format!("text {i}")).collect();
    parquet(&path, texts.iter().map(|t| Some(t.as_str())).collect());
    let mut corpus = open(&path, "body").unwrap();
    assert_eq!(corpus.fields.len(), 1);
    assert_eq!(corpus.fields[0].name(), "corpus_n_tokens");
    assert_eq!(corpus.fields[0].data_type(), &DataType::Int64);
    let mut seen = 0;
    while let Some(batch) = corpus.next_batch().unwrap() {
        let Contents::Texts(read) = &batch.contents else {
            panic!("texts");
        };
        for (row, text) in read.iter().enumerate() {
            assert_eq!(*text, texts[seen]);
            let number = batch.columns[0].as_primitive::<Int64Type>().value(row);
            assert_eq!(number as usize, seen);
            seen += 1;
        }
    }
    assert_eq!(seen, 300);
}

#[test]
fn parquet_without_usable_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    parquet(&path, vec![Some("a"), None]);
    let missing = message(open(&path, "text"));
    assert!(missing.contains("the text column 'text', got the columns n_tokens, body"));
    let wrong = message(open(&path, "n_tokens"));
    assert!(
        wrong.contains("requires strings or lists of token ids in column 'n_tokens', got Int64")
    );
    let mut corpus = open(&path, "body").unwrap();
    let null = corpus.next_batch().unwrap_err().strip_backtrace();
    assert!(null.contains("requires text in column 'body', got NULL in row 2"));
}

#[test]
fn damaged_parquet_is_an_error_whatever_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    parquet(&path, vec![Some("the cat"), Some("a hat")]);
    let whole = fs::read(&path).unwrap();
    let mut undecoded = 0;
    // Its schema as Arrow has it stands in base64.
    for at in 4..whole.len() - 8 {
        for byte in [0, 0xff, b'A', b'/', whole[at] ^ 1] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            fs::write(&path, bytes).unwrap();
            let read = open(&path, "text").and_then(|mut corpus| {
                while corpus.next_batch()?.is_some() {}
                Ok(())
            });
            if let Err(error) = read {
                let said = error.strip_backtrace();
                undecoded += usize::from(said.contains("it cannot be decoded"));
            }
        }
    }
    assert!(undecoded > 0);
}
