//! Wrong input as a user meets it, in SQL: every refusal names the file, tensor, row or argument, and leaves the
//! store as it was. What a loader or reader refuses beyond this is in `models/bad_input.rs`, `ingest.rs`, `store.rs`.
//! Above 400 lines because the cases are one list.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Folder, TINY, gpt2};
use candle_core::{DType, Device, Tensor};
use datafusion::physical_plan::common::collect;
use polysema::session::{Session, SessionOptions};
use polysema::store::{FORMAT, Store};
use serde_json::json;
use tempfile::TempDir;

/// Letters are the tokens.
const TOKENS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];
const OPTIONS: &str = "{context: 16, activation_threshold: 0.5}";

/// A store with one run, `good`, and a folder for what is to be refused.
struct Desk {
    folder: TempDir,
    session: Session,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a writable folder");
        let options = SessionOptions {
            store: folder.path().join("store"),
            memory_limit: None,
        };
        let session = Session::open(options).await.expect("an empty store");
        let mut desk = Desk {
            folder,
            session,
            before: BTreeMap::new(),
        };
        desk.write_model("model", |_| ());
        desk.write("corpus.txt", b"ABCDEFGHABCDEFGH\n\nHGFEDCBA");
        desk.run(&desk.ingest("good", "model", "corpus.txt", OPTIONS))
            .await;
        desk.before = desk.runs();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("a writable folder");
    }

    fn write_model(&self, name: &str, change: impl FnOnce(&mut Folder)) {
        fs::create_dir_all(self.path(name)).expect("a writable folder");
        let mut folder = gpt2(&TINY);
        change(&mut folder);
        folder.write(&self.path(name));
        folder.write_tokenizer(&self.path(name), &TOKENS);
    }

    fn ingest(&self, run: &str, model: &str, corpus: &str, options: &str) -> String {
        let (model, corpus) = (self.path(model), self.path(corpus));
        format!(
            "SELECT * FROM ingest('{run}', '{}', '{}', {options})",
            model.display(),
            corpus.display()
        )
    }

    async fn result(&self, sql: &str) -> Result<usize, String> {
        let rows = async { collect(self.session.query(sql).await?).await };
        match rows.await {
            Ok(batches) => Ok(batches.iter().map(|batch| batch.num_rows()).sum()),
            Err(error) => Err(error.strip_backtrace()),
        }
    }

    /// Rows of a statement that is right.
    async fn run(&self, sql: &str) -> usize {
        let result = self.result(sql).await;
        result.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Every file of every run, visible or not.
    fn runs(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path("store/runs")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the store") {
                let path = entry.expect("the store").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = fs::read(&path).expect("the store");
                    files.insert(path, bytes);
                }
            }
        }
        files
    }

    async fn refuses(&self, sql: &str, parts: &[&str]) {
        let error = self.result(sql).await.expect_err(sql);
        for part in parts {
            assert!(error.contains(part), "{error:?} names {part:?}");
        }
        assert!(self.runs() == self.before, "{sql} changed the store");
    }

    /// Refuses to ingest, as a new run and in place of the one there is.
    async fn refuses_ingest(&self, model: &str, corpus: &str, options: &str, parts: &[&str]) {
        self.refuses(&self.ingest("bad", model, corpus, options), parts)
            .await;
        let replacing = options.replacen('{', "{replace: true, ", 1);
        self.refuses(&self.ingest("good", model, corpus, &replacing), parts)
            .await;
    }

    async fn refuses_model(&self, change: impl FnOnce(&mut Folder), parts: &[&str]) {
        self.write_model("changed", change);
        self.refuses_ingest("changed", "corpus.txt", OPTIONS, parts)
            .await;
    }

    async fn refuses_corpus(&self, name: &str, bytes: &[u8], parts: &[&str]) {
        self.write(name, bytes);
        let parts: Vec<&str> = parts.iter().copied().chain([name]).collect();
        self.refuses_ingest("model", name, OPTIONS, &parts).await;
    }
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F32, &Device::Cpu).expect("a shape")
}

#[tokio::test(flavor = "multi_thread")]
async fn models() {
    let desk = Desk::new().await;
    desk.refuses_ingest("nowhere", "corpus.txt", OPTIONS, &["nowhere/config.json"])
        .await;
    let weights = "changed/model.safetensors";
    desk.refuses_model(
        |folder| {
            folder.tensors.remove("h.1.mlp.c_fc.bias");
        },
        &[weights, "tensor h.1.mlp.c_fc.bias is required"],
    )
    .await;
    desk.refuses_model(
        |folder| {
            let turned = zeros(&[32, 8]);
            folder.tensors.insert("h.0.mlp.c_fc.weight".into(), turned);
        },
        &[
            weights,
            "h.0.mlp.c_fc.weight: shape [8, 32] is required, got [32, 8]",
        ],
    )
    .await;
    desk.refuses_model(
        |folder| {
            let nan = (zeros(&[8]) / 0.0).expect("a tensor");
            folder.tensors.insert("h.1.ln_2.weight".into(), nan);
        },
        &[
            weights,
            "h.1.ln_2.weight: finite values are required, got NaN at 0",
        ],
    )
    .await;
    desk.refuses_model(
        |folder| folder.config["model_type"] = json!("mamba"),
        &["changed/config.json", "got mamba"],
    )
    .await;
    desk.write_model("changed", |_| ());
    let bytes = fs::read(desk.path(weights)).expect("a model");
    desk.write(weights, &bytes[..bytes.len() / 2]);
    let whole = "a whole safetensors file is required";
    desk.refuses_ingest("changed", "corpus.txt", OPTIONS, &[weights, whole])
        .await;
    fs::remove_file(desk.path(weights)).expect("a model");
    let missing = "model.safetensors or model.safetensors.index.json or pytorch_model.bin";
    desk.refuses_ingest("changed", "corpus.txt", OPTIONS, &["changed", missing])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokenizers() {
    let desk = Desk::new().await;
    desk.write_model("changed", |_| ());
    let names: Vec<String> = (0..40_u8)
        .map(|i| char::from(b'A' + i).to_string())
        .collect();
    let many: Vec<&str> = names.iter().map(String::as_str).collect();
    gpt2(&TINY).write_tokenizer(&desk.path("changed"), &many);
    let mismatch = ["changed/tokenizer.json: vocabulary mismatch", "32", "40"];
    desk.refuses_ingest("changed", "corpus.txt", OPTIONS, &mismatch)
        .await;
    fs::remove_file(desk.path("changed/tokenizer.json")).expect("a model");
    let none = "a tokenizer is required, got no tokenizer.json in";
    desk.refuses_ingest("changed", "corpus.txt", OPTIONS, &[none, "changed"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn corpora() {
    let desk = Desk::new().await;
    let none = "a corpus with a document of at least min_tokens, 1, is required, got none in";
    desk.refuses_corpus("empty.txt", b"", &[none]).await;
    desk.refuses_corpus("empty.jsonl", b"", &["jsonl"]).await;
    desk.refuses_corpus(
        "a.md",
        b"ABC",
        &["a corpus of .txt, .jsonl, .ndjson, .json, .csv"],
    )
    .await;
    desk.refuses_corpus(
        "a.txt",
        b"ABC\xff",
        &["UTF-8 text is required", "at offset 3"],
    )
    .await;
    let rows = b"{\"text\": \"ABC\"}\n{\"text\": 7}\n";
    desk.refuses_corpus(
        "a.jsonl",
        rows,
        &["line 2: text in column 'text' is required, got"],
    )
    .await;
    let rows = b"{\"text\": \"ABC\"}\n{\"text\": null}\n";
    desk.refuses_corpus(
        "b.jsonl",
        rows,
        &["line 2: text in column 'text' is required, got"],
    )
    .await;
    let rows = b"{\"text\": \"ABC\"}\n{\"text\": \"\xff\"}\n";
    desk.refuses_corpus("c.jsonl", rows, &["line 2: UTF-8 text is required"])
        .await;
    for (name, rows, parts) in [
        ("numbers", "SELECT 7 AS text", ["text", "Int64"]),
        (
            "gap",
            "VALUES ('ABC'), (NULL)",
            ["got NULL in row 2", "column 'text'"],
        ),
    ] {
        let file = desk.path(&format!("{name}.parquet"));
        let table = format!("SELECT * FROM ({rows}) AS t(text)");
        desk.run(&format!("COPY ({table}) TO '{}'", file.display()))
            .await;
        let bytes = fs::read(&file).expect("a parquet file");
        desk.refuses_corpus(&format!("{name}.parquet"), &bytes, &parts)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_ingest() {
    let desk = Desk::new().await;
    for (options, part) in [
        (
            "{bos: false}",
            "context must be at most the model's 16 positions, got 128",
        ),
        (
            "{context: 17}",
            "context must be at most the model's 16 positions, got 17",
        ),
        (
            "{context: 0}",
            "context must be a whole number from 1 to 1048576, got 0",
        ),
        (
            "{activation_threshold: 0}",
            "activation_threshold must be a number in (0, 1], got 0",
        ),
        (
            "{activation_threshold: 1.01}",
            "activation_threshold must be a number in (0, 1], got 1.01",
        ),
        (
            "{activation_threshold: -0.5}",
            "activation_threshold must be a number in (0, 1], got -0.5",
        ),
        (
            "{activation_threshold: 'NaN'}",
            "activation_threshold must be a number in (0, 1], got 'NaN'",
        ),
        (
            "{max_examples: 0}",
            "max_examples must be a whole number from 1 to 2^31 - 1, got 0",
        ),
        (
            "{order: 'random'}",
            "order must be 'corpus' or 'top', got 'random'",
        ),
        ("{max_activations: 'nosuch'}", "nosuch"),
        ("{contxt: 16}", "contxt"),
    ] {
        desk.refuses_ingest("model", "corpus.txt", options, &["ingest: ", part])
            .await;
    }
    let again = desk.ingest("good", "model", "corpus.txt", OPTIONS);
    desk.refuses(
        &again,
        &["a new run name is required, got 'good'", "replace: true"],
    )
    .await;
    let outside = desk.ingest("../bad", "model", "corpus.txt", OPTIONS);
    desk.refuses(&outside, &["a run name of letters", "got '../bad'"])
        .await;
    desk.run("SET polysema.allow_jobs = false").await;
    let parts = ["polysema.allow_jobs must be true, got false"];
    desk.refuses_ingest("model", "corpus.txt", OPTIONS, &parts)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_of_functions() {
    let desk = Desk::new().await;
    assert!(desk.run("SELECT * FROM feature_clusters(1)").await > 0);
    let hint = "JOIN feature_clusters({kind: 'all'}) f USING (layer, neuron)";
    for (sql, parts) in [
        (
            "feature_clusters(2)",
            ["layer must be between 0 and 1, got 2", ""],
        ),
        (
            "feature_clusters(-1)",
            ["layer must be between 0 and 1, got -1", ""],
        ),
        (
            "feature_clusters('attention')",
            ["layer must be a number or one of", "'attention'"],
        ),
        (
            "feature_clusters(1, 32)",
            ["neuron of layer 1 must be between 0 and 31, got 32", ""],
        ),
        (
            "feature_clusters(0, 0, {threshold: 2.1})",
            ["threshold must be in [0, 2], got 2.1", ""],
        ),
        (
            "feature_clusters(0, 0, {threshold: -0.1})",
            ["threshold must be in [0, 2], got -0.1", ""],
        ),
        (
            "feature_clusters(0, 0, {linkage: 'word'})",
            ["linkage must be one of average", "'word'"],
        ),
        (
            "neurons n, feature_clusters(1, 0, threshold => n.neuron)",
            ["threshold must be a literal, got the column n.neuron", hint],
        ),
        (
            "layers l, feature_clusters(l.name)",
            ["layer must be a whole number, got the column l.name", ""],
        ),
        (
            "feature_clusters(threshold => (SELECT 1))",
            ["threshold must be a literal, got a subquery", hint],
        ),
        (
            "feature_clusters(1, $1)",
            [
                "neuron must have a value, got the parameter $1 without one",
                "",
            ],
        ),
    ] {
        let parts = [&parts[..], &["feature_clusters: "]].concat();
        desk.refuses(&format!("SELECT * FROM {sql}"), &parts).await;
    }
    let literal = "ingest: model must be a literal, got the column documents.text";
    desk.refuses(
        "SELECT * FROM documents, ingest('bad', documents.text, 'x')",
        &[literal],
    )
    .await;
    for (setting, part) in [
        ("threshold = 2.5", "threshold must be in [0, 2], got 2.5"),
        ("threshold = -1", "threshold must be in [0, 2], got -1"),
        ("linkage = 'word'", "linkage must be one of average"),
        (
            "run = 'nosuch'",
            "polysema.run must be one of good, got 'nosuch'",
        ),
    ] {
        desk.refuses(&format!("SET polysema.{setting}"), &["SET: ", part])
            .await;
    }
    // A refused value was not set.
    assert!(desk.run("SELECT * FROM feature_clusters(1)").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs() {
    let mut desk = Desk::new().await;
    let unknown = ["session: a run of", "is required, got 'nosuch'; runs: good"];
    desk.refuses("SELECT * FROM polysema.nosuch.examples", &unknown)
        .await;
    desk.refuses("SELECT * FROM nosuch.examples", &unknown)
        .await;
    let table = "session: a table of good is required, got 'exmples' (is 'examples' meant?); tables: layers, neurons";
    desk.refuses("SELECT * FROM exmples", &[table]).await;

    desk.run(&desk.ingest("other", "model", "corpus.txt", OPTIONS))
        .await;
    desk.before = desk.runs();
    let select = "got none of good, other: choose one with SET polysema.run = 'good'";
    let name = "or name it as in good.examples";
    desk.refuses(
        "SELECT * FROM examples",
        &["session: table examples", select, name],
    )
    .await;
    let select = "choose one with SET polysema.run = 'good'; runs: good, other";
    desk.refuses(
        "SELECT * FROM feature_clusters()",
        &["feature_clusters: a table", select],
    )
    .await;
    let named = desk.run("SELECT * FROM other.examples").await;
    desk.run("SET polysema.run = 'other'").await;
    assert_eq!(desk.run("SELECT * FROM examples").await, named);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store() {
    let folder = tempfile::tempdir().expect("a writable folder");
    let store = folder.path().join("none");
    let options = SessionOptions {
        store: store.clone(),
        memory_limit: None,
    };
    let session = Session::open(options).await.expect("an empty store");
    let error = session.query("SELECT * FROM examples").await.err();
    let error = error.expect("no run").strip_backtrace();
    assert!(
        error.contains("session: table examples requires a run, got none in"),
        "{error}"
    );
    assert!(!store.exists(), "looking makes no folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_another_version() {
    let mut desk = Desk::new().await;
    desk.run(&desk.ingest("other", "model", "corpus.txt", OPTIONS))
        .await;
    let manifest = desk.path("store/runs/other/manifest.json");
    let text = fs::read(&manifest).expect("a manifest");
    let mut text: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(text["format"], FORMAT);
    text["format"] = 9.into();
    // Nobody knows how another version seals it.
    text.as_object_mut().expect("an object").remove("checked");
    text.as_object_mut().expect("an object").remove("checksum");
    fs::write(&manifest, text.to_string()).expect("a writable store");
    desk.before = desk.runs();
    let version = &*format!(
        "run 'other' needs store version {FORMAT}, got version 9: ingest it again with replace: true"
    );
    desk.refuses("SELECT * FROM other.examples", &[version])
        .await;
    desk.run("SET polysema.run = 'other'").await;
    desk.refuses("SELECT * FROM examples", &[version]).await;
    desk.refuses("SELECT * FROM feature_clusters()", &[version])
        .await;
    assert!(desk.run("SELECT * FROM good.examples").await > 0);
    let again = OPTIONS.replacen('{', "{replace: true, ", 1);
    desk.run(&desk.ingest("other", "model", "corpus.txt", &again))
        .await;
    assert!(desk.run("SELECT * FROM other.examples").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_process_writes() {
    let desk = Desk::new().await;
    let root: &Path = &desk.path("store");
    // The lock belongs to the open file, so a second handle is as good as a second process.
    let locks = ["bad", "good"].map(|run| {
        let path = root.join(format!("locks/run-{run}"));
        let lock = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let lock = lock.expect("the run's lock");
        lock.lock().expect("a free lock");
        lock
    });
    let parts = [
        "a run that nobody writes is required",
        "store, which another writer holds",
    ];
    desk.refuses_ingest("model", "corpus.txt", OPTIONS, &parts)
        .await;
    assert!(desk.run("SELECT * FROM examples").await > 0);
    drop(locks);

    // A run that is being written keeps nobody from another.
    let writer = Store::open(root).expect("a store").begin("half", false);
    let sql = desk.ingest("half", "model", "corpus.txt", OPTIONS);
    let error = desk.result(&sql).await.expect_err("a held run");
    assert!(error.contains(parts[0]), "{error}");
    desk.run(&desk.ingest("bad", "model", "corpus.txt", OPTIONS))
        .await;
    drop(writer);
    assert_eq!(desk.run("SELECT run FROM info.runs").await, 2);
}

/// A pipe would be waited for, a device has no end: neither is opened, whatever asks for it.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file() {
    use std::os::unix::fs::symlink;
    let desk = Desk::new().await;
    let got = "a file is required, got a device or pipe";
    let pipe = |name: &str| {
        let _ = fs::remove_file(desk.path(name));
        let made = rustix::fs::mkfifoat(rustix::fs::CWD, desk.path(name), 0o600.into());
        made.expect("a pipe");
    };
    for name in ["p.txt", "p.jsonl", "p.parquet"] {
        pipe(name);
        desk.refuses_ingest("model", name, OPTIONS, &[name, got])
            .await;
    }
    symlink("/dev/zero", desk.path("zero.txt")).expect("a link");
    desk.refuses_ingest("model", "zero.txt", OPTIONS, &["zero.txt", got])
        .await;
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        desk.write_model("changed", |_| ());
        pipe(&format!("changed/{name}"));
        desk.refuses_ingest("changed", "corpus.txt", OPTIONS, &[name, got])
            .await;
        fs::remove_file(desk.path(&format!("changed/{name}"))).expect("a pipe");
        fs::create_dir(desk.path(&format!("changed/{name}"))).expect("a folder");
        let folder = "a file is required, got a folder";
        desk.refuses_ingest("changed", "corpus.txt", OPTIONS, &[name, folder])
            .await;
        fs::remove_dir_all(desk.path("changed")).expect("a model");
    }
    desk.write("large.txt", b"A");
    let large = fs::OpenOptions::new()
        .write(true)
        .open(desk.path("large.txt"));
    large
        .and_then(|file| file.set_len(10 << 30))
        .expect("a file of holes");
    symlink(desk.path("corpus.txt"), desk.path("link.txt")).expect("a link");
    desk.run(&desk.ingest("linked", "model", "link.txt", OPTIONS))
        .await;
}

/// A corpus is what is in it, not what it is called.
#[tokio::test(flavor = "multi_thread")]
async fn texts_called_idx() {
    let desk = Desk::new().await;
    desk.write("wiki-idx.txt", b"ABCDEFGH");
    desk.write("texts_idx.jsonl", b"{\"text\": \"ABCDEFGH\"}\n");
    for (run, name) in [("a", "wiki-idx.txt"), ("b", "texts_idx.jsonl")] {
        desk.run(&desk.ingest(run, "model", name, OPTIONS)).await;
    }
    fs::create_dir(desk.path("texts_idx")).expect("a folder");
    desk.write("texts_idx/a-idx.txt", b"ABC");
    desk.run(&desk.ingest("c", "model", "texts_idx", OPTIONS))
        .await;
}
