//! Names of the Hugging Face hub: the cache that `huggingface_hub` lays out, read as it lies, and downloads into it from a
//! server on this machine. Over 400 lines: one list of cases over one fixture.

mod certificates;
mod interrupted;
mod server;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use server::{COMMIT, Hub, git_hash, sha256};
use tempfile::TempDir;

/// A store and a cache of their own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("hub")
    }

    /// The program with the words of a command line.
    fn command(&self, words: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        for name in [
            "HF_HUB_CACHE",
            "HF_TOKEN",
            "HF_ENDPOINT",
            "HF_HUB_OFFLINE",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ] {
            command.env_remove(name);
        }
        command
            .env("HF_HOME", self.0.path())
            .envs(variables.iter().copied());
        command
            .arg("--store")
            .arg(self.0.path().join("s"))
            .args(words);
        command
    }

    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(words, variables).output().unwrap()
    }

    /// Starts it, to be looked at while it runs.
    fn start(&self, words: &[&str], variables: &[(&str, &str)]) -> Child {
        let mut command = self.command(words, variables);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Where a download of some bytes is before it is whole.
    fn incomplete(&self, bytes: &[u8]) -> PathBuf {
        let blobs = self.cache().join("models--tiny--demo/blobs");
        blobs.join(format!("{}.incomplete", sha256(bytes)))
    }

    fn snapshot(&self) -> PathBuf {
        let repo = self.cache().join("models--tiny--demo");
        repo.join("snapshots").join(COMMIT)
    }

    fn succeeds(&self, words: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.run(words, variables);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, words: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.run(words, variables);
        assert!(!output.status.success(), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn manifest(&self, run: &str) -> Value {
        let path = self.0.path().join("s/runs").join(run).join("manifest.json");
        let whole: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        whole["facts"].clone()
    }

    /// Lays files out as `huggingface_hub` does: blobs, and links to them.
    fn lay(&self, repo: &str, files: &[(&str, &Path)]) {
        let folder = self.cache().join(repo);
        let blobs = folder.join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), COMMIT).unwrap();
        for (i, (name, source)) in files.iter().enumerate() {
            let blob = format!("{i:040x}");
            fs::copy(source, blobs.join(&blob)).unwrap();
            let link = folder.join("snapshots").join(COMMIT).join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let up = "../".repeat(name.split('/').count() + 1);
            symlink(format!("{up}blobs/{blob}"), link).unwrap();
        }
    }
}

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/demo")
        .join(name)
}

const EXAMPLES: &str = "SELECT * FROM examples ORDER BY layer, neuron, example";

#[test]
fn a_cache_is_read_as_the_folder_it_stands_for() {
    let place = Place::new();
    let names = ["config.json", "model.safetensors", "tokenizer.json"];
    let sources = names.map(|name| demo("model").join(name));
    let files: Vec<_> = names
        .into_iter()
        .zip(sources.iter().map(PathBuf::as_path))
        .collect();
    place.lay("models--tiny--demo", &files);
    let corpus = demo("corpus.jsonl");
    place.lay(
        "datasets--tiny--texts",
        &[
            ("data/a.jsonl", &corpus),
            ("README.md", &demo("model/config.json")),
        ],
    );
    let offline = [("HF_HUB_OFFLINE", "1")];
    let options = "max_documents=24";
    place.succeeds(
        &[
            "ingest",
            "hub",
            "hf:tiny/demo",
            "hf:datasets/tiny/texts",
            options,
        ],
        &offline,
    );
    let model = demo("model");
    let (model, corpus) = (model.to_str().unwrap(), corpus.to_str().unwrap());
    place.succeeds(&["ingest", "local", model, corpus, options], &[]);
    let rows = |run: &str| place.succeeds(&["--run", run, "-c", EXAMPLES], &[]);
    assert_eq!(rows("hub"), rows("local"));
    let (hub, local) = (place.manifest("hub"), place.manifest("local"));
    for part in ["model", "corpus"] {
        assert_eq!(hub[part]["hash"], local[part]["hash"]);
    }
    assert_eq!(hub["model"]["written"], "hf:tiny/demo");
    assert_eq!(hub["model"]["path"], format!("hf:tiny/demo@{COMMIT}"));
    assert_eq!(
        hub["corpus"]["path"],
        format!("hf:datasets/tiny/texts@{COMMIT}")
    );
    assert_eq!(local["model"].get("written"), None);
    // What a manifest names is found again, and so are a place, a pattern and a file.
    let metrics = "SELECT count(*) > 0 FROM activations('hf:tiny/demo@main', 'hf:datasets/tiny/texts/data/*.jsonl', \
                   'blocks.0.mlp.out', {max_documents: 2})";
    assert!(place.succeeds(&["-c", metrics], &offline).contains("true"));
    let train = "SELECT step FROM train_sae('s', 'blocks.0.mlp.out', {d_sae: 8, epochs: 1})";
    place.succeeds(&["--run", "hub", "-c", train], &offline);
}

#[test]
fn what_the_cache_lacks_is_named() {
    let place = Place::new();
    place.lay(
        "models--tiny--demo",
        &[("config.json", &demo("model/config.json"))],
    );
    let offline = [("HF_HUB_OFFLINE", "1")];
    let ingest = |model: &str| place.fails(&["ingest", "r", model, "a.txt"], &offline);
    let shown = place.cache().display().to_string();
    for (model, expected) in [
        ("hf:tiny/other", "its revision main is required"),
        ("hf:tiny/demo@v2", "its revision v2 is required"),
        (
            "hf:tiny/demo",
            "model.safetensors or model.safetensors.index.json",
        ),
        (
            "hf:tiny/demo/a.gguf",
            "a file or folder of it is required, got a.gguf",
        ),
    ] {
        let error = ingest(model);
        let begins = format!("{model} is not in the cache at {shown}, and HF_HUB_OFFLINE is set: ");
        assert!(
            error.contains(&begins) && error.contains(expected),
            "{error}"
        );
    }
    let error = ingest("hf:../demo");
    assert!(error.contains("hf:ORG/NAME[@REVISION][/PATH]"), "{error}");
    let error = ingest("hf:datasets/tiny/texts");
    assert!(error.contains("a model of the hub is required"), "{error}");
}

/// A hub with the demo's model and corpus, and files of theirs that nobody needs.
fn hub() -> Hub {
    hub_of(Hub::new())
}

fn hub_of(hub: Hub) -> Hub {
    let read = |name: &str| fs::read(demo(name)).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        hub.add("models/tiny/demo", name, read(&format!("model/{name}")));
    }
    for name in [
        "README.md",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "flax_model.msgpack",
        "vocab.json",
    ] {
        hub.add("models/tiny/demo", name, name.into());
    }
    hub.add("datasets/tiny/texts", "data/a.jsonl", read("corpus.jsonl"));
    hub.add("datasets/tiny/texts", "README.md", b"# Texts".to_vec());
    hub
}

const MODEL: &str = "hf:tiny/demo";
const TEXTS: &str = "hf:datasets/tiny/texts";

fn ingest<'a>(run: &'a str, model: &'a str) -> [&'a str; 5] {
    ["ingest", run, model, TEXTS, "max_documents=8"]
}

fn blobs(place: &Place, repo: &str) -> Vec<String> {
    let folder = place.cache().join(repo).join("blobs");
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_missing_is_downloaded_once() {
    let (place, hub) = (Place::new(), hub());
    let online = [
        ("HF_ENDPOINT", hub.endpoint.as_str()),
        ("HF_TOKEN", "hf_secret"),
    ];
    hub.set(|state| state.token = Some("hf_secret".into()));
    place.succeeds(&ingest("hub", MODEL), &online);
    let seen = hub.seen();
    // Only what is needed, and the token to the hub alone.
    let files = |host: &str| {
        let of_host = seen
            .iter()
            .filter(|line| line.starts_with(&format!("{host} GET")));
        of_host
            .map(|line| line.split(' ').nth(2).unwrap().rsplit('/').next().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        files("hub"),
        [
            "main",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "main",
            "a.jsonl"
        ]
    );
    let weights = fs::read(demo("model/model.safetensors")).unwrap();
    assert_eq!(files("large"), [sha256(&weights)]);
    for line in &seen {
        assert_eq!(
            line.ends_with(" hf_secret"),
            line.starts_with("hub"),
            "{line}"
        );
    }
    let mut expected = vec![sha256(&weights)];
    expected.extend(
        ["config.json", "tokenizer.json"]
            .map(|name| git_hash(&fs::read(demo("model").join(name)).unwrap())),
    );
    expected.sort();
    assert_eq!(blobs(&place, "models--tiny--demo"), expected);
    // The same as from the folder, and again without a server.
    let (model, corpus) = (demo("model"), demo("corpus.jsonl"));
    let words = [
        "ingest",
        "local",
        model.to_str().unwrap(),
        corpus.to_str().unwrap(),
        "max_documents=8",
    ];
    place.succeeds(&words, &[]);
    hub.set(|state| state.off = true);
    place.succeeds(&ingest("again", MODEL), &online);
    place.succeeds(
        &ingest("pinned", &format!("{MODEL}@{COMMIT}")),
        &[("HF_HUB_OFFLINE", "1")],
    );
    assert_eq!(hub.seen(), [""; 0]);
    let rows = |run: &str| place.succeeds(&["--run", run, "-c", EXAMPLES], &[]);
    for run in ["local", "again", "pinned"] {
        assert_eq!(rows("hub"), rows(run), "{run}");
    }
    let manifest = place.manifest("hub");
    assert_eq!(manifest["model"]["path"], format!("{MODEL}@{COMMIT}"));
    assert_eq!(manifest["corpus"]["written"], TEXTS);
}

#[test]
fn a_download_that_was_cut_goes_on() {
    let (place, hub) = (Place::new(), hub());
    let online = [("HF_ENDPOINT", hub.endpoint.as_str())];
    let weights = fs::read(demo("model/model.safetensors")).unwrap();
    hub.set(|state| state.cut = Some(0));
    let error = place.fails(&ingest("r", MODEL), &online);
    let expected = format!(
        "all of model.safetensors is required, got 0 of {} bytes",
        weights.len()
    );
    assert!(error.contains(&expected), "{error}");
    // Half of it lies there, as after a kill.
    let incomplete = format!("{}.incomplete", sha256(&weights));
    assert!(blobs(&place, "models--tiny--demo").contains(&incomplete));
    let snapshot = place.snapshot();
    assert!(
        snapshot
            .join("model.safetensors")
            .symlink_metadata()
            .is_err()
    );
    let half = weights.len() / 2;
    fs::write(
        place
            .cache()
            .join("models--tiny--demo/blobs")
            .join(&incomplete),
        &weights[..half],
    )
    .unwrap();
    hub.seen();
    // Each connection brings a part.
    hub.set(|state| state.cut = Some(half / 2 + 1));
    place.succeeds(&ingest("r", MODEL), &online);
    let seen = hub.seen();
    let ranges: Vec<_> = seen
        .iter()
        .filter(|line| line.starts_with("large"))
        .collect();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert!(ranges[0].contains(&format!(" {half} ")), "{ranges:?}");
    assert!(
        ranges[1].contains(&format!(" {} ", half + half / 2 + 1)),
        "{ranges:?}"
    );
    assert_eq!(
        fs::read(snapshot.join("model.safetensors")).unwrap(),
        weights
    );
    assert!(!blobs(&place, "models--tiny--demo").contains(&incomplete));
}

#[test]
fn a_gguf_file_is_a_path_of_a_repository() {
    let (place, hub) = (Place::new(), hub());
    let online = [("HF_ENDPOINT", hub.endpoint.as_str())];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gguf/models");
    for name in ["llama.gguf", "gpt2.gguf"] {
        let bytes = fs::read(folder.join(name)).unwrap();
        hub.add("models/tiny/quantized", &format!("f32/{name}"), bytes);
    }
    let call = |run: &str, model: &str| {
        format!(
            "SELECT phase FROM ingest('{run}', '{model}', (SELECT [1, 5, 9, 2] AS ids), {{column: 'ids', context: 8}})"
        )
    };
    let model = "hf:tiny/quantized/f32/llama.gguf";
    place.succeeds(&["-c", &call("hub", model)], &online);
    // Nothing but the file.
    let asked = hub
        .seen()
        .into_iter()
        .filter(|line| line.contains("/resolve/"));
    assert!(asked.into_iter().all(|line| line.contains("llama.gguf")));
    let local = folder.join("llama.gguf");
    place.succeeds(&["-c", &call("local", local.to_str().unwrap())], &[]);
    let rows = |run: &str| place.succeeds(&["--run", run, "-c", EXAMPLES], &[]);
    assert_eq!(rows("hub"), rows("local"));
    let manifest = place.manifest("hub");
    let pinned = format!("hf:tiny/quantized@{COMMIT}/f32/llama.gguf");
    assert_eq!(manifest["model"]["path"], pinned);
    assert_eq!(manifest["model"]["written"], model);
    assert_eq!(manifest["weight_types"], serde_json::json!(["F32"]));
    // Without a path there is no telling which.
    let error = place.fails(&["-c", &call("r", "hf:tiny/quantized")], &online);
    assert!(
        error.contains("config.json or the path of a GGUF file is required, got files f32/gpt2.gguf, f32/llama.gguf"),
        "{error}"
    );
}

#[test]
fn other_bytes_than_the_hash_says_are_not_kept() {
    let (place, hub) = (Place::new(), hub());
    let online = [("HF_ENDPOINT", hub.endpoint.as_str())];
    hub.set(|state| state.damaged = true);
    let error = place.fails(&ingest("r", MODEL), &online);
    assert!(
        error.contains("model.safetensors with the hash") && error.contains("which was removed"),
        "{error}"
    );
    let hash = sha256(&fs::read(demo("model/model.safetensors")).unwrap());
    let left = blobs(&place, "models--tiny--demo");
    assert!(left.iter().all(|name| !name.starts_with(&hash)), "{left:?}");
    hub.set(|state| state.damaged = false);
    place.succeeds(&ingest("r", MODEL), &online);
}

#[test]
fn what_the_hub_does_not_give_is_named() {
    let (place, hub) = (Place::new(), hub());
    let endpoint = hub.endpoint.clone();
    let fails = |model: &str, variables: &[(&str, &str)]| {
        let online = [&[("HF_ENDPOINT", endpoint.as_str())], variables].concat();
        place.fails(&ingest("r", model), &online)
    };
    for (model, expected) in [
        (
            "hf:tiny/none",
            "hf:tiny/none: a repository that exists is required, got none of this name on 127.0.0.1",
        ),
        (
            "hf:tiny/demo@v9",
            "a branch, tag or commit is required, got v9",
        ),
        (
            "hf:tiny/demo/a.gguf",
            "a file or folder of it is required, got a.gguf",
        ),
    ] {
        let error = fails(model, &[]);
        assert!(error.contains(expected), "{error}");
    }
    hub.set(|state| state.token = Some("hf_right".into()));
    let error = fails("hf:tiny/demo@v1", &[("HF_TOKEN", "hf_wrong")]);
    assert!(error.contains("a token that may read it"), "{error}");
    assert!(!error.contains("hf_wrong"), "{error}");
    hub.set(|state| state.off = true);
    let error = fails("hf:tiny/demo@v1", &[]);
    assert!(
        error.contains("an answer of 127.0.0.1 is required, got 503"),
        "{error}"
    );
    hub.seen();
    let error = fails("hf:tiny/demo@v1", &[("HF_HUB_OFFLINE", "1")]);
    assert!(error.contains("and HF_HUB_OFFLINE is set"), "{error}");
    assert_eq!(hub.seen(), [""; 0]);
    let nowhere = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    let error = place.fails(&ingest("r", MODEL), &nowhere);
    assert!(error.contains("got no connection"), "{error}");
}

#[test]
fn an_autoencoder_is_one_folder_of_a_repository() {
    let (place, hub) = (Place::new(), hub());
    let online = [("HF_ENDPOINT", hub.endpoint.as_str())];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sae/saelens-standard");
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        for layer in ["layer_1", "layer_2"] {
            let file = format!("{layer}/{}", entry.file_name().to_str().unwrap());
            hub.add("models/tiny/saes", &file, fs::read(entry.path()).unwrap());
        }
    }
    let import = |path: &str| {
        format!(
            "SELECT phase FROM import_sae('s', '{path}', (SELECT [1.0, 0.0, 0.0, 2.0, 0.5, 0.25] AS vector)) \
             WHERE phase = 'done'"
        )
    };
    place.succeeds(&["-c", &import("hf:tiny/saes/layer_1")], &online);
    let asked = hub
        .seen()
        .into_iter()
        .filter(|line| line.contains("layer_2"));
    assert_eq!(asked.count(), 0);
    let error = place.fails(&["-c", &import("hf:tiny/saes")], &online);
    assert!(error.contains("one of layer_1, layer_2, got 2"), "{error}");
}
