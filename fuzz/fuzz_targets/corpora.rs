//! Corpora: an input is options and the name of a file, `column=t corpus.jsonl`, a line, then its content; images are files of
//! a folder, `mnist-tiny/t10k-images-idx3-ubyte`.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polysema::corpus::{CORPUS, CorpusReader};
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema_fuzz::{Folders, named, overlay, panics, scratch, seed, test_data};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| scratch("corpora"));
static MODEL: LazyLock<PathBuf> = LazyLock::new(|| {
    overlay(
        "model",
        &test_data("architectures/gpt2"),
        &seed("tokenizers/byte-level"),
    )
});
static IMAGES: LazyLock<Folders> = LazyLock::new(|| {
    Folders::new(
        "images",
        &[("mnist-tiny".to_string(), test_data("mnist-tiny"))],
    )
});

fn read(model: &Path, corpus: &Path, options: &Options) {
    let Ok(mut reader) = CorpusReader::open(model, corpus, options, &JobContext::default()) else {
        return;
    };
    let n = reader.n_documents();
    let ids = reader.token_ids(0..n).expect("what was read");
    assert!(ids.is_none_or(|ids| ids.iter().all(|id| (*id as usize) < 41)));
    let mut documents = 0;
    let all = reader.for_each_batch(&mut |_, batch, _| {
        documents += batch.documents.len();
        Ok(())
    });
    assert!(all.is_err() || documents == n, "{documents} of {n}");
}

fuzz_target!(init: panics::watch(), |input: &[u8]| {
    let Some((words, content)) = named(input) else {
        return;
    };
    let (given, name) = words.rsplit_once(' ').unwrap_or(("", words));
    let given = given.split(' ').filter_map(|word| word.split_once('='));
    // The model has 40 positions, of which a corpus asks 128 otherwise.
    let given: BTreeMap<_, _> = [("context", "8")].into_iter().chain(given).collect();
    let Ok(options) = Options::of_words(&CORPUS, given) else {
        return;
    };
    if name.starts_with("mnist-tiny/") {
        IMAGES.with(name, content, |folder| read(&folder.join("mlp.safetensors"), folder, &options));
        return;
    }
    let ending = name.strip_prefix("corpus.").unwrap_or("jsonl");
    let ending: String = ending.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').take(20).collect();
    let path = FOLDER.join(format!("corpus.{ending}"));
    fs::write(&path, content).expect("a writable folder");
    read(&MODEL, &path, &options);
    let _ = fs::remove_file(&path);
});
