//! The tokenizer that a GGUF file describes, so that its ids are those of the model's own `tokenizer.json`.
//!
//! Source: what `llama.cpp` makes of the same words (`src/llama-vocab.cpp`), and for merges that a file does not list
//! the rule by which `transformers` derives them from a vocabulary with scores.

use std::cmp::Ordering;
use std::collections::HashMap;

use datafusion::error::Result;
use serde_json::{Value, json};

use super::vocabulary::{FAILS, SpecialIds, Tokenizer};
use crate::files::gguf::Gguf;
use crate::files::guarded::guarded;

const GPT2_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How byte-level text is cut into words before bytes merge.
struct Cut {
    /// What `tokenizer.ggml.pre` calls it.
    names: &'static [&'static str],
    /// Each cuts what the one before has left.
    words: &'static [&'static str],
    /// Whether a word that is a token is one, whatever the merges say.
    whole_words: bool,
    /// Whether characters are composed first.
    nfc: bool,
}

const CUTS: [Cut; 9] = [
    Cut {
        names: &[
            "gpt-2",
            "phi-2",
            "jais",
            "mpt",
            "trillion",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "granite-docling",
        ],
        words: &[GPT2_WORDS],
        whole_words: false,
        nfc: false,
    },
    Cut {
        names: &["olmo", "modern-bert"],
        words: &[GPT2_WORDS],
        whole_words: false,
        nfc: true,
    },
    Cut {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        words: &[r"\p{N}", GPT2_WORDS],
        whole_words: false,
        nfc: false,
    },
    Cut {
        names: &["command-r"],
        words: &[r"\p{N}", GPT2_WORDS],
        whole_words: false,
        nfc: true,
    },
    Cut {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"],
        words: &[QWEN2_WORDS],
        whole_words: false,
        nfc: true,
    },
    Cut {
        names: &["qwen35"],
        words: &[QWEN35_WORDS],
        whole_words: false,
        nfc: true,
    },
    Cut {
        names: &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        words: &[LLAMA3_WORDS],
        whole_words: true,
        nfc: false,
    },
    Cut {
        names: &["tekken"],
        words: &[TEKKEN_WORDS],
        whole_words: true,
        nfc: false,
    },
    Cut {
        names: &["gpt-4o", "llama4"],
        words: &[GPT4O_WORDS],
        whole_words: false,
        nfc: false,
    },
];
/// As the cut of Llama 3, but that merges alone make words.
const BY_MERGES: [&str; 4] = ["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"];

/// What `tokenizer.ggml.token_type` says of a token.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer of a file, whose model's embedding knows `d_vocab` tokens.
pub(in crate::models) fn of_gguf(file: &Gguf, d_vocab: usize) -> Result<Tokenizer> {
    guarded(|| read(file, d_vocab)).unwrap_or_else(|| Err(file.invalid(FAILS)))
}

fn read(file: &Gguf, d_vocab: usize) -> Result<Tokenizer> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let model = key("model");
    let kind = file.required(&model, file.text(&model))?;
    let tokens = key("tokens");
    let tokens = file.required(&tokens, file.texts(&tokens))?;
    let mut ids = HashMap::new();
    for (id, token) in (0_u32..).zip(tokens) {
        if let Some(first) = ids.insert(token.as_str(), id) {
            return Err(file.invalid(format!(
                "each token once is required, got {token:?} as {first} and {id}"
            )));
        }
    }
    let types = file.integers(&key("token_type"))?.unwrap_or_default();
    let described = match kind {
        "gpt2" => byte_level(file, &ids)?,
        "llama" => sentence_piece(file, tokens, &types)?,
        other => {
            return Err(file.invalid(format!("{model} gpt2 or llama is required, got {other}")));
        }
    };
    let mut inner: tokenizers::Tokenizer = serde_json::from_value(described)
        .map_err(|e| file.invalid(format!("a tokenizer is required, got {e}")))?;
    let added = tokens.iter().zip(&types).filter_map(|(token, kind)| {
        let special = [UNKNOWN, CONTROL].contains(kind);
        let added = special || *kind == USER_DEFINED;
        added.then(|| tokenizers::AddedToken::from(token.as_str(), special).normalized(false))
    });
    inner
        .add_tokens(added)
        .map_err(|e| file.invalid(format!("added tokens are required, got {e}")))?;
    let usual = (kind == "llama").then_some(1);
    let id = |name: &str| -> Result<Option<u32>> {
        let id = file.count(&key(name))?;
        Ok(id.and_then(|id| u32::try_from(id).ok()))
    };
    let special = SpecialIds {
        bos: id("bos_token_id")?.or(usual),
        pad: id("padding_token_id")?.or(id("eos_token_id")?),
    };
    Tokenizer::new(file.path().display(), inner, d_vocab, special)
}

fn byte_level(file: &Gguf, ids: &HashMap<&str, u32>) -> Result<Value> {
    let pre = "tokenizer.ggml.pre";
    let name = file.required(pre, file.text(pre))?;
    let by_merges = BY_MERGES.contains(&name);
    let cut = CUTS.iter().find(|cut| match by_merges {
        true => cut.names.contains(&"llama3"),
        false => cut.names.contains(&name),
    });
    let Some(cut) = cut else {
        let known = CUTS.iter().flat_map(|cut| cut.names).chain(&BY_MERGES);
        let known = known.copied().collect::<Vec<_>>().join(", ");
        return Err(file.invalid(format!("{pre} of {known} is required, got {name}")));
    };
    let merges = "tokenizer.ggml.merges";
    let merges = file.required(merges, file.texts(merges))?;
    let pairs = merges.iter().map(|merge| {
        let pair = merge.split_once(' ');
        pair.ok_or_else(|| file.invalid(format!("merges of two parts are required, got {merge:?}")))
    });
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    let mut before: Vec<Value> = (cut.words.iter())
        .map(|words| {
            json!({"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false})
        })
        .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    before.push(bytes.clone());
    Ok(json!({
        "version": "1.0", "added_tokens": [], "post_processor": null, "decoder": bytes,
        "normalizer": cut.nfc.then(|| json!({"type": "NFC"})),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": before},
        "model": {"type": "BPE", "vocab": ids, "merges": pairs,
            "ignore_merges": cut.whole_words && !by_merges},
    }))
}

/// SentencePiece's BPE: `▁` for a space, merges by score, bytes for characters that are no token.
fn sentence_piece(file: &Gguf, tokens: &[String], types: &[i64]) -> Result<Value> {
    let architecture = file.text("general.architecture")?.unwrap_or_default();
    // Gemma's scores are not in the order of its merges, its tokens are; and its runs of spaces are written as such.
    let gemma = architecture.starts_with("gemma");
    let scores = match gemma {
        true => (0..tokens.len()).map(|i| -(i as f64)).collect(),
        false => {
            let scores = "tokenizer.ggml.scores";
            file.required(scores, file.floats(scores))?.to_vec()
        }
    };
    if scores.len() != tokens.len() {
        return Err(file.invalid(format!(
            "a score for each of the {} tokens is required, got {}",
            tokens.len(),
            scores.len()
        )));
    }
    let spaces = |token: &String| gemma && token.len() > 1 && token.bytes().all(|b| b == b' ');
    let tokens: Vec<String> = (tokens.iter())
        .map(|token| match spaces(token) {
            true => "▁".repeat(token.len()),
            false => token.clone(),
        })
        .collect();
    let unknown = types.iter().position(|kind| *kind == UNKNOWN);
    let unknown = tokens.get(unknown.unwrap_or(0));
    let prefixed = file
        .flag("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = match prefixed {
        true => {
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]})
        }
        false => space,
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefixed {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let ids: HashMap<&str, u32> = tokens.iter().map(String::as_str).zip(0..).collect();
    let merges = merges(&ids, &tokens, &scores);
    Ok(json!({
        "version": "1.0", "added_tokens": [], "post_processor": null, "pre_tokenizer": null,
        "normalizer": normalizer, "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "vocab": ids, "merges": merges, "unk_token": unknown, "fuse_unk": true,
            "byte_fallback": true},
    }))
}

/// Every way to make a token of two, the best token first.
fn merges<'a>(
    ids: &HashMap<&str, u32>,
    tokens: &'a [String],
    scores: &[f64],
) -> Vec<(&'a str, &'a str)> {
    let mut merges = vec![];
    for (token, score) in tokens.iter().zip(scores) {
        let first = merges.len();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                merges.push((*score, left, right, (*l, *r)));
            }
        }
        merges[first..].sort_by_key(|(.., ids)| *ids);
    }
    let length = |text: &str| text.chars().count();
    merges.sort_by(|(a, al, ar, _), (b, bl, br, _)| {
        let by_score = b.partial_cmp(a).unwrap_or(Ordering::Equal);
        by_score
            .then_with(|| length(bl).cmp(&length(al)))
            .then_with(|| length(br).cmp(&length(ar)))
    });
    merges.into_iter().map(|(_, l, r, _)| (l, r)).collect()
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
