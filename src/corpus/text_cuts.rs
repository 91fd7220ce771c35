//! Cuts a long text where its tokens do not change, so that a book is encoded on all threads.
//!
//! Tokenizers split text into words before they merge bytes, and a space between two letters begins a word in nearly
//! all of them. Nearly is not enough: a cut is taken only if the text around it has the same tokens with and without
//! the cut. Where no cut holds, the segment grows, at worst to the whole text.

use datafusion::error::Result;

/// Bytes a segment has at least. Chosen: short to the clock, long to the checks.
const SEGMENT_BYTES: usize = 1 << 14;
/// Bytes on each side of a cut that are encoded to check it.
const CHECK_BYTES: usize = 64;
/// Cuts tried before a segment grows by its own length.
const TRIES: usize = 8;

/// Splits off the first segment of a text; the second part is empty after the last.
pub(super) fn split_segment<'a>(
    text: &'a str,
    encode: &dyn Fn(&str) -> Result<Vec<u32>>,
) -> Result<(&'a str, &'a str)> {
    let mut from = SEGMENT_BYTES;
    while from < text.len() {
        for at in cuts(text, from).take(TRIES) {
            let start = text.floor_char_boundary(at - CHECK_BYTES);
            let end = text.ceil_char_boundary(at + CHECK_BYTES);
            let mut halves = encode(&text[start..at])?;
            halves.extend(encode(&text[at..end])?);
            if halves == encode(&text[start..end])? {
                return Ok(text.split_at(at));
            }
        }
        from += SEGMENT_BYTES;
    }
    Ok((text, ""))
}

/// Spaces between two ASCII letters, in the next stretch of the text.
fn cuts(text: &str, from: usize) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let end = bytes.len().min(from + SEGMENT_BYTES);
    (from..end).filter(move |&at| {
        let after = bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic);
        bytes[at] == b' ' && after && bytes[at - 1].is_ascii_alphabetic()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(text: &str, encode: &dyn Fn(&str) -> Result<Vec<u32>>) -> Vec<String> {
        let (mut rest, mut segments) = (text, vec![]);
        while !rest.is_empty() {
            let (segment, after) = split_segment(rest, encode).unwrap();
            segments.push(segment.to_string());
            rest = after;
        }
        segments
    }

    /// A word with the space before it is a token.
    fn words(text: &str) -> Result<Vec<u32>> {
        let ids = text.split(' ').map(|w| w.bytes().map(u32::from).sum());
        Ok(ids.collect())
    }

    #[test]
    fn long_texts_are_cut_and_lose_nothing() {
        let text = "the quick brown fox, 12 é ".repeat(5000);
        let parts = segments(&text, &|t| {
            let skip = usize::from(t.starts_with(' '));
            words(&t[skip..])
        });
        assert!(parts.len() > 4);
        assert_eq!(parts.concat(), text);
    }

    #[test]
    fn a_tokenizer_that_marks_the_beginning_is_left_whole() {
        let text = "all of this is one ".repeat(5000);
        let marked = |t: &str| Ok([vec![7], words(t)?].concat());
        assert_eq!(segments(&text, &marked).len(), 1);
        let glued = "x".repeat(100_000);
        assert_eq!(segments(&glued, &words).len(), 1);
    }
}
