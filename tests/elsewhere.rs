//! A store behind an HTTP address: questions have the answers they have here, read a part of it, and are never answered from
//! what was not written.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::database::{root, said};

/// What a server does, and what it was asked for.
#[derive(Default)]
struct State {
    /// Bytes of files that were given.
    given: usize,
    questions: usize,
    /// A file of which every byte is given changed.
    damaged: Option<&'static str>,
    /// Whether it gives files as a whole alone.
    whole: bool,
    /// Answers that fail before one does not: with an error, or cut short, in turn.
    failures: usize,
}

/// A server of the files below a folder, until the test ends.
struct Server {
    folder: TempDir,
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/at/s", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let (root, shared) = (folder.path().to_path_buf(), Arc::clone(&state));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, shared) = (root.clone(), Arc::clone(&shared));
                // Who asked may be gone.
                std::thread::spawn(move || answer(&root, &shared, stream.ok()?).ok());
            }
        });
        Self {
            folder,
            address,
            state,
        }
    }

    /// The folder of the store that it gives.
    fn store(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn program(&self, store: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        command
            .args(["--store", store])
            .args(words)
            .env("POLYSEMA_CACHE", self.cache())
            .env_remove("POLYSEMA_CACHE_LIMIT")
            .stdin(Stdio::null());
        command
    }

    fn ask(&self, sql: &str) -> Result<String, String> {
        said(self.program(&self.address, &["-c", sql]).output())
    }

    fn here(&self, sql: &str) -> String {
        let store = self.store().display().to_string();
        said(self.program(&store, &["-c", sql]).output()).expect("an answer")
    }

    fn ingest(&self, documents: usize) {
        let (model, corpus) = (
            root("tests/data/demo/model"),
            root("tests/data/demo/corpus.jsonl"),
        );
        self.here(&format!(
            "SELECT * FROM ingest('demo', '{}', '{}', {{max_documents: {documents}, replace: true}})",
            model.display(),
            corpus.display()
        ));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

/// Answers one question of a connection.
fn answer(root: &Path, state: &Mutex<State>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = first.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("range: bytes=") {
            let (from, to) = bytes.split_once('-').expect("a range");
            range = Some((
                from.parse::<usize>().expect("a number"),
                to.parse::<usize>().expect("a number"),
            ));
        }
    }
    let file = path
        .strip_prefix("/at/")
        .map(|path| fs::read(root.join(path)));
    let Some(Ok(mut file)) = file else {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    let mut told = state.lock().expect("no panic");
    told.questions += 1;
    if told.damaged.is_some_and(|name| path.ends_with(name)) {
        file.iter_mut().for_each(|byte| *byte ^= 0x10);
    }
    let size = file.len();
    let (status, body) = match range.filter(|_| !told.whole) {
        None => ("200 OK", file),
        Some((from, to)) => (
            "206 Partial Content",
            file[from..=to.min(size - 1)].to_vec(),
        ),
    };
    let failing = told.failures;
    told.failures = failing.saturating_sub(1);
    let (status, length, body) = match (failing, method) {
        (0, "HEAD") => (status, body.len(), vec![]),
        (0, _) => (status, body.len(), body),
        (n, _) if n.is_multiple_of(2) => ("503 Service Unavailable", 0, vec![]),
        _ => (status, body.len(), body[..body.len() / 2].to_vec()),
    };
    told.given += body.len();
    drop(told);
    stream.write_all(
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
            .as_bytes(),
    )?;
    stream.write_all(&body)
}

#[test]
fn questions_have_the_answers_they_have_here() {
    let server = Server::new();
    server.ingest(200);
    server.here(
        "SET polysema.run = 'demo'; SELECT * FROM train_sae('s', 0, {d_sae: 32, batch_size: 32, epochs: 1})",
    );
    let part = "SELECT * FROM demo.feature_clusters(2, 113)";
    let expected = server.here(part);
    assert_eq!(server.ask(part), Ok(expected.clone()));
    let size: u64 = fs::read_dir(server.store().join("runs/demo").join(generation(&server)))
        .expect("a folder")
        .map(|file| file.expect("a file").metadata().expect("a file").len())
        .sum();
    let given = std::mem::take(&mut server.state().given);
    assert!(given as u64 * 5 < size, "{given} bytes of {size}");
    // Again nothing but what the store is.
    std::mem::take(&mut server.state().questions);
    assert_eq!(server.ask(part), Ok(expected));
    assert_eq!(server.state().questions, 3);
    for sql in [
        "SELECT run, problem FROM polysema.info.runs",
        "SELECT * FROM demo.neuron_polysemanticity() ORDER BY layer, neuron",
        "SELECT count(*), sum(pos), max(activation) FROM demo.examples",
        "SELECT layer, neuron, example, token, window_tokens, window_activations FROM demo.examples WHERE neuron < 9",
        "SELECT * FROM demo.documents",
        "SELECT * FROM demo.histograms WHERE layer = 1 AND neuron = 5",
        "SELECT layer, neuron, vector_norm(w_in), vector_norm(w_out) FROM demo.neurons WHERE layer = 3",
        "SELECT * FROM demo.similar_features(1, 20, 0)",
        "SELECT name, d_sae, steps, mse FROM polysema.info.saes",
        "SELECT step, loss FROM polysema.info.sae_training",
        "SELECT sae_encode('s', pre_mlp) FROM demo.examples WHERE layer = 0 AND neuron = 0",
    ] {
        assert_eq!(server.ask(sql), Ok(server.here(sql)), "{sql}");
    }
}

fn generation(server: &Server) -> String {
    let run = fs::read_dir(server.store().join("runs/demo")).expect("a folder");
    let names = run.map(|entry| {
        entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a name")
    });
    names
        .into_iter()
        .find(|name| name.starts_with("gen-"))
        .expect("a generation")
}

#[test]
fn what_was_not_written_is_no_answer() {
    let server = Server::new();
    server.ingest(100);
    let sql = "SELECT count(*), sum(pos), max(activation) FROM demo.examples WHERE layer = 2";
    for file in [
        "store.json",
        "runs.json",
        "manifest.json",
        "examples-2.arrow",
    ] {
        server.state().damaged = Some(file);
        let error = server.ask(sql).expect_err("damaged");
        assert!(error.contains(file), "{file}: {error}");
    }
    server.state().damaged = None;
    let expected = server.here(sql);
    assert_eq!(server.ask(sql), Ok(expected.clone()));
    // Nor is what someone else has changed of what was read before.
    let cached = fs::read_dir(server.cache())
        .expect("a folder")
        .next()
        .expect("a store")
        .expect("a store");
    let file = cached
        .path()
        .join("runs/demo")
        .join(generation(&server))
        .join("examples-2.arrow");
    let whole = fs::read(&file).expect("a file");
    fs::write(&file, vec![7; whole.len()]).expect("a file");
    assert_eq!(server.ask(sql), Ok(expected.clone()), "read anew");
    server.state().damaged = Some("examples-2.arrow");
    fs::write(&file, vec![7; whole.len()]).expect("a file");
    assert!(server.ask(sql).is_err());
    server.state().damaged = None;
    // A message that was given changed, behind an end that was not.
    server.state().damaged = None;
    let mut changed = whole.clone();
    changed[1000..5000].fill(9);
    fs::write(&file, &changed).expect("a file");
    server.state().damaged = Some("examples-2.arrow");
    let error = server.ask(sql).expect_err("damaged");
    assert!(error.contains("have another checksum"), "{error}");
    server.state().damaged = None;
    assert_eq!(server.ask(sql), Ok(expected));
}

#[test]
fn a_server_that_fails_is_asked_again_and_one_that_cannot_help_is_named() {
    let server = Server::new();
    server.ingest(100);
    let sql = "SELECT count(*), sum(pos) FROM demo.examples WHERE layer = 1";
    let expected = server.here(sql);
    // One fails once, one is cut.
    server.state().failures = 2;
    assert_eq!(server.ask(sql), Ok(expected.clone()));
    server.state().failures = 3;
    let error = server.ask(sql).expect_err("fails too often");
    assert!(
        error.contains("/at/s/store.json is required, got"),
        "{error}"
    );
    fs::remove_dir_all(server.cache()).expect("a folder");
    server.state().failures = 0;
    server.state().whole = true;
    let error = server.ask(sql).expect_err("no parts");
    assert!(
        error.contains("a server that gives parts of files is required (Accept-Ranges: bytes)"),
        "{error}"
    );
    server.state().whole = false;
    let bounded = server
        .program(&server.address, &["-c", sql])
        .env("POLYSEMA_CACHE_LIMIT", "20KiB")
        .output();
    let error = said(bounded).expect_err("no room");
    assert!(
        error.contains("got POLYSEMA_CACHE_LIMIT of 20480"),
        "{error}"
    );
    assert_eq!(server.ask(sql), Ok(expected));
    let nowhere = server.address.replace("/at/s", "/at/other");
    for (store, said_of_it) in [
        (nowhere.as_str(), "store.json of"),
        ("http://127.0.0.1:1/s", "got no connection"),
        (
            "ftp://a.example/s",
            "a folder, or the address http(s)://HOST/PATH",
        ),
    ] {
        let error = said(server.program(store, &["-c", sql]).output()).expect_err("refused");
        assert!(error.contains(said_of_it), "{error}");
    }
}

#[test]
fn nothing_changes_it_and_its_changes_are_seen_when_it_is_opened() {
    let server = Server::new();
    server.ingest(100);
    let ask = |sql: &str| server.ask(sql).expect_err("refused");
    for sql in [
        "SELECT * FROM ingest('other', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 5})",
        "SELECT * FROM drop_run('demo')",
        "CREATE TABLE notes.mine AS SELECT 1 AS a",
        "CREATE SCHEMA notes",
        "SET polysema.run = 'demo'; SELECT * FROM train_sae('s', 0, {d_sae: 32, epochs: 1})",
    ] {
        let error = ask(sql);
        let required = "a store on this machine is required to change it, got http://127.0.0.1:";
        assert!(error.contains(required), "{sql}: {error}");
    }
    let error = ask("SELECT * FROM other.neurons");
    assert!(
        error.contains("/at/s/") && error.contains("demo"),
        "{error}"
    );
    let checked = said(server.program(&server.address, &["check"]).output()).expect_err("refused");
    assert!(
        checked.contains("a store on this machine is required to check"),
        "{checked}"
    );
    // What is here of it is no store that can be changed either.
    let cached = fs::read_dir(server.cache())
        .expect("a folder")
        .next()
        .expect("a store")
        .expect("a store");
    let cached = cached.path().display().to_string();
    let error = said(
        server
            .program(&cached, &["-c", "SELECT * FROM drop_run('demo')"])
            .output(),
    );
    assert!(error.expect_err("refused").contains("is read only"));
    // A session that is open while the run is replaced: what it has is an answer, what it has not is an error.
    let count = |layer: usize| {
        format!("SELECT count(*) AS n FROM demo.examples WHERE layer = {layer} AND pos >= 0")
    };
    let go = server.folder.path().join("go");
    let pause = format!("\\o '| until [ -e {} ]; do sleep 0.1; done'", go.display());
    let statements = [&count(1), &pause, "\\o", &count(1), &count(3)];
    let words = statements.map(|statement| ["-c", statement]).concat();
    let mut open = server.program(&server.address, &words);
    let open = open.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut open = open.expect("the program starts");
    let mut read = [0; 1];
    let out = open.stdout.as_mut().expect("a pipe");
    out.read_exact(&mut read).expect("an answer");
    // What a replaced run had goes with the replacement after it.
    server.ingest(61);
    server.ingest(60);
    fs::write(go, "").expect("a file");
    let ended = open.wait_with_output().expect("a child");
    let (out, err) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    let mut answers = out
        .lines()
        .filter(|line| line.trim().parse::<u64>().is_ok());
    let first = answers.next().expect("an answer");
    assert_eq!(answers.collect::<Vec<_>>(), [first], "{out}{err}");
    assert!(
        err.contains("the store was changed since, open it again"),
        "{err}"
    );
    let sql = "SELECT count(*), sum(pos) FROM demo.examples";
    assert_eq!(server.ask(sql), Ok(server.here(sql)));
    server.here("SELECT * FROM drop_run('demo')");
    assert!(server.ask(sql).is_err());
    assert_eq!(
        server.ask("SELECT run, problem FROM polysema.info.runs"),
        Ok(server.here("SELECT run, problem FROM polysema.info.runs"))
    );
}
