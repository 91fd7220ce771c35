//! Files of a store that others made: an input is the number of a question, then changes, each of a file, a place in it, a
//! length and so many bytes. In a
//! build for the fuzzer checksums agree with everything, as those of who harms do.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polysema::policy::Policy;
use polysema_fuzz::{panics, scratch, stores};

const QUESTIONS: [&str; 10] = [
    "SELECT * FROM demo.layers",
    "SELECT sum(vector_norm(w_in)), sum(vector_norm(w_out)), sum(max_activation), max(n_examples) FROM demo.neurons",
    "SELECT layer, sum(activation), max(token), max(window_tokens), sum(vector_norm(pre_mlp)) FROM demo.examples GROUP BY layer",
    "SELECT max(text), sum(n_tokens) FROM demo.documents, demo.tokens",
    "SELECT sum(count), sum(upper) FROM demo.histograms",
    "SELECT * FROM demo.similar_features(0, 0, 0)",
    "SELECT count(*) FROM demo.feature_clusters(0)",
    "SELECT sum(n), max(label) FROM notes.t",
    "SELECT vector_norm(sae_decode('s', [{latent: 0, activation: 1.0}]))",
    "SELECT count(*) FROM info.runs, info.saes, info.tables, info.models, info.jobs",
];

struct Files {
    root: PathBuf,
    /// Path below the root and content.
    whole: Vec<(PathBuf, Vec<u8>)>,
}

static STORE: LazyLock<Files> = LazyLock::new(|| {
    let root = scratch("store");
    stores::fill(&root);
    let mut whole = vec![];
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a folder").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let content = fs::read(&path).expect("a file");
                    whole.push((path, content));
                }
            }
        }
    }
    whole.retain(|(_, content)| !content.is_empty());
    whole.sort();
    Files { root, whole }
});

fn changed(mut input: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut files: Vec<(usize, Vec<u8>)> = vec![];
    while let Some((&[file, low, high, n], rest)) = input.split_first_chunk::<4>() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(n % 32)));
        input = rest;
        let file = usize::from(file) % STORE.whole.len();
        let at = match files.iter().position(|(known, _)| *known == file) {
            Some(at) => at,
            None => {
                files.push((file, STORE.whole[file].1.clone()));
                files.len() - 1
            }
        };
        let content = &mut files[at].1;
        let start = usize::from(u16::from_le_bytes([low, high])) % content.len();
        match n >> 5 {
            // Cut, or longer by what is given.
            6 => content.truncate(start.max(1)),
            7 => drop(content.splice(start..start, bytes.iter().copied())),
            _ => {
                let end = content.len().min(start + bytes.len());
                content[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
    }
    files
}

fuzz_target!(init: panics::watch(), |input: &[u8]| {
    let Some((&question, changes)) = input.split_first() else {
        return;
    };
    let files = changed(changes);
    let write = |path: &PathBuf, content: &[u8]| {
        // Not in place: what an engine has mapped stays as it is.
        let _ = fs::remove_file(path);
        fs::write(path, content).expect("a writable folder");
    };
    for (file, content) in &files {
        write(&STORE.whole[*file].0, content);
    }
    if let Ok(engine) = stores::open(&STORE.root) {
        match QUESTIONS.get(usize::from(question) % (QUESTIONS.len() + 1)) {
            Some(question) => drop(stores::ask(&engine, Policy::nothing(), question)),
            None => drop(engine.store().check(&[], &|_| Ok(()))),
        }
    }
    for (file, _) in &files {
        let (path, content) = &STORE.whole[*file];
        write(path, content);
    }
});
