//! An ingest in shards by several processes is that of one pass to the byte, whoever is killed; what cannot be shared is
//! refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::runs::{INGEST, IngestRequest, Progress, REPLACE, RESUME, SHARDS, WINDOW, ingest};
use polysema::store::Store;
use serde_json::Value;

use crate::random::{given, seeded};
use crate::resume::{bytes, data, entries, expected, folder, run};

/// Kills of processes that work on shards, without POLYSEMA_KILLS.
const KILLS: u64 = 8;

/// Documents of token ids, of more than four blocks.
fn ids(folder: &Path) -> PathBuf {
    let corpus = folder.join("ids.jsonl");
    let rows = (0..9_500_usize).map(|row| {
        let ids = (0..20 + row % 21).map(|i| (row * row + i * (row % 37 + 1)) % 41);
        format!("{{\"tokens\": {:?}}}\n", ids.collect::<Vec<_>>())
    });
    fs::write(&corpus, rows.collect::<String>()).expect("a file");
    corpus
}

/// Images of more than two blocks, in the form of MNIST's.
fn images(folder: &Path) -> PathBuf {
    let corpus = folder.join("train-images-idx3-ubyte");
    let n = 2_500_u32;
    let mut file = [0x803, n, 28, 28].map(u32::to_be_bytes).concat();
    let mut random = seeded();
    file.extend((0..n * 28 * 28).map(|_| (random.uniform() * 255.0) as u8));
    fs::write(&corpus, file).expect("a file");
    corpus
}

fn of(model: &str, corpus: &Path, options: &[(&str, &str)]) -> IngestRequest {
    IngestRequest {
        run: "r".to_string(),
        model: data(model),
        corpus: corpus.to_path_buf(),
        options: Options::of_words(&INGEST, options.iter().copied()).expect("options"),
        max_activations: None,
    }
}

/// The same in shards.
fn in_shards(request: &IngestRequest, shards: usize) -> IngestRequest {
    IngestRequest {
        options: request.options.clone().with(SHARDS, shards),
        ..request.clone()
    }
}

fn replacing(request: &IngestRequest) -> IngestRequest {
    IngestRequest {
        options: request.options.clone().with(REPLACE, true),
        ..request.clone()
    }
}

/// Seconds of work that the run says.
fn seconds(store: &Path) -> f64 {
    let text = fs::read(store.join("runs/r/manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&text).expect("JSON");
    manifest["facts"]["seconds"].as_f64().expect("a number")
}

/// What each of several processes, here of a store of its own each, said at its end.
fn together(store: &Path, request: &IngestRequest, processes: usize) -> Vec<String> {
    let barrier = Barrier::new(processes);
    std::thread::scope(|scope| {
        let begun = (0..processes).map(|_| {
            scope.spawn(|| {
                barrier.wait();
                let rows = run(store, request, None).expect("a run");
                rows.last().expect("a row").message.clone()
            })
        });
        let begun: Vec<_> = begun.collect();
        let ended = begun.into_iter().map(|it| it.join().expect("no panic"));
        ended.collect()
    })
}

#[test]
fn shards_make_the_run_of_one_pass() {
    let folder = folder();
    let (ids, images) = (ids(folder.path()), images(folder.path()));
    let tokens = ("column", "tokens");
    let requests = [
        of(
            "architectures/gpt2",
            &ids,
            &[tokens, ("context", "32"), ("window_vectors", "true")],
        ),
        of(
            "architectures/gpt2",
            &ids,
            &[tokens, ("context", "32"), ("max_examples", "3")],
        ),
        of(
            "architectures/llama",
            &ids,
            &[tokens, ("context", "40"), ("order", "top")],
        ),
        of(
            "architectures/llama",
            &ids,
            &[
                tokens,
                ("context", "40"),
                ("shuffle", "3"),
                ("min_activation", "0.01"),
            ],
        ),
        of(
            "architectures/bert",
            &ids,
            &[tokens, ("context", "40"), ("bos", "false")],
        ),
        of("mnist-tiny/mlp.safetensors", &images, &[]),
    ];
    for request in requests {
        let store = tempfile::tempdir().expect("a folder");
        let expected = expected(&replacing(&request));
        for (shards, processes) in [(2, 1), (3, 3)] {
            let shared = in_shards(&replacing(&request), shards);
            let began = Instant::now();
            let said = together(store.path(), &shared, processes);
            let elapsed = began.elapsed().as_secs_f64();
            let worked = seconds(store.path());
            assert!(0.0 < worked && worked < elapsed * processes as f64);
            // One that begins when another has ended makes the run anew.
            let (merged, rest): (Vec<_>, Vec<_>) = said
                .iter()
                .partition(|said| said.contains("candidates in memory"));
            assert!(!merged.is_empty(), "{said:?}");
            let by_another = |said: &&String| said.ends_with("merged by another process");
            assert!(rest.iter().all(by_another), "{said:?}");
            let (made, wanted) = (bytes(store.path()), &expected);
            let differs = |name: &&String| made.get(*name) != wanted.get(*name);
            let names: Vec<_> = wanted.keys().filter(differs).collect();
            assert!(
                names.is_empty() && made.len() == wanted.len(),
                "{shards}: {names:?}"
            );
            assert!(entries(&store.path().join("ingests")).is_empty());
        }
    }
}

/// The program with the same call.
fn start(store: &Path, corpus: &Path) -> Child {
    let sql = format!(
        "SELECT * FROM ingest('r', '{}', '{}', {{column: 'tokens', context: 40, shards: 4, batch_size: 2, checkpoint_every: 0.1}})",
        data("architectures/llama").display(),
        corpus.display()
    );
    Command::new(env!("CARGO_BIN_EXE_polysema"))
        .arg("--store")
        .arg(store)
        .args(["-c", &sql])
        .env("TMPDIR", store.parent().expect("a folder"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

#[test]
fn shards_of_killed_processes_are_done_by_others() {
    let folder = folder();
    let (store, corpus) = (folder.path().join("s"), ids(folder.path()));
    let whole = of(
        "architectures/llama",
        &corpus,
        &[("column", "tokens"), ("context", "40"), ("batch_size", "2")],
    );
    let expected = expected(&whole);
    let mut random = seeded();
    let (wanted, mut kills) = (given("POLYSEMA_KILLS", KILLS), 0);
    while kills < wanted {
        let before = kills;
        let mut children: Vec<Child> = (0..2).map(|_| start(&store, &corpus)).collect();
        while kills < wanted.min(before + 12) {
            std::thread::sleep(Duration::from_secs_f64(0.1 + 0.6 * random.uniform()));
            let mut killed = children.remove(usize::from(random.uniform() < 0.5));
            // One that has ended means that the run is made.
            if killed.try_wait().expect("a child").is_some() {
                children.push(killed);
                break;
            }
            killed.kill().expect("a child");
            killed.wait().expect("a child");
            kills += 1;
            children.push(start(&store, &corpus));
        }
        for child in children {
            let ended = child.wait_with_output().expect("a child");
            let said = String::from_utf8_lossy(&ended.stderr);
            // Who begins behind the commit is told that the run is there.
            assert!(
                ended.status.success() || said.contains("which exists in"),
                "{said}"
            );
        }
        println!("{} kills: the same bytes", kills - before);
        assert!(bytes(&store) == expected, "other bytes after {kills} kills");
        assert!(entries(&store.join("ingests")).is_empty());
        fs::remove_dir_all(&store).expect("a store");
    }
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let folder = folder();
    let (store, corpus) = (folder.path().join("s"), ids(folder.path()));
    let base = of(
        "architectures/gpt2",
        &corpus,
        &[
            ("column", "tokens"),
            ("context", "32"),
            ("batch_size", "2"),
            ("checkpoint_every", "0.05"),
        ],
    );
    let sharded = |n: usize| in_shards(&base, n);
    let mut random = seeded();
    let mut interrupted = |store: &Path, request: &IngestRequest| {
        let after = Duration::from_secs_f64(0.1 + random.uniform());
        run(store, request, Some(after))
    };
    let refused = |request: &IngestRequest| run(&store, request, None).expect_err("refused");
    let error = refused(&sharded(40));
    assert!(
        error.contains(
            "shards must be at most 5, since a corpus is cut between blocks of 65536 tokens, got 40"
        ),
        "{error}"
    );
    let shards = store.join("ingests");
    let (opened, told) = loop {
        // Interrupted in the second shard.
        let error = loop {
            let ended = interrupted(&store, &sharded(3));
            match (entries(&shards).len(), ended) {
                (2, Err(error)) => break error,
                (0 | 1, Err(error)) => assert!(error.contains("cancelled in phase"), "{error}"),
                // Too late.
                _ => fs::remove_dir_all(&store).expect("a store"),
            }
        };
        assert!(
            error.contains("documents is kept, from which the same call goes on"),
            "{error}"
        );
        let mut kept = entries(&shards);
        kept.sort();
        assert_eq!(kept, ["r.1-of-3", "r.2-of-3"]);
        for other in [sharded(2), base.clone()] {
            let error = refused(&other);
            assert!(
                error.ends_with("got other ones (shards): pass resume: false to begin anew"),
                "{error}"
            );
        }
        let error = refused(&IngestRequest {
            options: sharded(3).options.with(WINDOW, 2),
            ..base.clone()
        });
        assert!(
            error.ends_with("got other ones (window): pass resume: false to begin anew"),
            "{error}"
        );
        // A finished shard that is damaged is named, by its use and by a check.
        let opened = Store::open(&store).expect("a store");
        let generation = entries(&shards.join("r.1-of-3"));
        let generation = generation.iter().find(|name| name.starts_with("gen-"));
        let sums = shards
            .join("r.1-of-3")
            .join(generation.expect("a generation"))
            .join("sums-1");
        let whole = fs::read(&sums).expect("a file");
        let mut changed = whole.clone();
        changed[100] ^= 4;
        fs::write(&sums, &changed).expect("a file");
        let mut told = vec![];
        let mut tell = |row: Progress| told.push(row.message);
        let damaged = ingest(&opened, &sharded(3), &JobContext::default(), &mut tell);
        let error = damaged.expect_err("damaged").strip_backtrace();
        assert!(
            error.contains("sums-1") && error.contains("pass resume: false"),
            "{error}"
        );
        fs::write(&sums, &whole).expect("a file");
        if told.iter().any(|said| said.contains("shard 2 of 3")) {
            break (opened, told);
        }
        // It had come to its end when it was interrupted.
        fs::remove_dir_all(&store).expect("a store");
    };
    let resumed = |said: &String| said.contains("shard 2 of 3, resumed at");
    assert!(told.iter().any(resumed), "{told:?}");
    // Who begins anew takes nothing from those who work on it.
    let held = opened
        .hold_shard("r", polysema::store::CorpusShard { number: 2, of: 3 })
        .expect("held");
    for shards in [3, 1] {
        let anew = in_shards(&base, shards);
        let error = refused(&IngestRequest {
            options: anew.options.with(RESUME, false),
            ..base.clone()
        });
        assert!(
            error.contains("got 'r.2-of-3'") && error.contains("another writer holds"),
            "{error}"
        );
    }
    assert!(opened.drop_run("r", false).is_err());
    drop(held);
    assert_eq!(entries(&shards).len(), 3);
    let rows = run(&store, &sharded(3), None).expect("a run");
    assert!(rows.iter().all(|row| row.phase != "forward"), "done twice");
    assert!(bytes(&store) == expected(&base));
    assert!(entries(&shards).is_empty());
    // What is kept of one that is given up goes with the name.
    let replace = replacing(&sharded(3));
    while entries(&shards).is_empty() {
        // Where it is too late the run is made once more.
        let _ = interrupted(&store, &replace);
    }
    opened.drop_run("r", false).expect("dropped");
    assert!(entries(&shards).is_empty());
}
