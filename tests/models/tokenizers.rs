//! Tokenizers as model folders hold them, against the ids of `transformers` (`tests/reference/tokenizer_folders.py`).

use std::path::Path;

use polysema::models::{LoadedModel, load};
use serde_json::Value;

use super::root;
use crate::support::{Sizes, TINY, gpt2};

fn reference() -> Value {
    let path = root().join("tests/reference/tokenizer_folders.json");
    let text = std::fs::read_to_string(path).expect("the reference");
    serde_json::from_str(&text).expect("a JSON file")
}

/// A random model in a folder with the tokenizer's files of the reference.
fn write(reference: &Value, name: &str, folder: &Path) {
    let case = &reference["folders"][name];
    let mut model = gpt2(&Sizes {
        d_vocab: 500,
        ..TINY
    });
    // Which class `transformers` takes depends on it; what we compute is GPT-2's.
    if case["model_type"] == "gpt2" {
        model.config["bos_token_id"] = 7.into();
    }
    model.write(folder);
    for (file, key) in case["files"].as_object().expect("files") {
        let key = key.as_str().expect("a name");
        let text = reference["files"][key].as_str().expect("a text");
        std::fs::write(folder.join(file), text).expect("a writable folder");
    }
}

fn loaded(reference: &Value, name: &str) -> LoadedModel {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(reference, name, folder.path());
    load(folder.path()).expect(name)
}

fn numbers(value: &Value) -> Vec<u32> {
    let list = value.as_array().expect("a list");
    let number = |id: &Value| id.as_u64().expect("a number") as u32;
    list.iter().map(number).collect()
}

#[test]
fn ids_are_those_of_transformers() {
    let reference = reference();
    let texts = reference["texts"].as_array().expect("texts");
    for (name, case) in reference["folders"].as_object().expect("folders") {
        let tokenizer = loaded(&reference, name).tokenizer.expect(name);
        for (text, ids) in texts.iter().zip(case["ids"].as_array().expect("lists")) {
            let text = text.as_str().expect("a text");
            let came = tokenizer.encode(text).expect("a text that has tokens");
            assert_eq!(came, numbers(ids), "{name}: {text:?}");
        }
        if let Some(around) = case.get("around") {
            let ids = tokenizer.around().map_or(vec![], Vec::from);
            assert_eq!(ids, numbers(around), "{name}");
        }
    }
}

#[test]
fn the_tokenizers_own_files_say_what_begins_a_text() {
    let reference = reference();
    for (name, case) in reference["folders"].as_object().expect("folders") {
        let files = case["files"].as_object().expect("files");
        let says = |file: &str| {
            let key = files.get(file).and_then(Value::as_str);
            key.is_some_and(|key| {
                reference["files"][key]
                    .to_string()
                    .contains("bos_token\\\"")
            })
        };
        let said = says("tokenizer_config.json") || says("special_tokens_map.json");
        let model_says = (case["model_type"] == "gpt2").then_some(7);
        let expected = match said || name.starts_with("two_files") {
            true => case["bos"].as_u64().map(|id| id as u32),
            false => model_says,
        };
        let tokenizer = loaded(&reference, name).tokenizer.expect(name);
        assert_eq!(tokenizer.bos(), expected, "{name}");
    }
}

/// Tokens are the bytes of the text: what a tokenizer normalises aside.
#[test]
fn bytes_of_tokens_are_those_of_the_text() {
    let reference = reference();
    let texts = reference["texts"].as_array().expect("texts");
    let kinds = [
        ("whole", false),
        ("two_files", false),
        ("declared", false),
        ("older", false),
        ("split_special", false),
        ("prefixed", true),
        ("llama", true),
    ];
    for (name, prefixed) in kinds {
        let tokenizer = loaded(&reference, name).tokenizer.expect(name);
        // Other tokenizers drop what they do not know, and the spaces beside a token that strips them.
        // Llama's puts a space after one, too.
        let added = [
            "<mask>",
            "[PAD]",
            if name == "llama" { "<" } else { "[PAD]" },
        ];
        let lossless = |text: &&str| !added.iter().any(|part| text.contains(part));
        for text in texts.iter().filter_map(Value::as_str).filter(lossless) {
            let ids = tokenizer.encode(text).expect("a text that has tokens");
            // Llama's tokenizer puts a space before every text, GPT-2's before one that begins with none.
            let space = match (prefixed, name) {
                (true, "llama") if !text.is_empty() => " ",
                (true, _) if !text.is_empty() && !text.starts_with(' ') => " ",
                _ => "",
            };
            let bytes = ids.iter().flat_map(|id| tokenizer.token_bytes(*id));
            let bytes: Vec<u8> = bytes.copied().collect();
            let what = format!("{name}: {text:?}");
            assert_eq!(bytes, format!("{space}{text}").into_bytes(), "{what}");
            let added = tokenizer.adds_space(text);
            assert_eq!(
                added,
                prefixed && (name == "llama" || !text.starts_with(' ')),
                "{what}"
            );
            assert_eq!(tokenizer.text(&ids, added), text, "{what}");
        }
    }
}

#[test]
fn leading_spaces_are_kept() {
    let reference = reference();
    let shown = |name: &str, text: &str| {
        let tokenizer = loaded(&reference, name).tokenizer.expect(name);
        let ids = tokenizer.encode(text).expect("a text that has tokens");
        let tokens = ids.iter().map(|id| tokenizer.token_text(*id).into_owned());
        (
            tokens.collect::<Vec<_>>(),
            tokenizer.text(&ids, true),
            tokenizer.text(&ids, false),
        )
    };
    for name in ["unigram", "word_piece"] {
        let (tokens, whole, rest) = shown(name, "the river the");
        assert_eq!(tokens[0], " the", "{name}: {tokens:?}");
        assert_eq!(tokens.last().unwrap(), " the", "{name}: {tokens:?}");
        assert_eq!(tokens.concat(), " the river the", "{name}");
        assert_eq!(
            (whole.as_str(), rest.as_str()),
            ("the river the", " the river the")
        );
    }
    let (tokens, whole, _) = shown("llama", "日<|user|>");
    assert_eq!(tokens, [" ", "<0xE6>", "<0x97>", "<0xA5>", "<|user|>"]);
    assert_eq!(whole, "日<|user|>");
}

#[test]
fn every_file_of_the_tokenizer_counts() {
    let reference = reference();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, files) in [
        (
            "two_files_declared",
            &["vocab.json", "merges.txt", "tokenizer_config.json"][..],
        ),
        (
            "older",
            &[
                "tokenizer.json",
                "special_tokens_map.json",
                "added_tokens.json",
            ],
        ),
    ] {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        write(&reference, name, &folder);
        let hash = load(&folder).expect(name).hash;
        for file in files {
            let path = folder.join(file);
            let mut text = std::fs::read_to_string(&path).expect("a file");
            // Changes no meaning.
            text.push('\n');
            std::fs::write(&path, text).expect("a writable file");
            let changed = load(&folder).expect(name).hash;
            assert_ne!(changed, hash, "{name}/{file}");
            write(&reference, name, &folder);
            assert_eq!(load(&folder).expect(name).hash, hash);
        }
    }
}

#[test]
fn a_token_beyond_the_embedding_is_no_fault_of_the_tokenizer() {
    let reference = reference();
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(&reference, "declared", folder.path());
    gpt2(&Sizes {
        d_vocab: 330,
        ..TINY
    })
    .write(folder.path());
    let tokenizer = load(folder.path())
        .expect("a model")
        .tokenizer
        .expect("a tokenizer");
    let ids = tokenizer
        .encode("a<|user|>")
        .expect("a text that has tokens");
    assert_eq!(ids[1], 330);
    assert_eq!(tokenizer.token_text(330), "<|user|>");
}

#[test]
fn other_kinds_are_refused_with_what_to_do() {
    let reference = reference();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let refused = || {
        let model = load(path).expect("a model without tokenizer");
        model
            .required_tokenizer()
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    gpt2(&TINY).write(path);
    assert!(refused().contains("a tokenizer is required, got no tokenizer.json in"));
    std::fs::write(path.join("tokenizer.model"), "\n").unwrap();
    let message = refused();
    assert!(
        message.contains("got tokenizer.model, without tokenizer.json, in"),
        "{message}"
    );
    assert!(message.contains(".save_pretrained('"), "{message}");

    write(&reference, "two_files", path);
    let config = r#"{"tokenizer_class": "CLIPTokenizer"}"#;
    std::fs::write(path.join("tokenizer_config.json"), config).unwrap();
    let error = |path: &Path| load(path).err().expect("an error").to_string();
    assert!(error(path).contains("is required without tokenizer.json, got CLIPTokenizer"));
    for (content, part) in [
        ("[]", "tokenizer_config.json: a JSON object is required"),
        (
            r#"{"added_tokens_decoder": {"x": {"content": "a"}}}"#,
            "an id is required of the added token \"x\"",
        ),
        (
            r#"{"added_tokens_decoder": {"1": {}}}"#,
            "content is required of the added token \"1\"",
        ),
    ] {
        std::fs::write(path.join("tokenizer_config.json"), content).unwrap();
        let error = error(path);
        assert!(error.contains(part), "{error}");
    }
    std::fs::write(path.join("tokenizer_config.json"), "{}").unwrap();
    for (file, content, part) in [
        (
            "merges.txt",
            "a b c\n",
            "vocab.json: a tokenizer is required",
        ),
        ("merges.txt", "one", "vocab.json: a tokenizer is required"),
        (
            "vocab.json",
            "{",
            "vocab.json: tokens with their ids are required",
        ),
    ] {
        std::fs::write(path.join(file), content).unwrap();
        let error = error(path);
        assert!(error.contains(part), "{error}");
    }
}
