//! The laws of the house, read from the source text; each message says why the law exists.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/sources.rs"]
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;

use polysema::store::Store;

use imports::Imports;
use sources::{ALL, declared_type, is_test, names, product, products, refuse, root, sources};

/// Pairs of files that break floors: a file of floor `i` may name floors up to `i` only.
fn upward_imports(base: &str, floors: &[&str]) -> Vec<String> {
    let floor = |path: &str| {
        let room = path[base.len() + 1..].split(['/', '.']).next();
        floors.iter().position(|name| Some(*name) == room)
    };
    let imports = Imports::of(base, &products(base));
    let up = imports.pairs().filter(|(from, to)| {
        let (from, to) = (floor(from), floor(to));
        from.is_some() && to.is_some() && from < to
    });
    up.map(|(from, to)| format!("{from} names {to}")).collect()
}

#[test]
fn imports_go_down_only() {
    let why = "a lower floor that knows a higher one can no longer be read, tested or reused alone";
    let kernels = [
        "random",
        "condensed",
        "simd",
        "vector",
        "clustering",
        "similarity",
        "network",
        "sae",
    ];
    refuse(&upward_imports("kernels/src", &kernels), why);
    let plugin = [
        "svg",
        "arrow",
        "calls",
        "per_neuron",
        "similarity",
        "functions",
        "catalog",
    ];
    refuse(&upward_imports("udfs/src", &plugin), why);
    let engine = [
        "files",
        "text",
        "hub",
        "remote",
        "settings",
        "policy",
        "options",
        "store",
        "models",
        "jobs",
        "corpus",
        "classifiers",
        "runs",
        "saes",
        "functions",
        "workers",
        "session",
        "web",
        "serve",
        "explore",
        "shell",
    ];
    let mut broken = upward_imports("src", &engine);
    let imports = Imports::of("src", &products("src"));
    // Beside each other: what both need lies in `web`.
    let across = imports
        .pairs()
        .filter(|(from, to)| from.starts_with("src/explore/") && to.starts_with("src/serve/"));
    broken.extend(across.map(|(from, to)| format!("{from} names {to}")));
    refuse(&broken, why);
}

#[test]
fn no_circle_of_files() {
    let circles = ["kernels/src", "udfs/src", "src"]
        .iter()
        .flat_map(|base| Imports::of(base, &products(base)).circles());
    refuse(
        &circles.collect::<Vec<_>>(),
        "of two files that name each other neither can be read, tested or moved alone",
    );
}

#[test]
fn kernels_know_only_numbers() {
    let mut broken = Vec::new();
    for (path, text) in products("kernels/src") {
        for word in [
            "arrow::",
            "datafusion::",
            "tokio::",
            "std::fs",
            "std::time",
            "std::env",
        ] {
            if text.contains(word) {
                broken.push(format!("{path} names {word}"));
            }
        }
    }
    refuse(
        &broken,
        "kernels are mathematics on slices, so that they can be checked and reused without an engine",
    );
}

/// Files of the engine's functions that are no function: the meaning of an argument, a corpus through a model, layers that see
/// pixels, the rows of a job, codes.
const SHARED: [&str; 12] = [
    "arguments",
    "codes",
    "corpora",
    "corpus_pass",
    "fired_features",
    "layer_reader",
    "pixel_layers",
    "run_model",
    "sources",
    "row_vectors",
    "progress",
    "removal",
];

#[test]
fn functions_do_not_lean_on_each_other() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["udfs/src/functions", "src/functions"]) {
        if path.ends_with("mod.rs") {
            continue;
        }
        for line in text
            .lines()
            .filter(|line| line.contains("crate::functions::") || line.contains("use super::"))
        {
            let shared = SHARED.iter().any(|file| {
                line.contains(&format!("functions::{file}::"))
                    || path.starts_with("src/functions/")
                        && line.contains(&format!("super::{file}::"))
            });
            // Unit tests name their own file's items through `super`.
            if !shared && line.trim() != "use super::*;" {
                broken.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    refuse(
        &broken,
        "what two functions share belongs on a lower floor, else a function cannot be changed alone",
    );
}

#[test]
fn only_the_front_ends_print() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src", "kernels/src", "udfs/src"]) {
        if path.starts_with("src/shell/") || path == "src/main.rs" {
            continue;
        }
        for word in [
            "println!",
            "print!",
            "eprintln!",
            "eprint!",
            "dbg!",
            "stdout()",
            "stderr()",
        ] {
            if product(&text).contains(word) {
                broken.push(format!("{path} uses {word}"));
            }
        }
    }
    refuse(
        &broken,
        "a library that prints spoils the output of whoever embeds it",
    );
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let (mut long, mut nameless) = (Vec::new(), Vec::new());
    for (path, text) in sources(&ALL) {
        let lines = text.lines().count();
        let doc: String = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        if doc.is_empty() {
            nameless.push(path.clone());
        }
        if lines > 600 {
            long.push(format!("{path}: {lines} lines, at most 600"));
        } else if lines > 400 && !doc.contains("400 lines") {
            long.push(format!(
                "{path}: {lines} lines; over 400 lines the module doc says why"
            ));
        }
    }
    refuse(&long, "a file that does not fit the head is two files");
    refuse(
        &nameless,
        "a file that cannot say in a sentence why it exists should not",
    );
}

#[test]
fn every_function_has_an_slt() {
    let mut broken = Vec::new();
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Store::open(folder.path()).expect("a store"));
    let plugin = polysema_udfs::catalog::functions();
    let plugin = plugin.into_iter().map(|function| ("udfs/", function));
    let engine = polysema::functions::functions(&store);
    let engine = engine.into_iter().map(|function| ("", function));
    for (crate_folder, function) in plugin.chain(engine) {
        let (chapter, name) = (function.doc.chapter, function.doc.name);
        let source = root().join(format!("{crate_folder}src/functions/{chapter}/{name}.rs"));
        let slt = root().join(format!("tests/slt/{chapter}/{name}.slt"));
        for path in [source, slt] {
            if !path.exists() {
                broken.push(
                    path.strip_prefix(root())
                        .expect("below the root")
                        .display()
                        .to_string(),
                );
            }
        }
    }
    refuse(
        &broken,
        "the path of a function and of its contract can be guessed from its chapter and name",
    );
}

#[test]
fn nothing_is_left_for_later() {
    let mut broken = Vec::new();
    for (path, text) in sources(&ALL) {
        if path == "tests/tidy.rs" {
            continue;
        }
        for word in ["todo!(", "unimplemented!(", "#[ignore", "dbg!("] {
            if text.contains(word) {
                broken.push(format!("{path} has {word}"));
            }
        }
    }
    refuse(
        &broken,
        "a stub or a skipped test says done where it is not",
    );
}

#[test]
fn no_path_of_a_machine() {
    let mut broken = Vec::new();
    for (path, text) in sources(&ALL) {
        if path == "tests/tidy.rs" {
            continue;
        }
        for word in ["/home/", "/root/", "/work/", "/Users/"] {
            if text.contains(word) {
                broken.push(format!("{path} names {word}"));
            }
        }
    }
    refuse(&broken, "a path of one machine is wrong on every other");
}

#[test]
fn one_type_has_one_name() {
    let mut broken = Vec::new();
    for base in ["src", "kernels/src", "udfs/src"] {
        let mut named: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
        for (path, text) in products(base) {
            for (name, visible) in text.lines().filter_map(declared_type) {
                named
                    .entry(name.to_string())
                    .or_default()
                    .push((path.clone(), visible));
            }
        }
        for (name, of) in named {
            if of.len() > 1 && of.iter().any(|(_, visible)| *visible) {
                let paths: Vec<_> = of.into_iter().map(|(path, _)| path).collect();
                broken.push(format!("{name}: {}", paths.join(", ")));
            }
        }
    }
    refuse(
        &broken,
        "a name that files share means one thing in a crate, so that a reader need not ask which",
    );
}

#[test]
fn only_the_ground_floor_changes_the_disk() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src"]) {
        if path.starts_with("src/files/") || is_test(&path) {
            continue;
        }
        for word in [
            "fs::rename",
            "fs::write",
            "fs::copy",
            "fs::remove",
            "fs::create_dir",
            "fs::hard_link",
            "File::create",
            "OpenOptions",
        ] {
            if names(product(&text), word) {
                broken.push(format!("{path} uses {word}"));
            }
        }
    }
    refuse(
        &broken,
        "what lasts is written whole and its failures are tested in one place",
    );
}

#[test]
fn what_cannot_fail_says_why() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src", "kernels/src", "udfs/src"]) {
        if is_test(&path) {
            continue;
        }
        let text = product(&text);
        for (number, line) in text.lines().enumerate() {
            let at = format!("{path}:{}", number + 1);
            if line.contains(".unwrap()") || line.contains("panic!(") {
                broken.push(format!("{at} ends the program"));
            }
            let reason = line.split_once(".expect(\"").map(|(_, rest)| rest);
            if reason
                .is_some_and(|reason| reason.split('"').next().unwrap_or("").split(' ').count() < 2)
            {
                broken.push(format!("{at} expects without a reason"));
            }
        }
    }
    refuse(
        &broken,
        "a crash loses a user's work; where none can come the invariant stands beside it",
    );
}
