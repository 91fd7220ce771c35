//! What the program is built from. One number for what computes the relations that a store caches: the sources of the
//! kernels and of the plugin, and the versions they are built with; a changed kernel then finds none of the old rows. One
//! more for what a model's passes compute. And the commit, which `polysema --version` says.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Files and folders below the root.
const SOURCES: [&str; 3] = ["kernels/src", "udfs/src", "Cargo.lock"];
/// What computes, beside those, the rows of a model's passes that are kept.
pub const PASSES: [&str; 3] = [
    "src/models",
    "src/functions/layer_reader.rs",
    "src/functions/model/token_importance.rs",
];

fn main() {
    // What cargo-fuzz sets: `src/fuzzing.rs` is for it alone.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    let root = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    for (name, sources) in [("COMPUTED", &SOURCES), ("PASSED", &PASSES)] {
        for source in sources {
            println!("cargo::rerun-if-changed={source}");
        }
        match hash_of(&root, sources) {
            Ok(hash) => println!("cargo::rustc-env=POLYSEMA_{name}_BY={hash}"),
            Err(error) => {
                println!("cargo::error=the sources of {sources:?} are required, got {error}")
            }
        }
    }
    println!("cargo::rustc-env=POLYSEMA_BUILT_FROM={}", built_from(&root));
}

/// The commit. A development build does not say it: each commit would compile and link everything again.
fn built_from(root: &Path) -> String {
    if env::var("PROFILE").as_deref() != Ok("release") {
        return "development build".to_string();
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(root)
            .args(arguments)
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout)
            .ok()
            .map(|text| text.trim().to_string())
    };
    // A package holds the commit in a file.
    let package = fs::read_to_string(root.join(".cargo_vcs_info.json"));
    if let Some(hash) = package.ok().and_then(|text| packaged_commit(&text)) {
        return format!("commit {hash}");
    }
    for watched in ["HEAD", "logs/HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", watched]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=src");
    match git(&[
        "describe",
        "--always",
        "--dirty",
        "--abbrev=9",
        "--exclude=*",
    ]) {
        Some(commit) => format!("commit {commit}"),
        None => "no commit known".to_string(),
    }
}

/// The first nine digits of the hash in a package's `.cargo_vcs_info.json`.
fn packaged_commit(text: &str) -> Option<String> {
    let (_, hash) = text.split_once("\"sha1\"")?;
    let hash: String = hash
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(9)
        .collect();
    (hash.len() == 9).then_some(hash)
}

/// The number of what computes relations.
#[allow(dead_code, reason = "a test asks for it")]
pub fn computed_by(root: &Path) -> io::Result<String> {
    hash_of(root, &SOURCES)
}

/// The number of some sources, in hexadecimal digits.
pub fn hash_of(root: &Path, sources: &[&str]) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        add(&root.join(source), &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Adds a file, or those of a folder by name; nothing where there is none.
fn add(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            path.file_name().hash(hasher);
            add(&path, hasher)?;
        }
    } else if path.exists() {
        fs::read(path)?.hash(hasher);
    }
    Ok(())
}
