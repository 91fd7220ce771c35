//! Tokenizers of GGUF files against the ids of the same vocabulary's `tokenizer.json`, and of SentencePiece
//! (`tests/reference/gguf_files.py`).

use std::path::PathBuf;

use serde_json::Value;

use super::*;

fn path(of: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(of)
}

fn read(name: &str) -> Gguf {
    Gguf::read(&path("data/gguf").join(name)).expect(name)
}

#[test]
fn ids_are_those_of_tokenizer_json() {
    let reference = std::fs::read_to_string(path("reference/gguf_files.json"));
    let reference: Value = serde_json::from_str(&reference.expect("the reference")).expect("JSON");
    let texts = reference["texts"].as_array().expect("texts");
    let kinds = reference.as_object().expect("kinds");
    for (kind, case) in kinds.iter().filter(|(kind, _)| *kind != "texts") {
        let tokenizer = of_gguf(&read(&format!("{kind}.gguf")), 1 << 20).expect(kind);
        assert_eq!(tokenizer.bos(), Some(1), "{kind}");
        for (i, text) in texts.iter().enumerate() {
            let text = text.as_str().expect("a text");
            let ids = tokenizer.encode(text).expect("a text that has tokens");
            let expected = case["ids"][i].as_array().expect("ids");
            let expected: Vec<u64> = expected
                .iter()
                .map(|id| id.as_u64().expect("an id"))
                .collect();
            let came: Vec<u64> = ids.iter().map(|id| u64::from(*id)).collect();
            assert_eq!(came, expected, "{kind}: {text:?}");
            if kind != "qwen2" {
                // Qwen's composes characters.
                let whole = tokenizer.text(&ids, tokenizer.adds_space(text));
                assert_eq!(whole, text, "{kind}");
            }
        }
    }
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let changed = |from: &str, name: &str, to: &str| {
        let mut bytes = std::fs::read(path("data/gguf").join(from)).expect("a file");
        let at = bytes
            .windows(name.len())
            .rposition(|part| part == name.as_bytes());
        let at = at.expect(name);
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        let file = folder.path().join("changed.gguf");
        std::fs::write(&file, bytes).expect("a writable file");
        let file = Gguf::read(&file).expect("a file");
        of_gguf(&file, 1 << 20).err().expect("an error").to_string()
    };
    let error = changed("smollm.gguf", "smollm", "smolly");
    assert!(
        error.contains("tokenizer.ggml.pre of gpt-2, ") && error.contains("got smolly"),
        "{error}"
    );
    let error = changed("smollm.gguf", "tokenizer.ggml.pre", "tokenizer.ggml.prf");
    assert!(
        error.contains("tokenizer.ggml.pre is required, got none"),
        "{error}"
    );
    let error = changed("llama-spm.gguf", "llama", "plamo");
    assert!(
        error.contains("tokenizer.ggml.model gpt2 or llama is required, got plamo"),
        "{error}"
    );
    let error = of_gguf(&read("gpt-2.gguf"), 100)
        .err()
        .expect("an error")
        .to_string();
    assert!(
        error.contains("vocabulary mismatch, token ids below the model's 100"),
        "{error}"
    );
}
