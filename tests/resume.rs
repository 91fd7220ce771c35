//! An ingest that was cancelled or killed goes on to the same bytes, whenever that was, and shows nothing before. Over 400 lines: one
//! ingest, interrupted in every way.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::damaged::unsealed;
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::runs::{INGEST, IngestRequest, Progress, drop_sae, ingest};
use polysema::store::Store;
use serde_json::Value;
use tempfile::TempDir;

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a writable folder")
}

/// Passes of a few milliseconds.
const FEW: [(&str, &str); 2] = [("max_documents", "250"), ("batch_size", "4")];
/// A checkpoint after every few passes, and when it is cancelled.
const OFTEN: (&str, &str) = ("checkpoint_every", "0.05");

fn demo(options: &[(&str, &str)]) -> IngestRequest {
    IngestRequest {
        run: "r".to_string(),
        model: data("demo/model"),
        corpus: data("demo/corpus.jsonl"),
        options: Options::of_words(&INGEST, options.iter().copied()).expect("options"),
        max_activations: None,
    }
}

/// Ingests without an interruption, or until it is cancelled after a time; what it said at its end.
pub fn run(
    store: &Path,
    request: &IngestRequest,
    cancelled: Option<Duration>,
) -> Result<Vec<Progress>, String> {
    let store = Store::open(store).expect("a store");
    let context = JobContext::default();
    let mut rows = vec![];
    let done = std::thread::scope(|scope| {
        if let Some(after) = cancelled {
            let context = &context;
            scope.spawn(move || {
                std::thread::sleep(after);
                context.cancel();
            });
        }
        ingest(&store, request, &context, &mut |row| rows.push(row))
    });
    done.map(|_| rows).map_err(|error| error.strip_backtrace())
}

/// Every file of the run, and its manifest without its times and generation.
pub fn bytes(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let run = store.join("runs/r");
    let text = fs::read(run.join("manifest.json")).expect("a manifest");
    let mut manifest: Value = serde_json::from_slice(&text).expect("JSON");
    let generation = run.join(manifest["generation"].as_str().expect("a name"));
    for name in ["generation", "seconds", "created_at", "checksum"] {
        manifest["facts"][name].take();
        manifest[name].take();
    }
    // How often checkpoints are written, and who does what, says nothing of the run.
    for option in ["checkpoint_every", "shards"] {
        manifest["facts"]["options"][option].take();
    }
    let files = fs::read_dir(generation).expect("a folder").map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        (name.into_owned(), fs::read(&path).expect("a file"))
    });
    let manifest = serde_json::to_vec(&manifest).expect("JSON");
    files
        .chain([("manifest.json".to_string(), manifest)])
        .collect()
}

pub fn expected(request: &IngestRequest) -> BTreeMap<String, Vec<u8>> {
    let folder = folder();
    run(folder.path(), request, None).expect("a run");
    bytes(folder.path())
}

pub fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Cancels it again and again, a little later each time, until it ends; how often it went on from a checkpoint.
fn cancelled_again_and_again(request: &IngestRequest, step: Duration) -> usize {
    let (folder, expected) = (folder(), expected(request));
    let store = folder.path();
    let mut resumed = 0;
    for attempt in 1.. {
        let kept = store.join("ingests/r/checkpoint.json").exists();
        match run(store, request, Some(step * attempt)) {
            Err(error) => {
                assert!(error.contains("cancelled in phase"), "{error}");
                assert!(!Store::open(store).expect("a store").has("r"));
                if kept {
                    assert!(
                        error.contains("from which the same call goes on"),
                        "{error}"
                    );
                }
            }
            Ok(rows) => {
                let said = rows
                    .iter()
                    .filter(|row| row.message.contains(", resumed at "));
                assert!(said.count() > 0 || !kept);
                break;
            }
        }
        resumed += usize::from(kept);
    }
    assert!(
        bytes(store) == expected,
        "other bytes after {resumed} times"
    );
    assert!(
        entries(&store.join("ingests")).is_empty(),
        "a checkpoint is left"
    );
    resumed
}

#[test]
fn a_cancelled_ingest_ends_in_the_same_bytes() {
    let few = [
        FEW.as_slice(),
        &[
            OFTEN,
            ("bos", "true"),
            ("shuffle", "3"),
            ("window_vectors", "true"),
        ],
    ];
    let resumed = cancelled_again_and_again(&demo(&few.concat()), Duration::from_millis(100));
    assert!(resumed > 1, "gone on {resumed} times");
}

#[test]
fn so_do_gated_neurons_and_images() {
    let folder = folder();
    let corpus = folder.path().join("ids.jsonl");
    let rows = (0..3000).map(|row| {
        let ids: Vec<_> = (0..7 + row % 9).map(|i| row * i % 41).collect();
        format!("{{\"tokens\": {ids:?}}}\n")
    });
    fs::write(&corpus, rows.collect::<String>()).expect("a file");
    let gated = IngestRequest {
        model: data("architectures/llama"),
        corpus,
        ..demo(&[
            OFTEN,
            ("column", "tokens"),
            ("context", "40"),
            ("order", "top"),
        ])
    };
    cancelled_again_and_again(&gated, Duration::from_millis(80));
    let images = IngestRequest {
        model: data("mnist-tiny/mlp.safetensors"),
        corpus: data("mnist-tiny"),
        ..demo(&[OFTEN, ("batch_size", "1")])
    };
    cancelled_again_and_again(&images, Duration::from_millis(20));
}

/// Cancels it once it has a checkpoint of some documents.
fn interrupted(store: &Path, request: &IngestRequest) {
    for attempt in 2.. {
        let error = run(store, request, Some(Duration::from_millis(100) * attempt));
        let error = error.expect_err("cancelled in time");
        if error.contains("from which the same call goes on") && !error.contains("of 0 documents") {
            return;
        }
    }
}

#[test]
fn an_ingest_of_something_else_does_not_go_on() {
    let folder = folder();
    let (store, corpus) = (folder.path().join("s"), folder.path().join("corpus.jsonl"));
    fs::copy(data("demo/corpus.jsonl"), &corpus).expect("a copy");
    let of = |options: &[(&str, &str)]| IngestRequest {
        corpus: corpus.clone(),
        ..demo(options)
    };
    let options = [FEW.as_slice(), &[OFTEN]].concat();
    interrupted(&store, &of(&options));
    let refused = |request: &IngestRequest, names: &str| {
        let error = run(&store, request, None).expect_err("refused");
        let said = format!("got other ones ({names}): pass resume: false to begin anew");
        assert!(error.ends_with(&said), "{error}");
    };
    let window = [options.as_slice(), &[("window", "3")]].concat();
    refused(&of(&window), "window");
    let others = [("batch_size", "8"), ("context", "64"), FEW[0]];
    refused(&of(&others), "batch_size, context");
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a folder");
    for name in entries(&data("demo/model")) {
        fs::copy(data("demo/model").join(&name), model.join(&name)).expect("a copy");
    }
    let text = fs::read_to_string(model.join("config.json")).expect("a file");
    fs::write(model.join("config.json"), text + " ").expect("a file");
    let model = IngestRequest {
        model,
        ..of(&options)
    };
    refused(&model, "model");
    // What changes no byte of the run may change.
    let later = [
        FEW.as_slice(),
        &[("checkpoint_every", "1000"), ("replace", "true")],
    ];
    let later = of(&later.concat());
    let error = run(&store, &later, Some(Duration::ZERO)).expect_err("cancelled");
    assert!(
        error.contains("is kept, from which the same call goes on"),
        "{error}"
    );
    let text = fs::read_to_string(&corpus).expect("texts");
    fs::write(&corpus, text.replacen("the", "The", 1)).expect("a file");
    refused(&of(&options), "corpus");
    // It begins anew when it is told to, and drop_run discards it.
    let anew = of(&[OFTEN, FEW[0], ("batch_size", "8"), ("resume", "false")]);
    interrupted(&store, &anew);
    let opened = Store::open(&store).expect("a store");
    assert!(!opened.has("r") && opened.runs().expect("names").is_empty());
    assert!(opened.drop_run("r", false).expect("dropped") > 0);
    assert!(opened.drop_run("r", false).is_err());
    assert!(drop_sae(&opened, "r", &JobContext::default()).is_err());
    let rows = run(&store, &of(&options), None).expect("a run");
    assert!(rows.iter().all(|row| !row.message.contains("resumed")));
}

#[test]
fn a_run_is_there_until_the_one_that_replaces_it_is_whole() {
    let folder = folder();
    let store = folder.path();
    run(store, &demo(&FEW), None).expect("a run");
    let old = bytes(store);
    let other = [
        FEW.as_slice(),
        &[OFTEN, ("bos", "true"), ("replace", "true")],
    ]
    .concat();
    interrupted(store, &demo(&other));
    assert!(bytes(store) == old);
    run(store, &demo(&other), None).expect("a run");
    assert!(bytes(store) == expected(&demo(&other)));
    // What a process leaves that was killed before it could clean up is no interrupted ingest: any call removes it, also one
    // that is refused.
    let (kept, aside) = (store.join("ingests"), store.join("aside"));
    let anew = demo(&[("replace", "true"), ("window", "2")]);
    let refused = demo(&[FEW.as_slice(), &[("bos", "true")]].concat());
    for (next, is_refused) in [(refused, true), (anew, false)] {
        interrupted(store, &demo(&other));
        fs::rename(&kept, &aside).expect("renamed");
        std::thread::sleep(Duration::from_secs(1));
        run(store, &demo(&other), None).expect("a run");
        fs::remove_dir_all(&kept).expect("a folder");
        fs::rename(&aside, &kept).expect("renamed");
        assert_eq!(entries(&kept), ["r"]);
        assert_eq!(run(store, &next, None).is_err(), is_refused);
        assert!(entries(&kept).is_empty());
    }
}

#[test]
fn a_clock_that_jumps_loses_no_interrupted_ingest() {
    let other = [
        FEW.as_slice(),
        &[OFTEN, ("window", "2"), ("replace", "true")],
    ]
    .concat();
    let third = [FEW.as_slice(), &[("window", "3"), ("replace", "true")]].concat();
    // A run of the year 2100, and one of before 1970.
    for made_at in [4_102_444_800_i64, -1] {
        let folder = folder();
        let store = folder.path();
        run(store, &demo(&FEW), None).expect("a run");
        let manifest = store.join("runs/r/manifest.json");
        let changed = unsealed(&manifest, |text| text["created_at"] = made_at.into());
        changed.expect("written");
        interrupted(store, &demo(&other));
        let error = run(store, &demo(&third), None).expect_err("refused");
        assert!(error.contains("pass resume: false"), "{made_at}: {error}");
        let rows = run(store, &demo(&other), None).expect("a run");
        let resumed = rows.iter().any(|row| row.message.contains("resumed at"));
        assert!(
            resumed && bytes(store) == expected(&demo(&other)),
            "{made_at}"
        );
        assert!(entries(&store.join("ingests")).is_empty());
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_begun_anew() {
    let folder = folder();
    let store = folder.path();
    let request = demo(&[FEW.as_slice(), &[OFTEN]].concat());
    interrupted(store, &request);
    let kept = store.join("ingests/r");
    let generation = entries(&kept)
        .into_iter()
        .find(|name| name.starts_with("gen-"));
    let generation = kept.join(generation.expect("a generation"));
    for name in ["layers", "vectors-1"] {
        let path = generation.join(name);
        let whole = fs::read(&path).expect("a file");
        fs::write(&path, &whole[..whole.len() / 3]).expect("a file");
        let error = run(store, &request, None).expect_err("damaged");
        assert!(
            error.contains(name) && error.contains("pass resume: false"),
            "{error}"
        );
        fs::write(&path, &whole).expect("a file");
    }
    let mut bytes = fs::read(generation.join("layers")).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(generation.join("layers"), bytes).expect("a file");
    let error = run(store, &request, None).expect_err("damaged");
    assert!(error.contains("pass resume: false"), "{error}");
    fs::write(kept.join("checkpoint.json"), "{").expect("a file");
    let error = run(store, &request, None).expect_err("damaged");
    assert!(
        error.contains("checkpoint.json") && error.contains("pass resume: false"),
        "{error}"
    );
    let anew = demo(&[FEW.as_slice(), &[("resume", "false")]].concat());
    run(store, &anew, None).expect("a run");
}

#[test]
fn a_killed_ingest_ends_in_the_same_bytes() {
    let folder = folder();
    let store = folder.path().join("s");
    let options = [FEW.as_slice(), &[OFTEN]].concat();
    let expected = expected(&demo(&options));
    let words: Vec<_> = (options.iter())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_polysema"))
            .arg("--store")
            .arg(&store)
            .args(["--format", "csv", "ingest", "r"])
            .args([data("demo/model"), data("demo/corpus.jsonl")])
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    };
    let (mut kills, mut resumed) = (0, 0);
    loop {
        let kept = entries(&store.join("ingests/r"));
        // The last checkpoint, the one that was being written, and how the pointer was called before.
        assert!(kept.len() <= 4, "{kept:?}");
        resumed += usize::from(kept.iter().any(|name| name == "checkpoint.json"));
        let (mut child, started) = (start(), Instant::now());
        let after = Duration::from_millis(300 + 150 * kills);
        while started.elapsed() < after && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = child.try_wait().expect("a child");
        if let Some(ended) = ended {
            assert!(ended.success(), "{:?}", child.wait_with_output());
            break;
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
        kills += 1;
        if Store::open(&store).expect("a store").has("r") {
            // It came between the commit and the end of the process, which removes the checkpoints.
            assert!(bytes(&store) == expected, "other bytes after {kills} kills");
            return;
        }
    }
    assert!(resumed > 1, "gone on {resumed} times of {kills}");
    assert!(bytes(&store) == expected, "other bytes after {kills} kills");
    assert!(entries(&store.join("ingests")).is_empty());
    assert_eq!(
        entries(&store.join("runs/r")).len(),
        2,
        "a generation and its pointer"
    );
}
