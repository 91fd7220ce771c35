//! Files that never end, wait for ever or say they are larger than any memory: each is refused by name, and nothing is
//! allocated for what it claims. Over 400 lines, since one allocator watches every reader.
#![cfg(unix)]

mod database;
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use database::{Db, root};
use flate2::Compression;
use flate2::write::GzEncoder;
use support::{Sizes, TINY, gpt2};

/// The largest block that was asked for.
static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// Readers take a file of up to 256 MiB whole, and a line of as many; growing doubles.
const MOST: usize = 1 << 29;
const GIANT: u64 = 10 << 30;

struct Watched;

// SAFETY: the system's allocator, with the largest size noted beside it.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

struct Desk {
    db: Db,
}

impl Desk {
    async fn new() -> Self {
        Self {
            db: Db::new().await,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.db.folder().join(name)
    }

    /// A pipe that nobody writes to, or a link to a device without end, in place of what is there.
    fn endless(&self, name: &str, pipe: bool) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        match pipe {
            true => rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("a pipe"),
            false => symlink("/dev/zero", &path).expect("a link"),
        }
        path
    }

    /// A file that begins so and goes on with zeros that take no place on the disk.
    fn sparse(&self, name: &str, beginning: &[u8], size: u64) -> PathBuf {
        let path = self.path(name);
        let mut file = File::create(&path).expect("a writable folder");
        file.write_all(beginning).expect("a writable folder");
        file.set_len(size).expect("a sparse file");
        path
    }

    /// A folder that is a model.
    fn model(&self) -> PathBuf {
        let folder = self.path("model");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a writable folder");
        let model = gpt2(&Sizes { n_ctx: 128, ..TINY });
        model.write(&folder);
        model.write_tokenizer(&folder, &["A", "B", "C"]);
        folder
    }

    async fn refuses(&self, sql: &str, part: &str) {
        let message = self.db.refused(sql).await;
        assert!(message.contains(part), "{sql}\n{message:?} names {part:?}");
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(largest <= MOST, "{sql}\n{message}\n{largest} bytes at once");
    }

    async fn refuses_corpus(&self, model: &Path, corpus: &Path, part: &str) {
        let (model, corpus) = (model.display(), corpus.display());
        let sql = format!("SELECT * FROM ingest('r', '{model}', '{corpus}')");
        self.refuses(&sql, part).await;
    }
}

const NO_FILE: &str = "a file is required, got a device or pipe";

#[tokio::test(flavor = "multi_thread")]
async fn corpora() {
    let desk = Desk::new().await;
    let model = desk.model();
    for pipe in [true, false] {
        for name in [
            "a.txt",
            "a.jsonl",
            "a.parquet",
            "a-idx3-ubyte",
            "b-idx3-ubyte.gz",
        ] {
            let corpus = desk.endless(name, pipe);
            desk.refuses_corpus(&model, &corpus, NO_FILE).await;
        }
    }
    let ending = "a corpus of .txt, .jsonl, .ndjson, .json, .csv";
    desk.refuses_corpus(&model, Path::new("/dev/zero"), ending)
        .await;
    let zipped = desk.sparse("a.jsonl.gz", b"\x1f\x8b", 100);
    let whole = "a whole gzip file is required, got one that is cut or damaged";
    desk.refuses_corpus(&model, &zipped, whole).await;
    for (name, beginning, part) in [
        (
            "b.txt",
            &b""[..],
            "a text that can be cut between two words every 268435456 bytes is required",
        ),
        (
            "b.jsonl",
            b"",
            "line 1: a line of at most 268435456 bytes is required, got more",
        ),
        (
            "b.json",
            b"[",
            "row 1: a line of at most 268435456 bytes is required, got more",
        ),
        (
            "b.csv",
            b"text\n",
            "row 1: at most 268435456 bytes are required, got more",
        ),
        ("b.parquet", b"PAR1", "b.parquet"),
        ("b.arrow", b"ARROW1\0\0", "its end is missing"),
        (
            "c.arrow",
            b"\xff\xff\xff\xff\0\0\0\x7f",
            "a message of at most 67108864 bytes is required, got 2130706432",
        ),
        ("d.arrow", b"", "it has no schema"),
    ] {
        let corpus = desk.sparse(name, beginning, GIANT);
        desk.refuses_corpus(&model, &corpus, part).await;
    }
}

/// An idx file's header.
fn idx(dims: &[u32]) -> Vec<u8> {
    let mut header = vec![0, 0, 8, dims.len() as u8];
    header.extend(dims.iter().flat_map(|n| n.to_be_bytes()));
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn images() {
    let desk = Desk::new().await;
    let model = root("tests/data/mnist-tiny/mlp.safetensors");
    let zipped = |name: &str, header: &[u8], zeros: usize| {
        let file = File::create(desk.path(name)).expect("a writable folder");
        let mut encoder = GzEncoder::new(file, Compression::fast());
        encoder.write_all(header).expect("a writable folder");
        for _ in 0..zeros >> 20 {
            encoder.write_all(&[0; 1 << 20]).expect("a writable folder");
        }
        encoder.finish().expect("a writable folder");
        desk.path(name)
    };
    // More than there may be, and more than the file can hold, and more than it says.
    let giant = idx(&[13_695_686, 28, 28]);
    let larger = idx(&[1_000_000, 28, 28]);
    let two = idx(&[2, 28, 28]);
    let at_most =
        "at most 2147483647 values are required, got an array of shape [13695686, 28, 28]";
    let sparse = desk.sparse("a.idx3-ubyte", &giant, GIANT);
    desk.refuses_corpus(&model, &sparse, at_most).await;
    desk.refuses_corpus(&model, &zipped("a.idx3-ubyte.gz", &giant, 0), at_most)
        .await;
    let lies = "784000000 values of an array of shape [1000000, 28, 28] are required, got";
    desk.refuses_corpus(&model, &zipped("b.idx3-ubyte.gz", &larger, 0), lies)
        .await;
    let bomb = zipped("c.idx3-ubyte.gz", &two, 64 << 20);
    let longer = "1568 values of an array of shape [2, 28, 28] are required, got at least 1569";
    desk.refuses_corpus(&model, &bomb, longer).await;
    // The labels beside good images.
    let folder = desk.path("images");
    fs::create_dir(&folder).expect("a writable folder");
    let names = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"];
    fs::copy(
        root("tests/data/mnist-tiny").join(names[0]),
        folder.join(names[0]),
    )
    .expect("a copy");
    for pipe in [true, false] {
        desk.endless(&format!("images/{}", names[1]), pipe);
        let (model, folder) = (model.display(), folder.display());
        for sql in [
            format!("SELECT * FROM ingest('r', '{model}', '{folder}', {{split: 'train'}})"),
            format!("SELECT * FROM train_mlp('m', '{folder}')"),
        ] {
            desk.refuses(&sql, NO_FILE).await;
        }
    }
}

/// The beginning of a safetensors file with this header.
fn safetensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn models() {
    let desk = Desk::new().await;
    let corpus = desk.path("a.txt");
    fs::write(&corpus, "ABC").expect("a writable folder");
    for pipe in [true, false] {
        let alone = desk.endless("x.safetensors", pipe);
        desk.refuses_corpus(&alone, &corpus, "x.safetensors").await;
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            let model = desk.model();
            desk.endless(&format!("model/{name}"), pipe);
            desk.refuses_corpus(&model, &corpus, NO_FILE).await;
        }
    }
    desk.refuses_corpus(Path::new("/dev/zero"), &corpus, "/dev/zero")
        .await;
    for name in ["config.json", "tokenizer.json"] {
        let model = desk.model();
        desk.sparse(&format!("model/{name}"), b"{", 3 << 30);
        let part = "at most 268435456 bytes are required, got 3221225472";
        desk.refuses_corpus(&model, &corpus, part).await;
    }
    let wte = |n: u64| {
        let end = n * 4 * 8;
        let header = format!(
            r#"{{"wte.weight": {{"dtype": "F32", "shape": [{n}, 8], "data_offsets": [0, {end}]}}}}"#
        );
        safetensors(&header)
    };
    let claims = wte(1 << 28);
    let size = claims.len() as u64 + (1 << 28) * 32;
    for (beginning, size, part) in [
        (
            claims.clone(),
            claims.len() as u64,
            "a whole safetensors file is required",
        ),
        (
            u64::MAX.to_le_bytes().to_vec(),
            GIANT,
            "a whole safetensors file is required",
        ),
        (
            (1_u64 << 33).to_le_bytes().to_vec(),
            GIANT,
            "a whole safetensors file is required",
        ),
        (claims, size, "at most as many layers as tensors"),
    ] {
        let model = desk.model();
        desk.sparse("model/model.safetensors", &beginning, size);
        desk.refuses_corpus(&model, &corpus, part).await;
    }
}

/// A `.npy` file's header.
fn npy(descr: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let length = (text.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length, text.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays() {
    let desk = Desk::new().await;
    let folder = desk.path("arrays");
    let sql = format!(
        "SELECT * FROM import_run('r', '{}', {{activation_function: 'relu'}})",
        folder.display()
    );
    let reset = || {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a writable folder");
        for entry in fs::read_dir(root("tests/data/import")).expect("the folder") {
            let from = entry.expect("a file").path();
            fs::copy(&from, folder.join(from.file_name().expect("a name"))).expect("a copy");
        }
    };
    for pipe in [true, false] {
        for name in [
            "0.h.npy",
            "doc_id.npy",
            "layer_1.safetensors",
            "tokens.jsonl",
        ] {
            reset();
            desk.endless(&format!("arrays/{name}"), pipe);
            desk.refuses(&sql, NO_FILE).await;
        }
    }
    // The layer has five inputs and seven neurons.
    let rows = GIANT / 20;
    for (name, descr, shape, size, part) in [
        ("0.h", "<f4", "1000000000, 2560", 0, "10240000000"),
        (
            "0.h",
            "<f4",
            "18446744073709551615, 4",
            0,
            "more bytes are required",
        ),
        (
            "0.h",
            "<f4",
            &format!("{rows}, 5"),
            GIANT,
            "the 536870912 rows of 0.h are required, got 36",
        ),
        (
            "0.w_in",
            "<f4",
            &format!("{rows}, 5"),
            GIANT,
            "at most 2147483647 numbers are required, got 2684354560",
        ),
        (
            "doc_id",
            "<i8",
            &format!("{}", GIANT / 8),
            GIANT,
            "are required, got",
        ),
        ("0.h", "<f4", "1152921504606846976, 0", 0, "0.h"),
    ] {
        reset();
        let header = npy(descr, shape);
        let size = header.len() as u64 + size;
        desk.sparse(&format!("arrays/{name}.npy"), &header, size);
        desk.refuses(&sql, part).await;
    }
    reset();
    desk.sparse("arrays/tokens.jsonl", b"\"a\"\n", GIANT);
    let line = "a token of at most 1048576 bytes is required, got more in line 2";
    desk.refuses(&sql, line).await;
}

/// A ZIP archive of entries that are not packed, each as long as it is said to be. (APPNOTE.TXT 6.3.3, 4.3 and 4.5.3)
fn claiming(entries: &[(&str, &[u8], u64)]) -> Vec<u8> {
    let (mut archive, mut directory) = (vec![], vec![]);
    for (name, bytes, size) in entries {
        let at = archive.len() as u32;
        let words = |words: &[u16]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        // Version, flags, method, time and day; the checksum; two sizes that stand in the extra field.
        let mut common = words(&[45, 0, 0, 0, 33]);
        common.extend(crc32fast::hash(bytes).to_le_bytes());
        common.extend([255; 8]);
        common.extend(words(&[name.len() as u16, 20]));
        let mut extra = words(&[1, 16]);
        extra.extend([size.to_le_bytes(), size.to_le_bytes()].concat());
        let parts = [b"PK\x03\x04", &*common, name.as_bytes(), &extra, bytes];
        archive.extend(parts.concat());
        let mut places = vec![0; 10];
        places.extend(at.to_le_bytes());
        let parts = [
            b"PK\x01\x02\x2d\x00",
            &*common,
            &places,
            name.as_bytes(),
            &extra,
        ];
        directory.extend(parts.concat());
    }
    let n = (entries.len() as u16).to_le_bytes();
    let sizes = [directory.len(), archive.len()].map(|n| (n as u32).to_le_bytes());
    let end = [b"PK\x05\x06\0\0\0\0", &n[..], &n, &sizes.concat(), &[0; 2]].concat();
    [archive, directory, end].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn autoencoders() {
    let desk = Desk::new().await;
    desk.db
        .query(&format!(
            "SELECT * FROM ingest('r', '{}', '{}', {{max_documents: 2}})",
            root("tests/data/demo/model").display(),
            root("tests/data/demo/corpus.jsonl").display()
        ))
        .await;
    let import = |path: &Path| format!("SELECT * FROM import_sae('s', '{}', 0)", path.display());
    let dev = import(Path::new("/dev/zero"));
    desk.refuses(&dev, "/dev/zero").await;
    let folder = desk.path("saelens");
    let reset = || {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a writable folder");
        let cfg = r#"{"architecture": "standard", "d_in": 128, "d_sae": 4, "dtype": "float32", "apply_b_dec_to_input": true,
            "normalize_activations": "none", "metadata": {"sae_lens_version": "6.0.0"}}"#;
        fs::write(folder.join("cfg.json"), cfg).expect("a writable folder");
        let weights = "sae_weights.safetensors";
        let from = root("tests/data/sae/sites").join(weights);
        fs::copy(from, folder.join(weights)).expect("a copy");
    };
    for pipe in [true, false] {
        for name in ["x.pt", "x.safetensors"] {
            let path = desk.endless(name, pipe);
            desk.refuses(&import(&path), name).await;
        }
        for name in ["cfg.json", "sae_weights.safetensors"] {
            reset();
            desk.endless(&format!("saelens/{name}"), pipe);
            desk.refuses(&import(&folder), NO_FILE).await;
        }
    }
    reset();
    desk.sparse("saelens/cfg.json", b"{", GIANT);
    let part = "at most 268435456 bytes are required, got 10737418240";
    desk.refuses(&import(&folder), part).await;
    reset();
    let cfg = fs::read_to_string(folder.join("cfg.json")).expect("a configuration");
    let cfg = cfg.replace("\"d_sae\": 4", "\"d_sae\": 1000000000000");
    fs::write(folder.join("cfg.json"), cfg).expect("a writable folder");
    desk.refuses(&import(&folder), "1000000000000").await;
    let torch = desk.sparse("y.pt", b"PK\x03\x04", GIANT);
    desk.refuses(&import(&torch), "torch's zip container is required")
        .await;
    // Four billion numbers, by the archive's directory.
    let n = 1_u64 << 32;
    let header = npy("<f4", &format!("{}, 4", n / 4));
    let size = header.len() as u64 + 4 * n;
    fs::write(
        desk.path("params.npz"),
        claiming(&[("W_enc.npy", &header, size)]),
    )
    .expect("a file");
    desk.refuses(&import(&desk.path("params.npz")), "bytes within the file's")
        .await;
    let mut pickle =
        b"\x80\x02}X\x08\x00\x00\x000.weightctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend(b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x00\x00\x00\x40tQ");
    pickle.extend(b"K\x00J\x00\x00\x00\x40\x85K\x01\x85\x89}tRs.");
    let entries = [
        ("data.pkl", &*pickle, pickle.len() as u64),
        ("data/0", &[], n),
    ];
    fs::write(desk.path("z.pt"), claiming(&entries)).expect("a file");
    desk.refuses(&import(&desk.path("z.pt")), "bytes within the file's")
        .await;
    let claims = r#"{"0.weight": {"dtype": "F32", "shape": [100000000, 128], "data_offsets": [0, 51200000000]}}"#;
    let bare = desk.sparse("y.safetensors", &safetensors(claims), 1000);
    desk.refuses(&import(&bare), "a whole safetensors file is required")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options() {
    let desk = Desk::new().await;
    let images = root("tests/data/mnist-tiny");
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    let (images, model, corpus) = (images.display(), model.display(), corpus.display());
    desk.db
        .query(&format!(
            "SELECT * FROM ingest('r', '{model}', '{corpus}', {{max_documents: 2}})"
        ))
        .await;
    for huge in ["1e15", "1000000000000000", "18446744073709551615", "1e300"] {
        for option in ["hidden: [64, HUGE]", "batch_size: HUGE"] {
            let option = option.replace("HUGE", huge);
            let sql = format!("SELECT * FROM train_mlp('m', '{images}', {{{option}}})");
            let name = option.split(':').next().expect("a name");
            desk.refuses(&sql, &format!("train_mlp: {name} must")).await;
        }
        for name in [
            "context",
            "batch_size",
            "max_examples",
            "window",
            "min_tokens",
            "max_documents",
        ] {
            let sql =
                format!("SELECT * FROM ingest('a', '{model}', '{corpus}', {{{name}: {huge}}})");
            desk.refuses(&sql, &format!("ingest: {name} must")).await;
        }
        for name in ["d_sae", "batch_size"] {
            let sql = format!("SELECT * FROM train_sae('s', 0, {{{name}: {huge}}})");
            desk.refuses(&sql, &format!("{name} must")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_targets() {
    let desk = Desk::new().await;
    for pipe in [true, false] {
        for kind in ["csv", "json", "parquet", "arrow"] {
            let path = desk.endless(&format!("t.{kind}"), pipe);
            let create = format!(
                "CREATE EXTERNAL TABLE t STORED AS {kind} LOCATION '{}'",
                path.display()
            );
            desk.refuses(&create, NO_FILE).await;
            let create = create.replace("TABLE t", "TABLE t (x INT)");
            // Some formats are read when they are asked.
            if desk.db.try_query(&create).await.is_ok() {
                desk.refuses("SELECT count(x) FROM t", NO_FILE).await;
                desk.db.query("DROP TABLE t").await;
            }
            // A writer would take the place of the pipe, or of the device.
            let copy = format!("COPY (SELECT 1 AS x) TO '{}'", path.display());
            let part = "COPY: a file or a new name is required, got a device or pipe, ";
            desk.refuses(&copy, part).await;
            let copy = format!("COPY (SELECT 1 AS x) TO '/dev/null' STORED AS {kind}");
            desk.refuses(&copy, "/dev/null").await;
        }
    }
}
