//! Text to token ids and back to what a reader sees of one token.

use std::path::Path;

use datafusion::error::Result;
use rayon::prelude::*;

use super::error::invalid;

/// A byte-level BPE tokenizer of a model folder.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    texts: Vec<String>,
    bos: Option<u32>,
}

impl Tokenizer {
    /// Bytes in memory of one whose file has so many: measured of GPT-2's, whose words lie in maps both ways.
    pub(super) fn bytes(of_file: usize) -> usize {
        of_file.saturating_mul(16)
    }

    /// Reads the bytes of a `tokenizer.json`. `d_vocab` is what the model's embedding knows; `bos` is the token the
    /// model's configuration begins a text with.
    pub(super) fn read(
        path: &Path,
        bytes: &[u8],
        d_vocab: usize,
        bos: Option<u32>,
    ) -> Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| {
            invalid(format!(
                "{}: a tokenizer is required, got {e}",
                path.display()
            ))
        })?;
        // Both would change what a text is without a word.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| invalid(format!("{}: {e}", path.display())))?;
        let known = inner
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |id| id as usize + 1);
        if known > d_vocab {
            return Err(invalid(format!(
                "{}: vocabulary mismatch, token ids below the model's {d_vocab} are required, got {known} tokens",
                path.display()
            )));
        }
        let texts = (0..known as u32)
            .into_par_iter()
            .map(|id| inner.decode(&[id], false))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| invalid(format!("{}: {e}", path.display())))?;
        let bos = bos.filter(|id| (*id as usize) < known);
        Ok(Self { inner, texts, bos })
    }

    /// Token ids of a text, without special tokens around it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| invalid(format!("an encodable text is required, got {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of many texts, encoded on all threads.
    pub fn encode_all<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>> {
        texts
            .par_iter()
            .map(|text| self.encode(text.as_ref()))
            .collect()
    }

    /// What a reader sees of a token: its leading space is kept, and bytes that are no whole character become
    /// U+FFFD. Empty for an id the tokenizer does not know.
    pub fn token_text(&self, id: u32) -> &str {
        self.texts.get(id as usize).map_or("", String::as_str)
    }

    /// The text of many tokens, special ones included; bytes that are no whole character become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, false)
            .map_err(|e| invalid(format!("decodable token ids are required, got {e}")))
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Number of token ids, from 0.
    pub fn d_vocab(&self) -> usize {
        self.texts.len()
    }
}
