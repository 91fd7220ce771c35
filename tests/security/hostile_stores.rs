//! Stores that somebody has broken or made to do harm, served: each gives an error that names what is wrong or the rows that are
//! still whole, and the server answers on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use polysema::serve::ServeOptions;
use polysema::serve::users::Role;

use super::place::{CANARY, Place};
use super::server::{Running, connect, conversation, texts};
use super::wire::METRICS;

/// What is asked of every store.
const OF_THE_STORE: &[&str] = &[
    "SELECT * FROM info.runs",
    "SELECT * FROM info.models",
    "SELECT * FROM info.saes",
    "SELECT * FROM info.tables",
    "SELECT * FROM info.jobs",
    "SELECT table_schema, table_name FROM information_schema.tables",
    "SELECT relname FROM pg_catalog.pg_class",
];

/// What is asked of every run.
const OF_A_RUN: &[&str] = &[
    "SELECT * FROM {}.layers",
    "SELECT count(*), sum(max_activation), sum(vector_norm(w_in)) FROM {}.neurons",
    "SELECT count(*), max(token), sum(activation), max(window_tokens) FROM {}.examples",
    "SELECT sum(vector_norm(pre_mlp)) FROM {}.examples",
    "SELECT count(*), sum(n_tokens) FROM {}.documents",
    "SELECT count(token), max(pos) FROM {}.tokens",
    "SELECT count(*), sum(count) FROM {}.histograms",
    "SELECT count(*) FROM {}.feature_clusters(0, 0)",
];

fn served(place: &Place) -> ServeOptions {
    ServeOptions {
        users: None,
        role: Role::Reader,
        ..place.options()
    }
}

/// The texts of all answers and refusals. The server must be there afterwards, and nothing may have panicked that is not caught
/// where it arises.
async fn ask(server: &Running, what: &str, questions: &[&str], run: &str) -> Vec<String> {
    let mut config = server.config("ana");
    config.dbname("polysema");
    let client = connect(&config).await;
    let client = client.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let mut told = vec![];
    for question in questions {
        let question = question.replace("{}", &format!("\"{run}\""));
        told.push(match client.simple_query(&question).await {
            Ok(rows) => format!("{:?}", texts(rows)),
            Err(error) => match error.as_db_error() {
                Some(error) => error.message().to_string(),
                None => panic!("{what}: {question}: {error:?}"),
            },
        });
    }
    let (_, metrics) = server.http(METRICS).await;
    assert!(
        metrics.contains("polysema_panics_total 0\n"),
        "{what}: {metrics}"
    );
    told
}

/// Nothing of a store is followed out of it, and none of its names becomes a path.
#[test]
fn links_and_names_do_not_lead_out_of_a_store() {
    let place = Place::new();
    let run = place.path("store/runs/demo");
    let manifest = fs::read(run.join("manifest.json")).expect("a manifest");
    // Who makes a store to do harm can seal it too, or leave the seals away.
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    for name in ["checked", "checksum"] {
        let removed = manifest.as_object_mut().and_then(|it| it.remove(name));
        assert!(removed.is_some(), "{name}");
    }
    let manifest = manifest.to_string();
    let names = fs::read_dir(&run).expect("a folder");
    let mut names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let generation = names
        .find(|name| name.starts_with("gen-"))
        .expect("a generation");
    let runs = place.path("store/runs");
    // Runs that are links, to a folder outside and to another run.
    symlink(place.path("table"), runs.join("linked")).expect("a link");
    symlink(&run, runs.join("twin")).expect("a link");
    symlink("/", runs.join("root")).expect("a link");
    // Runs whose manifests name what is not theirs.
    for (at, name) in [
        "../demo",
        "../../../table",
        "/etc",
        "..",
        ".",
        "",
        "gen-\u{0}",
        "a/b",
    ]
    .iter()
    .enumerate()
    {
        let folder = runs.join(format!("named{at}"));
        fs::create_dir(&folder).expect("writable");
        let text = manifest.replace(&generation, &name.replace('\u{0}', "\\u0000"));
        fs::write(folder.join("manifest.json"), text).expect("writable");
    }
    // Names that are hostile to SQL, to a shell and to a terminal.
    for name in [
        "a'; DROP SCHEMA demo; --",
        "a\"b",
        "-rf",
        "\u{1b}[2J",
        "CON",
        "info",
        "public",
        "pg_catalog",
    ] {
        let folder = runs.join(name);
        fs::create_dir(&folder).expect("writable");
        fs::write(folder.join("manifest.json"), &manifest).expect("writable");
    }
    // A generation whose file is a link to one outside.
    let linked = runs.join("linked_file");
    super::place::copy_folder(&run, &linked);
    for file in files_below(&linked) {
        if file.extension().is_some_and(|ending| ending == "arrow") {
            fs::remove_file(&file).expect("a file");
            symlink(place.path("canary.csv"), &file).expect("a link");
        }
    }
    conversation(served(&place), |server| async move {
        let mut told = ask(&server, "links", OF_THE_STORE, "").await;
        told.extend(ask(&server, "links", OF_A_RUN, "demo").await);
        let told = told.join("\n");
        assert!(!told.contains(CANARY) && !told.contains("root:"), "{told}");
        assert!(told.contains("demo"), "{told}");
        let client = server.connect().await;
        let mut all = String::new();
        for run in [
            "linked",
            "twin",
            "root",
            "named0",
            "named1",
            "named2",
            "linked_file",
        ] {
            for table in ["layers", "examples", "neurons", "documents"] {
                let told = client
                    .simple_query(&format!("SELECT * FROM {run}.{table}"))
                    .await;
                let told = told.expect_err(&format!("{run}.{table}"));
                all += told.as_db_error().map_or("", |error| error.message());
            }
        }
        assert!(!all.contains(CANARY), "{all}");
        server.stop().await;
    });
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let entries = entries.map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files_below(&path),
            false => vec![path],
        })
        .collect()
}

/// A run that is another with one of its files broken: the others are the same files under a second name.
fn break_one(of: &Path, run: &Path, broken: &Path, bytes: &[u8]) {
    for file in files_below(of) {
        let within = file.strip_prefix(of).expect("below the run");
        let target = run.join(within);
        fs::create_dir_all(target.parent().expect("a folder")).expect("writable");
        match within == broken {
            true => fs::write(target, bytes).expect("writable"),
            false => fs::hard_link(file, target).expect("a second name"),
        }
    }
}

/// Each file of a run cut short, emptied, turned bit by bit, replaced by one of another kind, or a folder in its place.
#[test]
fn broken_files_are_errors_and_end_no_server() {
    let place = Place::new();
    let demo = place.path("store/runs/demo");
    let mut kinds = std::collections::BTreeSet::new();
    let mut broken = vec![];
    for file in files_below(&demo) {
        let within = file.strip_prefix(&demo).expect("below the run");
        // Of the tables of each layer, those of one: what differs is a digit.
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let kind: String = name
            .chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect();
        if !kinds.insert(kind) {
            continue;
        }
        let bytes = fs::read(&file).expect("a file");
        let n = bytes.len();
        let turned = |at: usize| {
            let mut turned = bytes.clone();
            if let Some(byte) = turned.get_mut(at) {
                *byte ^= 0xff;
            }
            turned
        };
        let versions = [
            vec![],
            bytes[..n / 2].to_vec(),
            bytes[..n.saturating_sub(1)].to_vec(),
            turned(0),
            turned(n / 3),
            turned(n.saturating_sub(12)),
            turned(n.saturating_sub(30)),
            turned(n.saturating_sub(200)),
            vec![0xff; n.min(1 << 16)],
            b"ARROW1\0\0\xff\xff\xff\x7fARROW1".to_vec(),
            b"{\"format\": 99999999999999999999}".to_vec(),
        ];
        for (at, version) in versions.iter().enumerate() {
            let run = format!("b{}", broken.len());
            break_one(&demo, &place.path("store/runs").join(&run), within, version);
            broken.push((run, format!("{}, version {at}", within.display())));
        }
        let run = format!("b{}", broken.len());
        let folder = place.path("store/runs").join(&run);
        break_one(&demo, &folder, within, b"");
        fs::remove_file(folder.join(within)).expect("a file");
        fs::create_dir(folder.join(within)).expect("writable");
        broken.push((run, format!("{}, a folder", within.display())));
    }
    assert!(broken.len() > 80, "{}", broken.len());
    conversation(served(&place), |server| async move {
        let whole = ask(&server, "whole", OF_A_RUN, "demo").await;
        for (run, what) in &broken {
            let told = ask(&server, what, OF_A_RUN, run).await;
            assert!(!told.join("\n").contains(CANARY), "{told:?}");
        }
        ask(&server, "all", OF_THE_STORE, "").await;
        // The one that is whole is read as before, beside all that are not.
        assert_eq!(ask(&server, "whole", OF_A_RUN, "demo").await, whole);
        server.stop().await;
    });
}
