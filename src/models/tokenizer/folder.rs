//! The tokenizer of a model's folder, from the files that `transformers` reads.

use std::path::Path;

use datafusion::error::Result;
use serde_json::{Map, Value, json};

use super::charsmap;
use super::special::Settings;
use super::vocabulary::{FAILS, SpecialIds, Tokenizer};
use crate::files::guarded::guarded;
use crate::models::error::invalid;
use crate::models::weights::read_hashed;

const WHOLE: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const WORDS: &str = "vocab.txt";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The files a tokenizer may be made of.
const PARTS: [&str; 7] = [WHOLE, VOCABULARY, MERGES, WORDS, CONFIG, SPECIAL, ADDED];

/// Files of other kinds of tokenizers, which `transformers` turns into a `tokenizer.json`.
const OTHERS: [&str; 7] = [
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model.v3",
    "tekken.json",
    "tiktoken.model",
    "vocab.txt",
];

/// The classes of models whose folder names none.
const CLASSES: [(&str, &str); 9] = [
    ("bert", BERT),
    ("gpt2", GPT2),
    ("gpt_neo", GPT2),
    ("gptj", GPT2),
    ("opt", GPT2),
    ("phi", GPT2),
    ("gpt_neox", NEOX),
    ("qwen2", QWEN2),
    ("qwen3", QWEN2),
];
const BERT: &str = "BertTokenizer";
const GPT2: &str = "GPT2Tokenizer";
const NEOX: &str = "GPTNeoXTokenizer";
const QWEN2: &str = "Qwen2Tokenizer";
/// What those classes call special where no file does.
const END: &str = "<|endoftext|>";
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What BERT's class calls special where no file does.
const BERT_TOKENS: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

/// Whether a file is one that a tokenizer may be made of, by its name.
pub(in crate::models) fn is_part(file: &Path) -> bool {
    let name = file.file_name();
    name.is_some_and(|name| PARTS.iter().any(|part| name == *part))
}

/// The files with the tokens, of those that `has` knows.
fn vocabulary(has: impl Fn(&str) -> bool) -> &'static [&'static str] {
    match (has(WHOLE), has(VOCABULARY) && has(MERGES), has(WORDS)) {
        (true, _, _) => &[WHOLE],
        (_, true, _) => &[VOCABULARY, MERGES],
        (_, _, true) => &[WORDS],
        _ => &[],
    }
}

/// Of the files that `has` knows, those that the tokenizer is made of; else one of another kind, which a message names.
pub(in crate::models) fn wanted(has: impl Fn(&str) -> bool) -> Vec<String> {
    let mut files = vocabulary(&has).to_vec();
    if files.is_empty() {
        files.extend(OTHERS.into_iter().find(|name| has(name)));
    }
    files.extend(
        [CONFIG, SPECIAL, ADDED]
            .into_iter()
            .filter(|name| has(name)),
    );
    files.into_iter().map(str::to_string).collect()
}

/// What a folder has.
pub(in crate::models) struct OfFolder {
    pub(in crate::models) tokenizer: std::result::Result<Tokenizer, String>,
    /// Bytes of it in memory.
    pub(in crate::models) bytes: usize,
}

/// The tokenizer of a folder whose configuration is `model`, or what is there instead of one; its files are counted into
/// the hash.
pub(in crate::models) fn of_folder(
    folder: &Path,
    model: &Value,
    d_vocab: usize,
    hasher: &mut blake3::Hasher,
) -> Result<OfFolder> {
    let fails = || Err(invalid(format!("{}: {FAILS}", folder.display())));
    guarded(|| read(folder, model, d_vocab, hasher)).unwrap_or_else(fails)
}

fn read(
    folder: &Path,
    model: &Value,
    d_vocab: usize,
    hasher: &mut blake3::Hasher,
) -> Result<OfFolder> {
    let has = |name: &str| folder.join(name).exists();
    let files = vocabulary(has);
    let mut hashed = |name: &str| read_hashed(&folder.join(name), hasher);
    let parts = files.iter().map(|name| hashed(name));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let mut object = |name: &str| match has(name) {
        true => object(&folder.join(name), &hashed(name)?),
        false => Ok(Map::new()),
    };
    let mut settings = Settings {
        config: object(CONFIG)?,
        special: object(SPECIAL)?,
        added: object(ADDED)?,
    };
    let class = class(model, &settings);
    let built = match (files, parts.as_slice()) {
        ([WHOLE], [whole]) => charsmap::check(whole).and_then(|()| {
            tokenizers::Tokenizer::from_bytes(whole)
                .map_err(|e| format!("a tokenizer is required, got {e}"))
        }),
        ([WORDS], [words]) if class == BERT => word_piece(words, &mut settings),
        (_, [vocabulary, merges]) => byte_level(vocabulary, merges, &class, &mut settings),
        _ => {
            return Ok(OfFolder {
                tokenizer: Err(missing(folder)),
                bytes: 0,
            });
        }
    };
    let bytes = parts.iter().map(|part| Tokenizer::bytes(part.len())).sum();
    let at = |name, e: String| invalid(format!("{}: {e}", folder.join(name).display()));
    let name = files[0];
    let mut inner = built.map_err(|e| at(name, e))?;
    let said = settings
        .apply(&mut inner)
        .map_err(|e| at(CONFIG, e.to_string()))?;
    if class == BERT {
        settings.set_ends(&mut inner);
    }
    // What the tokenizer's files say of it is true of the tokenizer; the model's configuration may be of another.
    let of_model = |key: &str| {
        let id = model.get(key)?;
        // Of several tokens that end a text, the first.
        let id = id.as_array().and_then(|ids| ids.first()).unwrap_or(id);
        u32::try_from(id.as_u64()?).ok()
    };
    let of_model_pad = || of_model("pad_token_id").or_else(|| of_model("eos_token_id"));
    let special = SpecialIds {
        bos: said.unwrap_or_else(|| of_model("bos_token_id")),
        pad: settings.pad(&inner).or_else(of_model_pad),
    };
    let place = folder.join(name);
    Ok(OfFolder {
        tokenizer: Ok(Tokenizer::new(place.display(), inner, d_vocab, special)?),
        bytes,
    })
}

/// What a message says of a folder without a tokenizer that we read.
fn missing(folder: &Path) -> String {
    let shown = folder.display();
    match OTHERS.iter().find(|name| folder.join(name).exists()) {
        Some(other) => format!(
            "{other}, without {WHOLE}, in {shown}: python -c \"from transformers import AutoTokenizer as T; \
             T.from_pretrained('{shown}').save_pretrained('{shown}')\" writes one"
        ),
        None => format!("no {WHOLE} in {shown}, nor {VOCABULARY} with {MERGES}"),
    }
}

fn object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|e| {
        invalid(format!(
            "{}: a JSON object is required, got {e}",
            path.display()
        ))
    })
}

/// The tokenizer of a list of tokens and one of merges, as the class that the folder names reads them.
fn byte_level(
    vocabulary: &[u8],
    merges: &[u8],
    class: &str,
    settings: &mut Settings,
) -> std::result::Result<tokenizers::Tokenizer, String> {
    let vocabulary: Map<String, Value> = serde_json::from_slice(vocabulary)
        .map_err(|e| format!("tokens with their ids are required, got {e}"))?;
    let merges = std::str::from_utf8(merges)
        .map_err(|_| format!("{MERGES} of UTF-8 text is required, got other bytes"))?;
    let merges: Vec<&str> = merges
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("#version"))
        .collect();
    let prefix = settings.prefix_space().unwrap_or(false);
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": use_regex});
    let (normalizer, before, special) = match class {
        GPT2 => (
            Value::Null,
            bytes(true),
            ["bos_token", "eos_token", "unk_token"],
        ),
        NEOX => (
            json!({"type": "NFC"}),
            bytes(true),
            ["bos_token", "eos_token", "unk_token"],
        ),
        QWEN2 => {
            let words = json!({"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false});
            let before = json!({"type": "Sequence", "pretokenizers": [words, bytes(false)]});
            (
                json!({"type": "NFC"}),
                before,
                ["eos_token", "unk_token", "pad_token"],
            )
        }
        other => {
            return Err(format!(
                "tokenizer_class {GPT2}, {NEOX} or {QWEN2} is required without {WHOLE}, got {other}"
            ));
        }
    };
    for name in special {
        settings.config.entry(name).or_insert(END.into());
    }
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": before,
        "decoder": bytes(true), "post_processor": null,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    });
    serde_json::from_value(tokenizer).map_err(|e| format!("a tokenizer is required, got {e}"))
}

/// The tokenizer of a list of words and their parts, a line each, as BERT's class reads it; what `tokenizer_config.json`
/// says of its letters is applied later.
fn word_piece(
    words: &[u8],
    settings: &mut Settings,
) -> std::result::Result<tokenizers::Tokenizer, String> {
    let words = std::str::from_utf8(words)
        .map_err(|_| "words of UTF-8 text are required, got other bytes".to_string())?;
    let vocabulary: Map<String, Value> = (words.lines().enumerate())
        .map(|(id, word)| (word.to_string(), id.into()))
        .collect();
    for (name, token) in BERT_TOKENS {
        settings.config.entry(name).or_insert(token.into());
    }
    let unknown = settings.config["unk_token"].clone();
    let unknown = unknown.get("content").unwrap_or(&unknown);
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "post_processor": null,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "vocab": vocabulary, "unk_token": unknown,
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        },
    });
    serde_json::from_value(tokenizer).map_err(|e| format!("a tokenizer is required, got {e}"))
}

/// The class that `transformers` takes: the one that a file names, else that of the model.
fn class(model: &Value, settings: &Settings) -> String {
    let of_model = |key: &str| model.get(key).and_then(Value::as_str);
    let usual = || {
        let kind = of_model("model_type")?;
        let known = CLASSES.iter().find(|(known, _)| *known == kind);
        known.map(|(_, class)| *class)
    };
    let named = settings.class().or_else(|| of_model("tokenizer_class"));
    let class = named.or_else(usual).unwrap_or("none");
    class.strip_suffix("Fast").unwrap_or(class).to_string()
}
