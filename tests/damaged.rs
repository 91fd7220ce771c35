//! Damage to what a store keeps: bits turned, files cut and extended at seeded places of every kind of file. `check` names the
//! file, and a question is answered as before or with an error that names it. Over 400 lines: one store with all that is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::runs::{INGEST, IngestRequest, ingest};
use polysema::store::{CheckedThing, PartRows, Store};
use polysema_kernels::random::Random;

use crate::database::Db;
use crate::fixture;

/// Damages to each kind of file.
const EACH: usize = 9;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn check(store: &Path) -> Result<Vec<CheckedThing>> {
    Store::open(store)?.check(&[], &|_| Ok(()))
}

/// Every file below a folder that is kept: what says who works now is none.
fn kept_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.is_dir() && name != "locks" {
            found.extend(kept_files(&path));
        } else if path.is_file() && !matches!(ending, Some("lock" | "alive")) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A sealed text with something in the place of something else, as who writes no seals writes it.
pub fn unsealed(path: &Path, change: impl FnOnce(&mut serde_json::Value)) -> Result<()> {
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(path)?).expect("JSON");
    let members = text.as_object_mut().expect("an object");
    assert!(members.remove("checked").is_some() && members.remove("checksum").is_some());
    change(&mut text);
    Ok(fs::write(path, text.to_string())?)
}

/// What a file is, however it is numbered.
fn kind(store: &Path, file: &Path) -> String {
    let within = file.strip_prefix(store).expect("below the store");
    let parts = within.iter().map(|part| part.to_string_lossy());
    let parts = parts.filter(|part| !part.starts_with("gen-"));
    let letters = |part: std::borrow::Cow<str>| {
        let name = match part.starts_with("cached-") {
            true => "cached".into(),
            false => part,
        };
        name.chars().filter(|c| !c.is_ascii_digit()).collect()
    };
    match within.starts_with("jobs") {
        true => "jobs".to_string(),
        false => parts.map(letters).collect::<Vec<String>>().join("/"),
    }
}

/// An ingest of the demo that keeps checkpoints, cancelled after its first.
fn interrupted_ingest(store: &Path) {
    let options = [
        ("max_documents", "100"),
        ("batch_size", "2"),
        ("checkpoint_every", "0.000001"),
    ];
    let request = IngestRequest {
        run: "half".to_string(),
        model: data("demo/model"),
        corpus: data("demo/corpus.jsonl"),
        options: Options::of_words(&INGEST, options).expect("options"),
        max_activations: None,
    };
    let (store, context) = (Store::open(store).expect("a store"), JobContext::default());
    let pointer = store.root().join("ingests/half/checkpoint.json");
    let ended = ingest(&store, &request, &context, &mut |_| {
        if pointer.exists() {
            context.cancel();
        }
    });
    assert!(ended.is_err() && pointer.exists());
}

/// A store with something of all that a store keeps.
async fn filled(root: &Path) {
    let db = Db::open(root).await;
    let (model, corpus) = (data("demo/model"), data("demo/corpus.jsonl"));
    db.query(&format!(
        "CALL ingest('demo', '{}', '{}', {{max_documents: 40, max_examples: 20}})",
        model.display(),
        corpus.display()
    ))
    .await;
    let training = "(SELECT pre_mlp FROM demo.examples WHERE layer = 0)";
    db.query(&format!(
        "CALL train_sae('s', {training}, {{d_sae: 8, epochs: 1}})"
    ))
    .await;
    // Left by its reader, a training keeps its checkpoint.
    let long = "{d_sae: 8, epochs: 100000, warmup: 0, checkpoint_every: 20}";
    let left = db
        .try_query(&format!(
            "SELECT step FROM train_sae('half', {training}, {long}) LIMIT 1"
        ))
        .await;
    let pointer = root.join("training/half/checkpoint.json");
    assert!(pointer.exists(), "{left:?}");
    db.query(&format!(
        "CALL train_mlp('digits', '{}', {{hidden: [4], epochs: 1, batch_size: 8}})",
        data("mnist-tiny").display()
    ))
    .await;
    db.query("CREATE TABLE notes.t AS SELECT v AS n, 'label ' || v AS label FROM generate_series(1, 5000) t(v)").await;
    db.query("SELECT * FROM demo.similar_features(0, 0, 0)")
        .await;
    interrupted_ingest(root);
}

/// Questions that between them read every kind of file but checkpoints.
fn questions() -> Vec<String> {
    let images = data("mnist-tiny").display().to_string();
    let texts = [
        "SELECT * FROM demo.layers",
        "SELECT sum(vector_norm(w_in)), sum(vector_norm(w_out)), sum(max_activation), max(n_examples) FROM demo.neurons",
        "SELECT layer, sum(activation), max(token), max(window_tokens), sum(vector_norm(pre_mlp)) FROM demo.examples GROUP BY layer ORDER BY layer",
        "SELECT max(text), sum(n_tokens) FROM demo.documents",
        "SELECT sum(token_id), max(token), sum(pos) FROM demo.tokens",
        "SELECT sum(count), sum(upper) FROM demo.histograms",
        "SELECT * FROM demo.similar_features(0, 0, 0)",
        "SELECT sum(n), max(label) FROM notes.t",
        "SELECT vector_norm(sae_decode('s', [{latent: 0, activation: 1.0}]))",
        "SELECT sum(max_activation), sum(vector_norm(w_in)) FROM s.neurons",
        "SELECT count(*), sum(loss), max(step) FROM info.sae_training, s.layers",
        "SELECT * FROM info.runs",
        "SELECT * FROM info.tables",
        "SELECT id, function, state, message FROM info.jobs",
    ];
    let mut texts: Vec<_> = texts.map(str::to_string).to_vec();
    texts.push(format!(
        "SELECT count(*), sum(vector_norm(vector)) FROM activations('digits', '{images}', 'blocks.0.mlp.post', {{max_documents: 4}})"
    ));
    texts
}

fn printed(rows: &[RecordBatch]) -> String {
    let rows = datafusion::arrow::util::pretty::pretty_format_batches(rows);
    rows.expect("printable").to_string()
}

async fn told(db: &Db, question: &str) -> String {
    match db.try_query(question).await {
        Ok(rows) => printed(&rows),
        Err(error) => error.strip_backtrace(),
    }
}

/// What each question is answered with: rows, or why there are none.
async fn answers<'q>(store: &Path, questions: impl IntoIterator<Item = &'q str>) -> Vec<String> {
    let options = polysema::session::SessionOptions {
        store: store.to_path_buf(),
        memory_limit: None,
    };
    let db = match polysema::session::Session::open(options).await {
        Ok(_) => Ok(Db::open(store).await),
        Err(error) => Err(error.strip_backtrace()),
    };
    let mut answers = vec![];
    for question in questions {
        answers.push(match &db {
            Ok(db) => told(db, question).await,
            Err(error) => error.clone(),
        });
    }
    answers
}

/// All questions with what they are answered with while nothing is damaged.
async fn answered(store: &Path) -> Vec<(String, String)> {
    let questions = questions();
    let answers = answers(store, questions.iter().map(String::as_str)).await;
    for (question, answer) in questions.iter().zip(&answers) {
        assert!(answer.starts_with('+'), "{question}: {answer}");
    }
    questions.into_iter().zip(answers).collect()
}

/// One damage: nothing left, a bit, an end, or bytes more.
fn damage(whole: &[u8], seed: u64, how: usize) -> (Vec<u8>, String) {
    if how == 0 {
        return (vec![], "emptied".to_string());
    }
    let mut random = Random::new(seed);
    let at = (random.uniform() * whole.len() as f64) as usize;
    let mut bytes = whole.to_vec();
    match how % 3 {
        0 | 1 if !whole.is_empty() => {
            let bit = (random.uniform() * 8.0) as u32 % 8;
            bytes[at] ^= 1 << bit;
            (bytes, format!("bit {bit} of byte {at}"))
        }
        _ if how.is_multiple_of(2) => {
            bytes.truncate(at);
            (bytes, format!("cut to {at}"))
        }
        _ => {
            bytes.extend_from_slice(&whole[at..]);
            bytes.push(0);
            (bytes, format!("extended by what follows byte {at}"))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_never_answered_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path();
    filled(store).await;
    let expected = answered(store).await;
    let whole = check(store).expect("a store");
    let kinds: BTreeSet<_> = whole.iter().map(|thing| thing.kind).collect();
    let all = [
        "ingest", "jobs", "model", "run", "schema", "store", "table", "training",
    ];
    assert_eq!(kinds, BTreeSet::from(all));
    for thing in &whole {
        let nothing = thing.damages.is_empty() && thing.caches.is_empty();
        assert!(nothing && thing.unverified == 0, "{thing:?}");
    }
    let files = kept_files(store);
    let read: u64 = whole.iter().map(|thing| thing.files).sum();
    assert_eq!(
        read,
        files.len() as u64,
        "every file that is kept: {files:?}"
    );

    let mut of_kind: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        of_kind.entry(kind(store, &file)).or_default().push(file);
    }
    let (mut damages, mut refused, mut behind) = (0, 0, 0);
    for (at, (kind, files)) in of_kind.iter().enumerate() {
        // All are asked of the first damage, which whoever reads the file meets; of the others those that met it. Where none did,
        // as of a cache, which is made anew where it is empty, all are asked of every damage.
        let mut asked: Vec<_> = expected.iter().collect();
        for n in 0..EACH {
            let file = &files[n % files.len()];
            let bytes = fs::read(file).expect("a file");
            let (damaged, how) = damage(&bytes, (1000 * at + n) as u64, n);
            if damaged == bytes {
                continue;
            }
            let what = format!("{kind}, {how} of {}", bytes.len());
            // Another file of its name: it may be mapped.
            fs::remove_file(file).expect("a file");
            fs::write(file, damaged).expect("writable");
            damages += 1;
            let name = file.file_name().expect("a name").to_string_lossy();
            match check(store) {
                Ok(found) => {
                    let named: Vec<_> = found.iter().flat_map(|thing| &thing.damages).collect();
                    let named: Vec<_> = named.iter().map(|damage| &damage.file).collect();
                    let caches: Vec<_> = found.iter().flat_map(|thing| &thing.caches).collect();
                    // A checkpoint counts on the beginnings of files that grow.
                    if kind.starts_with("ingests/") && named.is_empty() {
                        behind += 1;
                    } else if kind.ends_with("/cached") {
                        assert_eq!((named, caches), (vec![], vec![file]), "{what}");
                    } else {
                        assert_eq!((named, caches), (vec![file], vec![]), "{what}");
                    }
                }
                Err(error) => {
                    assert_eq!(kind, "store.json", "{what}: {error}");
                    assert!(error.to_string().contains("store.json"), "{what}: {error}");
                }
            }
            let told = answers(store, asked.iter().map(|(question, _)| question.as_str())).await;
            let mut met = vec![];
            for (told, of) in told.iter().zip(asked.iter().copied()) {
                let ((question, expected), names) = (of, told.contains(&*name));
                assert!(names || told == expected, "{what}: {question}\n{told}");
                if told != expected {
                    met.push(of);
                }
            }
            refused += met.len();
            if n == 0 && !met.is_empty() {
                asked = met;
            }
            fs::remove_file(file).expect("a file");
            fs::write(file, &bytes).expect("writable");
        }
    }
    println!("{damages} damages, {refused} questions refused, {behind} behind what is counted on");
    assert!(damages > 200 && refused > damages, "{damages}, {refused}");
    assert!(4 * behind < damages, "{behind} of {damages}");
    let after = check(store).expect("a store");
    assert!(after.iter().all(|thing| thing.damages.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_under_a_session_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path();
    filled(store).await;
    let expected = answered(store).await;
    let mut readers: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let mut refused = 0;
    for file in kept_files(store) {
        let bytes = fs::read(&file).expect("a file");
        let db = Db::open(store).await;
        // All are asked until a file of its kind was met, then those that met it.
        let asked = readers.get(&kind(store, &file));
        let asked = asked.cloned().unwrap_or(expected.iter().collect());
        for (question, _) in &asked {
            db.query(question).await;
        }
        let mut met = vec![];
        // The same file, which the session has mapped: to read behind its end would end this process.
        for kept in [bytes.len() / 2, 0] {
            let opened = fs::OpenOptions::new().write(true).open(&file);
            let cut = opened.expect("writable").set_len(kept as u64);
            cut.expect("cut");
            for of in asked.iter().copied() {
                let (question, expected) = of;
                let told = told(&db, question).await;
                let name = file.file_name().expect("a name").to_string_lossy();
                let (names, same) = (told.contains(&*name), told == *expected);
                let cut = format!("{} cut to {kept}", file.display());
                assert!(names || same, "{cut}: {question}\n{told}");
                if !same && !met.contains(&of) {
                    met.push(of);
                }
            }
        }
        refused += met.len();
        if !met.is_empty() {
            readers.entry(kind(store, &file)).or_insert(met);
        }
        drop(db);
        fs::remove_file(&file).expect("a file");
        fs::write(&file, bytes).expect("writable");
    }
    assert!(refused > 20, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn neurons_that_lost_vectors_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path();
    let (model, corpus) = (data("demo/model"), data("demo/corpus.jsonl"));
    let db = Db::open(store).await;
    db.query(&format!(
        "CALL ingest('demo', '{}', '{}', {{max_documents: 40, max_examples: 3}})",
        model.display(),
        corpus.display()
    ))
    .await;
    let layers = db.integer("SELECT max(layer) FROM demo.layers").await;
    let neurons = db
        .integer("SELECT max(neuron) FROM demo.neurons WHERE layer = 1")
        .await;
    let path = fixture::generation(store, "demo").join("vectors-1.arrow");
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::remove_file(&path).expect("a file");
    fs::write(&path, bytes).expect("writable");
    let found = check(store).expect("a store");
    let run = found.iter().find(|thing| thing.kind == "run").expect("it");
    let [damage] = run.damages.as_slice() else {
        panic!("{run:?}");
    };
    let lost = |neuron| {
        let mut ranges = damage.neurons.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&neuron))
    };
    let db = Db::open(store).await;
    let mut n_lost = 0;
    for neuron in 0..=neurons {
        let sql =
            format!("SELECT pre_mlp FROM demo.examples WHERE layer = 1 AND neuron = {neuron}");
        let read = db.try_query(&sql).await;
        assert_eq!(read.is_err(), lost(neuron), "neuron {neuron}: {damage:?}");
        n_lost += i64::from(lost(neuron));
    }
    assert!(0 < n_lost && n_lost <= neurons, "{n_lost} of {neurons}");
    // The other columns of the layer, and the other layers, are whole.
    db.query("SELECT token, window_activations FROM demo.examples")
        .await;
    db.query("SELECT pre_mlp FROM demo.examples WHERE layer <> 1")
        .await;
    let whole = |table: &str, layer| {
        let mut parts = run.whole.iter();
        parts.any(|part| part.table == table && part.layer == layer && part.rows == PartRows::All)
    };
    for layer in 0..=layers as i32 {
        assert!(whole("examples", Some(layer)) && whole("neurons", Some(layer)));
        assert_eq!(whole("vectors", Some(layer)), layer != 1);
    }
    assert!(whole("tokens", None) && whole("documents", None));
}

#[tokio::test]
async fn what_has_no_checksums_is_read_and_not_called_whole() -> Result<()> {
    let dir = fixture::demo()?;
    let manifest = dir.path().join("runs/demo/manifest.json");
    let files = kept_files(&fixture::generation(dir.path(), "demo")).len() as u64;
    unsealed(&manifest, |manifest| {
        for file in manifest["files"].as_array_mut().expect("files") {
            let removed = file.as_object_mut().and_then(|file| file.remove("tail"));
            assert!(removed.is_some(), "{file}");
        }
    })?;
    let sql = "SELECT * FROM demo.examples";
    let rows = fixture::count(&fixture::session(dir.path(), 2)?, sql).await?;
    assert_eq!(rows, (fixture::LAYERS * 21) as usize);
    let found = check(dir.path())?;
    let run = found.iter().find(|thing| thing.kind == "run").expect("it");
    assert_eq!(
        (run.unverified, run.damages.len()),
        (files + 1, 0),
        "{run:?}"
    );
    // That it was cut is still seen.
    let path = fixture::generation(dir.path(), "demo").join("examples-1.arrow");
    let bytes = fs::read(&path)?;
    fs::write(&path, &bytes[..bytes.len() / 2])?;
    let found = check(dir.path())?;
    let damages = found.iter().flat_map(|thing| &thing.damages);
    let named: Vec<_> = damages.map(|damage| damage.file.clone()).collect();
    assert_eq!(named, [path]);
    Ok(())
}

#[test]
fn a_check_changes_nothing_and_an_empty_store_is_whole() -> Result<()> {
    let dir = fixture::demo()?;
    let state = || -> Vec<_> {
        let files = kept_files(dir.path()).into_iter();
        let state = files.map(|path| {
            let data = fs::metadata(&path).expect("a file");
            (path, data.len(), data.modified().expect("a time"))
        });
        state.collect()
    };
    let before = state();
    assert!(
        check(dir.path())?
            .iter()
            .all(|thing| thing.damages.is_empty())
    );
    assert_eq!(state(), before);
    let empty = dir.path().join("nowhere");
    assert_eq!(check(&empty)?, []);
    assert!(!empty.exists(), "looking makes no folder");
    let unknown = Store::open(dir.path())?.check(&["x".to_string()], &|_| Ok(()));
    let error = fixture::message(unknown);
    assert!(error.contains("got 'x'; known runs: demo"), "{error}");
    let ended = Store::open(dir.path())?.check(&[], &|_| {
        Err(DataFusionError::Execution("enough".to_string()))
    });
    assert!(fixture::message(ended).contains("enough"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_written_meanwhile_is_whole() -> Result<()> {
    let dir = fixture::demo()?;
    let db = Db::open(dir.path()).await;
    db.query("CREATE TABLE notes.t AS SELECT 1 AS n").await;
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let root = dir.path();
    let (done, written) = (&done, &written);
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(move || -> Result<()> {
            let store = Store::open(root)?;
            while !done.load(Ordering::Relaxed) {
                let n = written.fetch_add(1, Ordering::Relaxed);
                fixture::ingest(&store, "demo", true, n as f32)?;
            }
            Ok(())
        });
        let (handle, db) = (tokio::runtime::Handle::current(), &db);
        let rows = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                handle.block_on(db.query("INSERT INTO notes.t VALUES (1)"));
            }
        });
        let mut found = Ok(());
        let mut checks = 0;
        // At least so many of both, whichever is slower.
        while found.is_ok()
            && !writer.is_finished()
            && (checks < 200 || written.load(Ordering::Relaxed) < 5)
        {
            checks += 1;
            match check(root) {
                Ok(things) => {
                    let damaged = things.iter().find(|thing| !thing.damages.is_empty());
                    if let Some(thing) = damaged {
                        found = Err(DataFusionError::Execution(format!("{thing:?}")));
                    }
                }
                Err(error) => found = Err(error),
            }
        }
        done.store(true, Ordering::Relaxed);
        rows.join().expect("rows");
        writer.join().expect("runs").and(found)
    })
}
