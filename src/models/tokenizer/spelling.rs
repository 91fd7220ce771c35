//! The bytes that each token stands for, as the tokenizer's decoder says: of a token alone, not of a whole text, from
//! whose beginning a decoder may take a space.

use serde_json::Value;
use tokenizers::Model;

/// The bytes of every token.
pub(super) struct Spellings {
    bytes: Vec<u8>,
    /// Where those of each token end.
    ends: Vec<usize>,
}

impl Spellings {
    /// Those of the first `n` ids.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer, n: usize) -> Self {
        let model = tokenizer.get_model();
        let spelling = Spelling::of(tokenizer);
        let mut tokens: Vec<Vec<u8>> = vec![vec![]; n];
        for (token, id) in model.get_vocab() {
            if let Some(bytes) = tokens.get_mut(id as usize) {
                *bytes = spelling.bytes(&token);
            }
        }
        for (id, added) in tokenizer.get_added_tokens_decoder() {
            // Gemma's runs of spaces are tokens of the model and added to it, written as the model writes them.
            let of_model = model.id_to_token(id).as_ref() == Some(&added.content);
            let written = spelling.byte_level || added.special || !of_model;
            if let Some(bytes) = tokens.get_mut(id as usize)
                && written
            {
                *bytes = added.content.into_bytes();
            }
        }
        let mut spellings = Self {
            bytes: tokens.concat(),
            ends: Vec::with_capacity(n),
        };
        let mut end = 0;
        for token in &tokens {
            end += token.len();
            spellings.ends.push(end);
        }
        spellings.bytes.shrink_to_fit();
        spellings
    }

    /// Empty for an id that is none.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(end) = self.ends.get(id) else {
            return &[];
        };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..*end]
    }
}

/// How a vocabulary writes bytes.
#[derive(Default)]
struct Spelling {
    /// Every character is a byte, in GPT-2's alphabet.
    byte_level: bool,
    /// `<0x0A>` is a byte.
    byte_fallback: bool,
    /// What stands for what: `▁` for a space.
    replaced: Vec<(String, String)>,
    /// Words begin with a space but for what begins with this: WordPiece's `##`.
    continued: Option<String>,
    /// Ends a word.
    suffix: Option<String>,
}

impl Spelling {
    fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        let mut spelling = Self::default();
        match tokenizer.get_decoder() {
            Some(decoder) => spelling.read(&serde_json::to_value(decoder).unwrap_or_default()),
            None => {
                let before = tokenizer.get_pre_tokenizer();
                spelling.read(&serde_json::to_value(before).unwrap_or_default());
                let said = spelling.byte_level || !spelling.replaced.is_empty();
                // So the library joins the tokens of one that does not say.
                spelling.continued = (!said).then(String::new);
            }
        }
        spelling
    }

    /// What a decoder, or else a pre-tokenizer, says. Decoders that tidy a whole text say nothing of a token.
    fn read(&mut self, part: &Value) {
        let text = |key: &str| part[key].as_str().map(str::to_string);
        match part["type"].as_str() {
            Some("Sequence") => {
                let parts = ["decoders", "pretokenizers"].map(|key| part[key].as_array());
                let parts = parts.into_iter().flatten().flatten();
                parts.for_each(|part| self.read(part));
            }
            Some("ByteLevel") => self.byte_level = true,
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Metaspace") => {
                let mark = text("replacement").unwrap_or_default();
                self.replaced.push((mark, " ".to_string()));
            }
            Some("Replace") => {
                if let (Some(from), Some(to)) =
                    (part["pattern"]["String"].as_str(), text("content"))
                {
                    self.replaced.push((from.to_string(), to));
                }
            }
            Some("WordPiece") => self.continued = text("prefix"),
            Some("BPEDecoder") => self.suffix = text("suffix"),
            _ => {}
        }
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        if self.byte_level {
            let bytes: Option<Vec<u8>> = token.chars().map(byte).collect();
            return bytes.unwrap_or_else(|| token.as_bytes().to_vec());
        }
        if self.byte_fallback
            && let Some(byte) = fallback(token)
        {
            return vec![byte];
        }
        let mut text = token.to_string();
        for (from, to) in self.replaced.iter().filter(|(from, _)| !from.is_empty()) {
            text = text.replace(from, to);
        }
        match &self.continued {
            Some(prefix) if !prefix.is_empty() && text.starts_with(prefix) => {
                text.drain(..prefix.len());
            }
            Some(_) => text.insert(0, ' '),
            None => {}
        }
        if let Some(suffix) = self.suffix.as_ref().filter(|s| !s.is_empty()) {
            text = text.replace(suffix, " ");
        }
        text.into_bytes()
    }
}

/// The byte of `<0x0A>`.
fn fallback(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| hex)
}

/// The byte that a character of GPT-2's alphabet stands for: itself where it can be seen, else numbered from U+0100.
fn byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let bytes: std::collections::BTreeSet<u8> = ('\0'..'\u{200}').filter_map(byte).collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(('\0'..'\u{200}').filter_map(byte).count(), 256);
        assert_eq!(
            [byte('Ġ'), byte('Ċ'), byte('a')],
            [Some(b' '), Some(b'\n'), Some(b'a')]
        );
    }

    #[test]
    fn bytes_are_two_digits() {
        assert_eq!(fallback("<0x0A>"), Some(10));
        for other in ["<0xA>", "<0x+1>", "<0x0A", "0x0A", "<0x00A>", "<0xé>"] {
            assert_eq!(fallback(other), None, "{other}");
        }
    }
}
