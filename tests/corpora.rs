//! A corpus in every form that researchers have it in, through the demo's model: the same documents whatever the form,
//! where each is from, and what is refused. Above 400 lines, a kind of corpus after the other.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::database::{Db, root};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Rows of the demo's corpus.
const ROWS: usize = 12;
/// What is kept of a run to compare: the tokens of every document, and two of its columns.
const TOKENS: &str = "SELECT doc_id, pos, token_id, token FROM tokens ORDER BY doc_id, pos";
const DOCUMENTS: &str =
    "SELECT doc_id, text, n_tokens, source_row, chunk, word FROM documents ORDER BY doc_id";

struct Desk {
    db: Db,
}

impl Desk {
    /// A store with the run `jsonl` of the first rows of the demo's corpus, which lie beside it in a file.
    async fn new() -> Self {
        let desk = Self {
            db: Db::new().await,
        };
        desk.write("rows.jsonl", lines().as_bytes());
        desk.ingest("jsonl", "'rows.jsonl'", "context: 32").await;
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.db.folder().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(path, content).expect("a writable folder");
    }

    /// The statement over a corpus: what is in quotes is a path in the folder.
    fn statement(&self, run: &str, model: &str, corpus: &str, options: &str) -> String {
        let corpus = match corpus.strip_prefix('\'') {
            Some(path) => format!("'{}/{path}", self.db.folder().display()),
            None => corpus.to_string(),
        };
        format!(
            "SELECT * FROM ingest('{run}', '{model}', {corpus}, {{max_examples: 1, {options}}})"
        )
    }

    async fn ingest(&self, run: &str, corpus: &str, options: &str) {
        let model = root("tests/data/demo/model");
        let sql = self.statement(run, &model.display().to_string(), corpus, options);
        self.db.query(&sql).await;
    }

    async fn refuses(&self, corpus: &str, options: &str, part: &str) {
        let model = root("tests/data/demo/model");
        let sql = self.statement("refused", &model.display().to_string(), corpus, options);
        let message = self.db.refused(&sql).await;
        assert!(message.contains(part), "{sql}\n{message}");
    }

    async fn of(&self, run: &str, sql: &str) -> String {
        self.db.query(&format!("SET polysema.run = '{run}'")).await;
        self.db.text(sql).await
    }

    /// Both runs have the same documents.
    async fn same(&self, a: &str, b: &str) {
        for sql in [TOKENS, DOCUMENTS] {
            assert!(
                self.of(a, sql).await == self.of(b, sql).await,
                "{a} and {b}: {sql}"
            );
        }
    }
}

fn lines() -> String {
    let all = fs::read_to_string(root("tests/data/demo/corpus.jsonl")).expect("the demo's corpus");
    let lines = all.lines().take(ROWS).map(|line| format!("{line}\n"));
    lines.collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_has_the_same_documents() {
    let desk = Desk::new().await;
    let lines = lines();
    let array = format!("[{}]", lines.trim_end().replace('\n', ",\n"));
    desk.write("a.json", array.as_bytes());
    desk.write("b.ndjson", lines.as_bytes());
    desk.write("c.jsonl.gz", &gzip(lines.as_bytes()));
    // As downloads are that were not unpacked, though their names say so.
    desk.write("d.jsonl", &gzip(lines.as_bytes()));
    desk.write(
        "e.json.zst",
        &zstd::encode_all(array.as_bytes(), 3).expect("memory"),
    );
    let rows = desk.path("rows.jsonl");
    for form in ["f.parquet", "g.csv", "h.arrow"] {
        let to = desk.path(form);
        desk.db
            .query(&format!(
                "COPY (SELECT * FROM '{}') TO '{}'",
                rows.display(),
                to.display()
            ))
            .await;
    }
    let packed = gzip(&fs::read(desk.path("g.csv")).expect("a file"));
    desk.write("i.csv.gz", &packed);
    let forms = [
        "a.json",
        "b.ndjson",
        "c.jsonl.gz",
        "d.jsonl",
        "e.json.zst",
        "f.parquet",
        "g.csv",
        "h.arrow",
        "i.csv.gz",
    ];
    for form in forms {
        desk.ingest("other", &format!("'{form}'"), "context: 32, replace: true")
            .await;
        desk.same("jsonl", "other").await;
        let file = desk
            .of("other", "SELECT DISTINCT source_file FROM documents")
            .await;
        assert!(file.contains(form), "{file}");
    }
    // Rows of a table and of a query, by position and by name.
    desk.db
        .query(&format!(
            "CREATE TABLE rows AS SELECT * FROM '{}'",
            rows.display()
        ))
        .await;
    let query = format!("(SELECT word, text FROM '{}')", rows.display());
    let model = root("tests/data/demo/model").display().to_string();
    for rows in ["'rows'", "public.rows", &query] {
        for name in ["", "corpus => "] {
            let options = if name.is_empty() {
                "{context: 32, replace: true}"
            } else {
                "context => 32, replace => true"
            };
            let sql = format!("SELECT * FROM ingest('other', '{model}', {name}{rows}, {options})");
            desk.db.query(&sql).await;
            desk.same("jsonl", "other").await;
            let files = desk
                .of("other", "SELECT count(source_file) AS n FROM documents")
                .await;
            assert!(files.contains("| 0 |"), "{files}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_come_in_the_order_of_their_names() {
    let desk = Desk::new().await;
    let lines = lines();
    let at = lines.match_indices('\n').nth(4).expect("rows").0 + 1;
    desk.write("shards/b-1.jsonl", &lines.as_bytes()[at..]);
    desk.write("shards/a-2.jsonl.gz", &gzip(&lines.as_bytes()[..at]));
    desk.write("shards/.hidden.txt", b"nothing");
    for (corpus, prefix) in [("'shards'", ""), ("'sh*/*'", "shards/")] {
        desk.ingest("other", corpus, "context: 32, replace: true")
            .await;
        let tokens = desk.of("other", TOKENS).await;
        assert!(tokens == desk.of("jsonl", TOKENS).await);
        let origins = "SELECT source_file, min(source_row) AS a, max(source_row) AS b, count(DISTINCT source_row) AS n \
                       FROM documents GROUP BY source_file ORDER BY min(doc_id)";
        let origins = desk.of("other", origins).await;
        let expected = |file: &str, rows: &str| {
            let line = origins
                .lines()
                .find(|line| line.contains(&format!("{prefix}{file} ")));
            assert!(line.is_some_and(|line| line.contains(rows)), "{origins}");
        };
        expected("a-2.jsonl.gz", "| 0 | 4 | 5 |");
        expected("b-1.jsonl", "| 0 | 6 | 7 |");
    }
    // The chunks of a row are numbered, and their texts one after the other are the row's.
    let chunks = "SELECT count(*) AS n FROM (SELECT min(chunk) AS a, max(chunk) + 1 AS b, count(*) AS n FROM documents \
                  GROUP BY source_file, source_row) WHERE a <> 0 OR b <> n";
    assert!(desk.of("other", chunks).await.contains("| 0 |"));
    desk.write("shards/c.txt", b"text");
    desk.refuses(
        "'shards'",
        "context: 32",
        "files of one kind are required in",
    )
    .await;
    fs::create_dir(desk.path("empty")).expect("a folder");
    desk.refuses("'empty'", "context: 32", "are required, got none in")
        .await;
    desk.refuses(
        "'nothing/*.txt'",
        "context: 32",
        "are required, got none in",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_ids_are_taken_as_they_are() {
    let desk = Desk::new().await;
    let ids = "SELECT array_agg(token_id ORDER BY doc_id, pos) AS tokens, source_row AS n FROM jsonl.tokens JOIN jsonl.documents \
               USING (doc_id) GROUP BY source_row ORDER BY source_row";
    for form in ["ids.parquet", "ids.json", "ids.arrow"] {
        let to = desk.path(form);
        desk.db
            .query(&format!("COPY ({ids}) TO '{}'", to.display()))
            .await;
        let options = "context: 32, column: 'tokens', replace: true";
        desk.ingest("other", &format!("'{form}'"), options).await;
        assert!(
            desk.of("other", TOKENS).await == desk.of("jsonl", TOKENS).await,
            "{form}"
        );
        let texts = "SELECT doc_id, text, chunk FROM documents ORDER BY doc_id";
        assert!(
            desk.of("other", texts).await == desk.of("jsonl", texts).await,
            "{form}"
        );
    }
    // A model without a tokenizer reads them too, and has no words to show.
    let bare = desk.path("model");
    fs::create_dir(&bare).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(root("tests/data/demo/model").join(file), bare.join(file)).expect("a copy");
    }
    let bare = bare.display().to_string();
    let sql = desk.statement(
        "bare",
        &bare,
        "'ids.parquet'",
        "context: 32, column: 'tokens'",
    );
    desk.db.query(&sql).await;
    let numbers = "SELECT doc_id, pos, token_id FROM tokens ORDER BY doc_id, pos";
    assert!(desk.of("bare", numbers).await == desk.of("jsonl", numbers).await);
    let words = "SELECT count(text) + (SELECT count(token) FROM tokens) + (SELECT count(token) FROM examples) AS n FROM documents";
    assert!(desk.of("bare", words).await.contains("| 0 |"));
    let sql = desk.statement("refused", &bare, "'rows.jsonl'", "context: 32");
    assert!(
        desk.db
            .refused(&sql)
            .await
            .contains("a tokenizer is required, got no tokenizer.json in")
    );
    // The second of the third document, whose number is 4096 and no token of the model's.
    desk.write("bad.jsonl", b"{\"t\": [1, 2, 3]}\n{\"t\": [4, 4096]}\n");
    desk.refuses(
        "'bad.jsonl'",
        "context: 2, column: 't'",
        "token ids below the model's 4096 are required, got 4096 in document 2 position 1 (row 1 of bad.jsonl)",
    )
    .await;
    desk.write("bad.jsonl", b"{\"t\": [1, -100]}\n");
    desk.refuses(
        "'bad.jsonl'",
        "context: 2, column: 't'",
        "got -100 in document 0 position 1 (row 0",
    )
    .await;
    desk.refuses(
        "'rows.jsonl'",
        "context: 32, column: 'tokens'",
        "the text column 'tokens' is required",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_in_memory_order_are_one_row() {
    let desk = Desk::new().await;
    let ids: Vec<u16> = (0..70).map(|i| (i * 37) % 4096).collect();
    let narrow: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let wide: Vec<u8> = ids
        .iter()
        .flat_map(|id| u32::from(*id).to_le_bytes())
        .collect();
    desk.write("train.bin", &narrow);
    desk.write("wide.bin", &wide);
    for (file, options) in [
        ("train.bin", ""),
        ("train.bin", ", dtype: 'uint16'"),
        ("wide.bin", ", dtype: 'uint32'"),
    ] {
        desk.ingest(
            "bin",
            &format!("'{file}'"),
            &format!("context: 32, replace: true{options}"),
        )
        .await;
        let read = desk
            .db
            .numbers("SELECT token_id FROM bin.tokens ORDER BY doc_id, pos")
            .await
            .concat();
        assert!(read.iter().map(|id| *id as u16).eq(ids.iter().copied()));
        let documents = "SELECT n_tokens, source_row, chunk FROM bin.documents ORDER BY doc_id";
        let documents = desk.db.numbers(documents).await;
        assert_eq!(
            documents,
            [[32.0, 0.0, 0.0], [32.0, 0.0, 1.0], [6.0, 0.0, 2.0]]
        );
    }
    desk.refuses("'wide.bin'", "context: 32", "requires the option dtype")
        .await;
    desk.refuses(
        "'train.bin'",
        "column: 'text'",
        "column must come with a corpus of rows",
    )
    .await;
    desk.refuses(
        "'rows.jsonl'",
        "dtype: 'uint16'",
        "dtype must come with a corpus of .bin, got",
    )
    .await;
    desk.refuses(
        "(SELECT 'a' AS text)",
        "dtype: 'uint16'",
        "dtype must come with a corpus of .bin, got (SELECT",
    )
    .await;
}

/// A first token that ids begin with already is not put before them again.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_token_is_there_once() {
    let desk = Desk::new().await;
    // The demo's first token is 0.
    desk.write(
        "ids.jsonl",
        b"{\"t\": [0, 5, 6, 0, 7]}\n{\"t\": [8, 9, 10, 11]}\n",
    );
    desk.ingest("ids", "'ids.jsonl'", "column: 't', context: 3, bos: true")
        .await;
    let sql = "SELECT string_agg(token_id::text, ' ' ORDER BY pos) AS ids FROM ids.tokens GROUP BY doc_id ORDER BY doc_id";
    let documents = desk.db.text(sql).await;
    for ids in ["| 0 5 6  |", "| 0 7    |", "| 0 8 9  |", "| 0 10 11 |"] {
        let ids = ids.trim_matches(['|', ' ']);
        assert!(documents.contains(&format!("| {ids}")), "{documents}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corpus_ends_before_it_has_too_many_tokens() {
    let desk = Desk::new().await;
    desk.write(
        "ids.jsonl",
        b"{\"t\": [1, 2, 3]}\n{\"t\": [1, 2, 3, 4]}\n{\"t\": [5]}\n{\"t\": [6]}\n",
    );
    for (most, kept) in [(3, 1), (6, 1), (7, 2), (8, 3), (9, 4), (1000, 4)] {
        let options = format!("column: 't', max_tokens: {most}, replace: true");
        desk.ingest("few", "'ids.jsonl'", &options).await;
        let sql = "SELECT count(*) AS x FROM few.documents";
        assert_eq!(desk.db.integer(sql).await, kept, "{most}");
        let both = format!("{options}, max_documents: 2");
        desk.ingest("few", "'ids.jsonl'", &both).await;
        assert_eq!(desk.db.integer(sql).await, kept.min(2), "{most}");
    }
    desk.refuses(
        "'ids.jsonl'",
        "column: 't', max_tokens: 2",
        "a document of at least min_tokens, 1, and at most max_tokens, 2, is required, got none in",
    )
    .await;
}

/// The order is that of `tests/reference/shuffle.py` for twelve documents and the seed 7.
#[tokio::test(flavor = "multi_thread")]
async fn a_seed_orders_the_documents() {
    const ORDER: [f64; 12] = [8., 7., 11., 10., 6., 2., 1., 3., 5., 9., 0., 4.];
    let desk = Desk::new().await;
    let rows: String = (0..12)
        .map(|i| format!("{{\"t\": [{i}, {}], \"n\": {i}}}\n", i + 100))
        .collect();
    desk.write("ids.jsonl", rows.as_bytes());
    desk.ingest("mixed", "'ids.jsonl'", "column: 't', shuffle: 7")
        .await;
    let documents = "SELECT source_row FROM mixed.documents ORDER BY doc_id";
    assert_eq!(desk.db.numbers(documents).await.concat(), ORDER);
    // The texts, the tokens and the corpus's own columns go with them.
    let same = "SELECT count(*) AS x FROM mixed.documents d JOIN mixed.tokens t USING (doc_id) \
                WHERE n = source_row AND token_id = n + 100 * pos";
    assert_eq!(desk.db.integer(same).await, 24);
    let ids = "SELECT min(doc_id) * 100 + max(doc_id) AS x FROM mixed.documents";
    assert_eq!(desk.db.integer(ids).await, 11);
    // The first of that order are kept.
    for limit in ["max_documents: 5", "max_tokens: 11"] {
        desk.ingest(
            "first",
            "'ids.jsonl'",
            &format!("column: 't', shuffle: 7, {limit}, replace: true"),
        )
        .await;
        let documents = "SELECT source_row FROM first.documents ORDER BY doc_id";
        assert_eq!(
            desk.db.numbers(documents).await.concat(),
            ORDER[..5],
            "{limit}"
        );
    }
    // Without a run, too: the vectors are those of the same documents.
    let model = root("tests/data/demo/model");
    let corpus = desk.path("ids.jsonl");
    let vectors = format!(
        "SELECT doc_id, pos, vector_norm(vector) AS v FROM activations('{}', '{}', 'blocks.0.mlp.out', {{column: 't'",
        model.display(),
        corpus.display()
    );
    let mixed = desk
        .db
        .numbers(&format!("{vectors}, shuffle: 7}}) ORDER BY doc_id, pos"))
        .await;
    let plain = desk
        .db
        .numbers(&format!("{vectors}}}) ORDER BY doc_id, pos"))
        .await;
    for (doc_id, row) in ORDER.iter().enumerate() {
        for pos in 0..2 {
            let (a, b) = (
                mixed[2 * doc_id + pos][2],
                plain[2 * *row as usize + pos][2],
            );
            assert!((a - b).abs() <= 1e-5 * b, "document {doc_id}");
        }
    }
}

/// A long text is read in pieces, and has the tokens of the whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_one_row() {
    let desk = Desk::new().await;
    let texts = "SELECT string_agg(text, ' ' ORDER BY doc_id) FROM jsonl.documents";
    let rows = desk.db.query(texts).await;
    let text = datafusion::arrow::util::display::array_value_to_string(rows[0].column(0), 0)
        .expect("a text");
    let long = format!("{text} ").repeat(1 + (3 << 19) / text.len());
    desk.write("long.txt.gz", &gzip(long.as_bytes()));
    let loaded = polysema::models::load(&root("tests/data/demo/model")).expect("the demo's model");
    let tokenizer = loaded.tokenizer.expect("its tokenizer");
    let expected = tokenizer.encode(&long).expect("ids");
    let options = "context: 128, min_tokens: 128";
    let model = root("tests/data/demo/model");
    let corpus = desk.path("long.txt.gz");
    let sql = format!(
        "SELECT count(*) AS x FROM activations('{}', '{}', 'blocks.0.resid.pre', {{{options}}})",
        model.display(),
        corpus.display()
    );
    let whole = expected.len() / 128 * 128;
    assert_eq!(desk.db.integer(&sql).await, whole as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_named() {
    let desk = Desk::new().await;
    let packed = gzip(lines().as_bytes());
    let zst = zstd::encode_all(lines().as_bytes(), 3).expect("memory");
    for (name, content, part) in [
        (
            "a.jsonl.gz",
            &packed[..packed.len() / 2],
            "a whole gzip file is required, got one that is cut or damaged",
        ),
        (
            "a.jsonl.zst",
            &zst[..zst.len() / 2],
            "a whole zstd file is required, got one that is cut or damaged",
        ),
        (
            "b.jsonl.zst",
            b"\x28\xb5\x2f\xfd",
            "a whole zstd file is required, got one that is cut or damaged",
        ),
        (
            "a.txt",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "got a Git LFS pointer",
        ),
        (
            "a.json",
            b"{\"data\": [\n{\"text\": \"a\"}]}",
            "line 1: a JSON object is required",
        ),
        (
            "a.csv",
            b"text,text\na,b\n",
            "requires columns of different names, got 'text' twice",
        ),
        ("a.xlsx", b"", "a corpus of .txt, .jsonl"),
    ] {
        desk.write(name, content);
        desk.refuses(&format!("'{name}'"), "context: 32", part)
            .await;
    }
    desk.refuses(
        "(SELECT 1 AS text)",
        "context: 32",
        "requires strings or lists of token ids in column 'text', got Int64",
    )
    .await;
    desk.refuses(
        "(SELECT 'a' AS body)",
        "context: 32",
        "requires the text column 'text', got the columns body",
    )
    .await;
    desk.refuses(
        "(SELECT NULL::text AS text)",
        "context: 32",
        "requires text in column 'text', got NULL in row 1",
    )
    .await;
    desk.refuses(
        "'rows.jsonl'",
        "split: 'train'",
        "split must come with images, got the texts of",
    )
    .await;
    let model = desk.path("lfs");
    fs::create_dir(&model).expect("a folder");
    for file in ["config.json", "tokenizer.json"] {
        fs::copy(root("tests/data/demo/model").join(file), model.join(file)).expect("a copy");
    }
    desk.write(
        "lfs/model.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    );
    let sql = desk.statement(
        "refused",
        &model.display().to_string(),
        "'rows.jsonl'",
        "context: 32",
    );
    let message = desk.db.refused(&sql).await;
    assert!(
        message.contains("model.safetensors") && message.contains("got a Git LFS pointer"),
        "{message}"
    );
}

/// Rows may have changed or gone, the run has their tokens: what reads a layer's corpus again reads these.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_rows_is_read_again() {
    let desk = Desk::new().await;
    let rows = format!("(SELECT text FROM '{}')", desk.path("rows.jsonl").display());
    desk.ingest("of_rows", &rows, "context: 32").await;
    fs::remove_file(desk.path("rows.jsonl")).expect("a file");
    let train = "SELECT rows_seen AS n, round(loss, 4) AS loss, round(l0, 2) AS l0 FROM train_sae('sae', 2, {d_sae: 32, \
                 batch_size: 64}) WHERE phase = 'done'";
    let of_rows = desk.of("of_rows", train).await;
    desk.write("rows.jsonl", lines().as_bytes());
    let train = train.replace("'sae'", "'other'");
    assert_eq!(of_rows, desk.of("jsonl", &train).await);
    let metrics = |sae| {
        format!(
            "SELECT round(value, 4) AS v FROM sae_metrics('{sae}', {{max_documents: 3}}) WHERE metric IN ('l0', 'mse')"
        )
    };
    let of_rows = desk.of("of_rows", &metrics("sae")).await;
    assert_eq!(of_rows, desk.of("jsonl", &metrics("other")).await);
}

/// Maxima beside a corpus of rows: two relations of one call.
#[tokio::test(flavor = "multi_thread")]
async fn maxima_go_with_rows() {
    let desk = Desk::new().await;
    let sql = format!(
        "SELECT * FROM ingest('other', '{}', (SELECT text FROM '{}'), context => 32, max_examples => 1, \
         max_activations => (SELECT layer, neuron, max_activation FROM jsonl.neurons))",
        root("tests/data/demo/model").display(),
        desk.path("rows.jsonl").display()
    );
    desk.db.query(&sql).await;
    let examples =
        "SELECT layer, neuron, doc_id, pos FROM examples ORDER BY layer, neuron, example";
    assert!(desk.of("other", examples).await == desk.of("jsonl", examples).await);
}
