//! Tokens that files beside `tokenizer.json` add to it, and settings there that change ids, in the order in which
//! transformers 5 applies them.

use std::collections::{BTreeMap, HashSet};

use datafusion::error::Result;
use serde_json::{Map, Value};
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use crate::models::error::invalid;

/// The names that transformers knows, in its order.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// In `tokenizer_config.json`: every added token by its id.
const DECLARED: &str = "added_tokens_decoder";

/// Classes that take `tokenizer.json` as it is; the others build their tokenizer by the settings.
const AS_WRITTEN: [&str; 2] = ["PreTrainedTokenizer", "TokenizersBackend"];

/// The files beside `tokenizer.json`, an empty object where there is none.
#[derive(Default)]
pub(super) struct Settings {
    /// `tokenizer_config.json`
    pub(super) config: Map<String, Value>,
    /// `special_tokens_map.json`
    pub(super) special: Map<String, Value>,
    /// `added_tokens.json`
    pub(super) added: Map<String, Value>,
}

impl Settings {
    /// The class that `tokenizer_config.json` names, with or without `Fast`.
    pub(super) fn class(&self) -> Option<&str> {
        let class = self.config.get("tokenizer_class")?.as_str()?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// Whether a space is put before a text, if the class obeys the setting.
    pub(super) fn prefix_space(&self) -> Option<bool> {
        let obeyed = self
            .class()
            .is_none_or(|class| !AS_WRITTEN.contains(&class));
        self.flag("add_prefix_space").filter(|_| obeyed)
    }

    /// Applies all of it to a tokenizer; the token that begins a text, or that there is none, where the files say so.
    pub(super) fn apply(&self, tokenizer: &mut Tokenizer) -> Result<Option<Option<u32>>> {
        let library = |e: tokenizers::Error| invalid(e.to_string());
        self.set_prefix_space(tokenizer);
        self.set_bert(tokenizer).map_err(library)?;
        if self.flag("split_special_tokens") == Some(true) {
            tokenizer.set_encode_special_tokens(true);
        }
        let named = self.named();
        let missing = self.missing(tokenizer, &named)?;
        tokenizer.add_tokens(missing).map_err(library)?;
        let bos = named.get(NAMED[0]);
        let id = |bos| tokenizer.token_to_id(&added_token(bos, true)?.content);
        Ok(bos.map(id))
    }

    /// The token that pads a text, else the one that ends it, where the files name one.
    pub(super) fn pad(&self, tokenizer: &Tokenizer) -> Option<u32> {
        let named = self.named();
        let id = |name| {
            let token = added_token(named.get(name)?, true)?;
            tokenizer.token_to_id(&token.content)
        };
        id("pad_token").or_else(|| id("eos_token"))
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.config.get(key)?.as_bool()
    }

    fn set_prefix_space(&self, tokenizer: &mut Tokenizer) {
        let before = tokenizer.get_pre_tokenizer();
        if let (Some(add), Some(PreTokenizerWrapper::ByteLevel(before))) =
            (self.prefix_space(), before)
        {
            let before = before.add_prefix_space(add);
            tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(before)));
        }
    }

    fn set_bert(&self, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else {
            return Ok(());
        };
        let mut normalizer = *normalizer;
        if let Some(lowercase) = self.flag("do_lower_case") {
            normalizer.lowercase = lowercase;
        }
        if let Some(strip) = self.flag("strip_accents") {
            normalizer.strip_accents = Some(strip);
        }
        if let Some(handle) = self.flag("tokenize_chinese_chars") {
            normalizer.handle_chinese_chars = handle;
        }
        tokenizer.with_normalizer(Some(NormalizerWrapper::BertNormalizer(normalizer)))?;
        Ok(())
    }

    /// Puts BERT's first and last token around a text where `tokenizer.json` does not say what stands there.
    pub(super) fn set_ends(&self, tokenizer: &mut Tokenizer) {
        let named = self.named();
        let end = |name: &str, usual: &str| {
            let written = named.get(name).and_then(|token| added_token(token, true));
            let written = written.map_or(usual.to_string(), |token| token.content);
            let id = tokenizer.token_to_id(&written)?;
            Some((written, id))
        };
        let ends = end("sep_token", "[SEP]").zip(end("cls_token", "[CLS]"));
        if let Some((sep, cls)) = ends.filter(|_| tokenizer.get_post_processor().is_none()) {
            tokenizer.with_post_processor(Some(BertProcessing::new(sep, cls)));
        }
    }

    /// Whether `tokenizer_config.json` tells of every added token: then the older files say nothing.
    fn is_whole(&self) -> bool {
        self.config.contains_key(DECLARED)
    }

    /// The files that tell of special tokens; what a later one says holds.
    fn tell_of_special(&self) -> impl Iterator<Item = &Map<String, Value>> {
        let older = (!self.is_whole()).then_some(&self.special);
        [&self.config].into_iter().chain(older)
    }

    /// The special tokens with a name, NULL where a file says that there is none.
    fn named(&self) -> Map<String, Value> {
        let all = self.tell_of_special().flatten().filter(|(key, value)| {
            let none = value.is_null() && NAMED.contains(&key.as_str());
            none || (key.ends_with("_token") && added_token(value, true).is_some())
        });
        all.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Special tokens without a name, or with one of the model's.
    fn extra(&self) -> Vec<AddedToken> {
        let mut extra = vec![];
        for file in self.tell_of_special() {
            let keys = ["extra_special_tokens", "additional_special_tokens"];
            let lists = keys.map(|key| match file.get(key) {
                Some(Value::Array(list)) => list.iter().collect(),
                Some(Value::Object(named)) => named.values().collect(),
                _ => vec![],
            });
            let list = lists.into_iter().find(|list| !list.is_empty());
            let tokens = list.into_iter().flatten();
            extra.extend(tokens.filter_map(|token| added_token(token, false)));
        }
        extra
    }

    /// The tokens that these files know and the tokenizer does not, in the order in which they take the next ids.
    fn missing(
        &self,
        tokenizer: &Tokenizer,
        named: &Map<String, Value>,
    ) -> Result<Vec<AddedToken>> {
        let mut special: Vec<AddedToken> = NAMED
            .iter()
            .filter_map(|name| added_token(named.get(*name)?, true))
            .collect();
        let own = named
            .iter()
            .filter(|(name, _)| !NAMED.contains(&name.as_str()));
        special.extend(own.filter_map(|(_, token)| added_token(token, true)));
        let n_named = special.len();
        special.extend(self.extra());
        // Sets, since a file may have as many tokens as it has room for.
        let contents = |tokens: &[AddedToken]| -> HashSet<String> {
            tokens.iter().map(|token| token.content.clone()).collect()
        };
        let (names, specials) = (contents(&special[..n_named]), contents(&special));
        let present = tokenizer.get_added_tokens_decoder();
        let mut declared = self.declared(&|content| specials.contains(content))?;
        if !self.is_whole() {
            declared.retain(|id, _| !present.contains_key(id));
        }
        let known: HashSet<&AddedToken> = present.values().collect();
        let mut missing: Vec<AddedToken> = declared
            .into_values()
            .filter(|token| !known.contains(token))
            .collect();
        for token in &mut missing {
            token.special |= names.contains(&token.content);
        }
        let mut told = contents(&missing);
        told.extend(present.values().map(|token| token.content.clone()));
        missing.extend((special.into_iter()).filter(|token| told.insert(token.content.clone())));
        Ok(missing)
    }

    /// Added tokens with the ids they are said to have.
    fn declared(&self, is_special: &dyn Fn(&str) -> bool) -> Result<BTreeMap<u32, AddedToken>> {
        let required = |what: &str, token: &str| {
            invalid(format!(
                "{what} is required of the added token {token:?}, got none"
            ))
        };
        let mut declared = BTreeMap::new();
        match self.config.get(DECLARED).and_then(Value::as_object) {
            Some(tokens) => {
                for (id, token) in tokens {
                    let number = id.parse().map_err(|_| required("an id", id))?;
                    let token = added_token(token, false).filter(|_| token.is_object());
                    declared.insert(number, token.ok_or_else(|| required("content", id))?);
                }
            }
            None => {
                for (content, id) in &self.added {
                    let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                    let token = AddedToken::from(content.as_str(), is_special(content));
                    declared.insert(id.ok_or_else(|| required("an id", content))?, token);
                }
            }
        }
        Ok(declared)
    }
}

/// A token as a file writes it: its text alone, which is special, or an object; `special` where that does not say.
fn added_token(written: &Value, special: bool) -> Option<AddedToken> {
    if let Some(content) = written.as_str() {
        return Some(AddedToken::from(content, true));
    }
    let flag = |key: &str, usual: bool| written.get(key).and_then(Value::as_bool).unwrap_or(usual);
    let content = written.get("content")?.as_str()?;
    let special = special || flag("special", false);
    let token = AddedToken::from(content, special)
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false))
        .single_word(flag("single_word", false));
    Some(token.normalized(flag("normalized", !special)))
}
