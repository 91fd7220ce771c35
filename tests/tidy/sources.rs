//! The source text that the laws read.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of everything that is compiled.
pub const ALL: [&str; 10] = [
    "src",
    "kernels/src",
    "kernels/tests",
    "udfs/src",
    "tests",
    "udfs/tests",
    "benches",
    "udfs/benches",
    "fuzz/src",
    "fuzz/fuzz_targets",
];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn files_below(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// Every Rust file below the given folders: path from the root, and text.
pub fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for folder in folders {
        files_below(&root().join(folder), "rs", &mut paths);
    }
    paths.sort();
    assert!(!paths.is_empty(), "sources below {folders:?}");
    paths
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(root())
                .expect("below the root")
                .to_string_lossy()
                .replace('\\', "/");
            (name, fs::read_to_string(&path).expect("source is UTF-8"))
        })
        .collect()
}

pub fn refuse(broken: &[String], why: &str) {
    assert!(broken.is_empty(), "{why}:\n  {}", broken.join("\n  "));
}

/// The part of a file before its unit tests.
pub fn product(text: &str) -> &str {
    text.split("\nmod tests").next().unwrap_or(text)
}

/// The sources of a crate without their unit tests, which may name what they like.
pub fn products(base: &str) -> Vec<(String, String)> {
    let all = sources(&[base]).into_iter();
    all.filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, product(&text).to_string()))
        .collect()
}

/// Files of unit tests that lie beside what they test, and the test double of the disk.
pub fn is_test(path: &str) -> bool {
    let tests = ["_tests.rs", "/tests.rs", "/testing.rs", "/faults.rs"];
    path.contains("/tests/") || tests.iter().any(|end| path.ends_with(end))
}

/// The name of the type that a line declares outside of everything, and whether other files see it.
pub fn declared_type(line: &str) -> Option<(&str, bool)> {
    let (visible, rest) = match line.strip_prefix("pub") {
        Some(rest) => (true, rest.split_once(' ')?.1),
        None => (false, line),
    };
    let (kind, rest) = rest.split_once(' ')?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    ["struct", "enum", "trait", "type"]
        .contains(&kind)
        .then_some((&rest[..end], visible))
}

/// Whether a text has a path that ends so, and not only a longer name.
pub fn names(text: &str, path: &str) -> bool {
    let mut found = text.match_indices(path);
    found.any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}
