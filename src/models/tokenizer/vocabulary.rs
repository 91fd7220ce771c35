//! A tokenizer with the bytes of its tokens.

use std::borrow::Cow;
use std::fmt::Display;

use datafusion::error::Result;
use rayon::prelude::*;
use tokenizers::Model;

use super::growth;
use super::spelling::Spellings;
use crate::files::guarded::guarded;
use crate::models::error::invalid;

/// What is said of a tokenizer in whose making the library panics.
pub(super) const FAILS: &str =
    "a tokenizer is required, got one that the tokenizers library fails at";

/// Tokens that a tokenizer's files give a meaning to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SpecialIds {
    /// Begins a text.
    pub(super) bos: Option<u32>,
    /// Pads a text, else ends it.
    pub(super) pad: Option<u32>,
}

/// The tokenizer of a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    spellings: Spellings,
    known: usize,
    bos: Option<u32>,
    pad: Option<u32>,
    around: Option<[u32; 2]>,
    /// Whether a text gets a space of its own before it: one that begins with none, one that begins with one.
    adds_space: [bool; 2],
}

impl Tokenizer {
    /// Bytes in memory of one whose file has so many: measured of GPT-2's, whose words lie in maps both ways.
    pub(in crate::models) fn bytes(of_file: usize) -> usize {
        of_file.saturating_mul(16)
    }

    /// `place` is where it was read, `d_vocab` what the model's embedding knows. Added tokens may lie beyond: a padding
    /// token that no text contains is never looked up.
    pub(super) fn new(
        place: impl Display,
        mut inner: tokenizers::Tokenizer,
        d_vocab: usize,
        special: SpecialIds,
    ) -> Result<Self> {
        growth::check(&inner).map_err(|e| invalid(format!("{place}: {e}")))?;
        // Both would change what a text is without a word.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| invalid(format!("{place}: {e}")))?;
        let ends = |of: &mut dyn Iterator<Item = u32>| of.max().map_or(0, |id| id as usize + 1);
        let added = inner.get_added_tokens_decoder();
        let vocabulary = inner.get_model().get_vocab();
        let own = ends(&mut (vocabulary.into_values()).filter(|id| !added.contains_key(id)));
        if own > d_vocab {
            return Err(invalid(format!(
                "{place}: vocabulary mismatch, token ids below the model's {d_vocab} are required, got {own} tokens"
            )));
        }
        let known = own.max(ends(&mut added.keys().copied()));
        // An id may be any number: the bytes of those that follow the model's are kept.
        let spelled = known.min(d_vocab + added.len());
        let spellings = Spellings::of(&inner, spelled);
        let [bos, pad] =
            [special.bos, special.pad].map(|id| id.filter(|id| (*id as usize) < known));
        let mut tokenizer = Self {
            around: around(&inner),
            inner,
            spellings,
            known,
            bos,
            pad,
            adds_space: [false; 2],
        };
        // Not every tokenizer knows the letter; of one that does not nothing is known.
        tokenizer.adds_space = [("a", " "), (" a", "  ")].map(|(text, begun)| {
            let ids = tokenizer.encode(text).unwrap_or_default();
            tokenizer.joined(&ids).starts_with(begun.as_bytes())
        });
        Ok(tokenizer)
    }

    /// Token ids of a text, without special tokens around it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let refused =
            |what: &dyn Display| invalid(format!("an encodable text is required, got {what}"));
        let encoded = guarded(|| self.inner.encode_fast(text, false));
        let encoded = encoded.ok_or_else(|| refused(&"one that the tokenizer fails at"))?;
        let encoding = encoded.map_err(|e| refused(&e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of many texts, encoded on all threads.
    pub fn encode_all<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>> {
        texts
            .par_iter()
            .map(|text| self.encode(text.as_ref()))
            .collect()
    }

    /// The bytes a token stands for, its leading space included: a part of a character, or several. None for an id the
    /// tokenizer does not know.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.spellings.get(id)
    }

    /// What a reader sees of a token alone: a byte that is only a part of a character is written `<0xE6>`, so that the
    /// texts of different tokens differ.
    pub fn token_text(&self, id: u32) -> Cow<'_, str> {
        let bytes = self.token_bytes(id);
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Cow::Borrowed(text);
        }
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|byte| format!("<0x{byte:02X}>")));
        }
        Cow::Owned(text)
    }

    /// The text of many tokens, special ones included: their bytes, one after the other, where those that are no whole
    /// character become U+FFFD. A space that [`Tokenizer::adds_space`] before it is no part of it.
    pub fn text(&self, ids: &[u32], added_space: bool) -> String {
        let bytes = self.joined(ids);
        let own = match bytes.strip_prefix(b" ") {
            Some(rest) if added_space => rest,
            _ => &bytes,
        };
        String::from_utf8_lossy(own).into_owned()
    }

    /// Whether the tokens of a text begin with a space that the text has not.
    pub fn adds_space(&self, text: &str) -> bool {
        self.adds_space[usize::from(text.starts_with(' '))]
    }

    fn joined(&self, ids: &[u32]) -> Vec<u8> {
        let tokens = ids.iter().flat_map(|id| self.token_bytes(*id));
        tokens.copied().collect()
    }

    /// The token that begins a text, if the tokenizer has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that stands for nothing: the one that pads, else the one that ends a text, if the tokenizer has one.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// The tokens that are put before and after a text, where it is one each.
    pub fn around(&self) -> Option<[u32; 2]> {
        self.around
    }

    /// Number of token ids, from 0.
    pub fn d_vocab(&self) -> usize {
        self.known
    }
}

/// What the tokenizer puts around a text.
fn around(inner: &tokenizers::Tokenizer) -> Option<[u32; 2]> {
    let encoded = |special: bool| guarded(|| inner.encode_fast("a", special));
    let ids = |special: bool| Some(encoded(special)?.ok()?.get_ids().to_vec());
    match (ids(true)?.as_slice(), ids(false)?) {
        ([first, own @ .., last], bare) if *own == bare => Some([*first, *last]),
        _ => None,
    }
}
