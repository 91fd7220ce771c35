//! `polysema publish`: a run as files, whole or not at all. What the pages do without a server, a browser tries
//! (`.ci/browser`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::site::{STORE, run};

const FEW: &str = "layer IN (1, 2) AND neuron < 6";

fn command(store: &Path, out: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
    command
        .arg("--store")
        .arg(store)
        .args(["publish", "demo", "--out"])
        .arg(out);
    command.args(words).stdin(Stdio::null());
    command
}

fn publish(out: &Path, words: &[&str]) -> Output {
    command(&STORE.1, out, words).output().unwrap()
}

fn refused(out: &Path, words: &[&str]) -> String {
    let output = publish(out, words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_path_buf();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

#[test]
fn a_site_has_the_chosen_neurons_and_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    let output = publish(&one, &["--neurons", FEW]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("12 neurons and "), "{said}");
    let site = files(&one);
    let names: Vec<&str> = site.keys().filter_map(|name| name.to_str()).collect();
    let of = |folder: &str| names.iter().filter(|name| name.starts_with(folder)).count();
    assert_eq!([of("neurons/"), of("layers/"), of("search/")], [12, 4, 256]);
    let documents = run(
        &STORE.1,
        &format!("SELECT count(DISTINCT doc_id) AS n FROM demo.examples WHERE {FEW}"),
    );
    assert_eq!(documents[0]["n"], of("documents/"));
    // No page leads to a neuron that has none, or to what only a server answers.
    for (name, bytes) in site
        .iter()
        .filter(|(name, _)| name.extension().is_some_and(|e| e == "html"))
    {
        let html = std::str::from_utf8(bytes).unwrap();
        for (at, _) in html.match_indices(" href=\"") {
            let link = html[at + 7..].split('"').next().unwrap();
            assert!(!link.starts_with(['/', '?']), "{}: {link}", name.display());
            let target = link.split(['#', '?']).next().unwrap();
            if !target.is_empty() && !target.starts_with("data:") {
                let target = one.join(name).parent().unwrap().join(target);
                assert!(target.is_file(), "{}: {link}", name.display());
            }
        }
    }
    let rows = String::from_utf8(site[Path::new("layers/2-0.js")].clone()).unwrap();
    assert_eq!(rows.matches("\n[").count(), 6, "{rows}");
    let clusters = run(
        &STORE.1,
        "SELECT n_clusters, n_examples FROM neuron_polysemanticity(2, 3)",
    );
    let [n_clusters, n_examples] =
        ["n_clusters", "n_examples"].map(|name| clusters[0][name].to_string());
    let row = format!("[3,null,{n_clusters}.0,{n_examples}.0,");
    assert!(rows.contains(&row), "{row} is required among {rows}");

    assert!(publish(&other, &["--neurons", FEW]).status.success());
    assert!(files(&other) == site, "the same run is the same site");
}

#[test]
fn what_is_there_is_kept_and_wrong_words_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("thesis.txt"), "years").unwrap();
    let message = refused(&theirs, &["--neurons", FEW, "--replace"]);
    assert!(
        message.contains("one that polysema published, is required"),
        "{message}"
    );
    let file = folder.path().join("file");
    fs::write(&file, "years").unwrap();
    assert!(refused(&file, &["--neurons", FEW, "--replace"]).contains("is required"));
    assert_eq!(fs::read(&file).unwrap(), b"years");

    let out = folder.path().join("site");
    for (condition, part) in [
        (
            "neuron < 0",
            "a condition that holds for neurons of the run is required",
        ),
        ("nueron = 1", "nueron"),
        ("neuron = 1; DROP SCHEMA demo", "syntax"),
        (
            "neuron = (SELECT",
            "a condition on the columns of neurons is required",
        ),
    ] {
        let message = refused(&out, &["--neurons", condition]);
        assert!(
            message.contains(part),
            "{condition}: {part} is required in {message}"
        );
    }
    let mut unknown = Command::new(env!("CARGO_BIN_EXE_polysema"));
    unknown
        .arg("--store")
        .arg(&STORE.1)
        .args(["publish", "nope", "--out"])
        .arg(&out);
    let unknown = String::from_utf8(unknown.output().unwrap().stderr).unwrap();
    assert!(unknown.contains("demo"), "{unknown}");
    assert!(!out.exists());

    // An empty folder is as good as none; a site is replaced by who says so.
    fs::create_dir(&out).unwrap();
    assert!(
        publish(&out, &["--neurons", "layer = 1 AND neuron = 0"])
            .status
            .success()
    );
    let before = files(&out);
    assert!(refused(&out, &["--neurons", FEW]).contains("--replace is required"));
    assert!(files(&out) == before);
    assert!(
        publish(
            &out,
            &["--neurons", "layer = 1 AND neuron = 1", "--replace"]
        )
        .status
        .success()
    );
    let names = files(&out);
    assert!(
        names.contains_key(Path::new("neurons/1/1.html"))
            && !names.contains_key(Path::new("neurons/1/0.html"))
    );
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["file", "site", "theirs"]);
}

#[test]
fn a_run_without_texts_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let [arrays, store, out] = ["arrays", "store", "site"].map(|name| folder.path().join(name));
    fs::create_dir(&arrays).unwrap();
    for name in ["0.b_in.npy", "0.h.npy", "0.w_in.npy"] {
        fs::copy(Path::new("tests/data/import").join(name), arrays.join(name)).unwrap();
    }
    let arrays = arrays.display();
    run(
        &store,
        &format!("CALL import_run('demo', '{arrays}', {{activation_function: 'relu'}})"),
    );
    let output = command(&store, &out, &[]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let documents = run(
        &store,
        "SELECT count(DISTINCT doc_id) AS n FROM demo.examples",
    );
    let pages = files(&out);
    let pages = pages.keys().filter(|name| name.starts_with("documents"));
    assert_eq!(documents[0]["n"], pages.count());
}

#[cfg(unix)]
#[test]
fn an_interrupted_one_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("site");
    let mut child = command(&STORE.1, &out, &[])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Pages are being written under a hidden name.
    let pages = || {
        let inside = fs::read_dir(folder.path()).unwrap().filter_map(|entry| {
            let neurons = entry.unwrap().path().join("neurons");
            neurons.is_dir().then_some(())
        });
        inside.count()
    };
    while pages() == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it is still at work");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pressed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(pressed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is left"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
