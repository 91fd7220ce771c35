//! Cuts a long text where its tokens do not change, so that a book is encoded on all threads, and read in pieces.
//!
//! Tokenizers split text into words before they merge bytes, and a space between two letters begins a word in nearly
//! all of them. Nearly is not enough: a cut is taken only if the text around it has the same tokens with and without
//! the cut. Where no cut holds, the segment grows, at worst to the whole text.

use datafusion::error::Result;

/// Bytes a segment has at least. Chosen: short to the clock, long to the checks.
pub(super) const SEGMENT_BYTES: usize = 1 << 14;
/// Bytes on each side of a cut that are encoded to check it.
const CHECK_BYTES: usize = 64;
/// Cuts tried before a segment grows by its own length.
const TRIES: usize = 8;

/// Where the first segment of a text ends, if not with the text. Looked for from `from` on, at first [`SEGMENT_BYTES`],
/// which goes to where nothing is known yet. Of a text that goes on, a cut is one of the whole text or none.
pub(super) fn first_cut(
    text: &str,
    from: &mut usize,
    goes_on: bool,
    encode: &dyn Fn(&str) -> Result<Vec<u32>>,
) -> Result<Option<usize>> {
    while *from < text.len() {
        if goes_on && text.len() < *from + SEGMENT_BYTES + CHECK_BYTES {
            return Ok(None);
        }
        for at in cuts(text, *from).take(TRIES) {
            let start = text.floor_char_boundary(at - CHECK_BYTES);
            let end = text.ceil_char_boundary(at + CHECK_BYTES);
            let mut halves = encode(&text[start..at])?;
            halves.extend(encode(&text[at..end])?);
            if halves == encode(&text[start..end])? {
                return Ok(Some(at));
            }
        }
        *from += SEGMENT_BYTES;
    }
    Ok(None)
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

    /// The segments of a text that comes in pieces of so many bytes.
    fn segments(
        text: &str,
        piece: usize,
        encode: &dyn Fn(&str) -> Result<Vec<u32>>,
    ) -> Vec<String> {
        let (mut rest, mut segments, mut from, mut read) =
            (String::new(), vec![], SEGMENT_BYTES, 0);
        while read < text.len() {
            let end = text.ceil_char_boundary(text.len().min(read + piece));
            rest.push_str(&text[read..end]);
            read = end;
            while let Some(at) = first_cut(&rest, &mut from, read < text.len(), encode).unwrap() {
                let after = rest.split_off(at);
                segments.push(std::mem::replace(&mut rest, after));
                from = SEGMENT_BYTES;
            }
        }
        segments.push(rest);
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
        let encode = |t: &str| {
            let skip = usize::from(t.starts_with(' '));
            words(&t[skip..])
        };
        let whole = segments(&text, text.len(), &encode);
        assert!(whole.len() > 4);
        assert_eq!(whole.concat(), text);
        // In whatever pieces it comes.
        for piece in [1000, SEGMENT_BYTES, 40_001] {
            assert!(segments(&text, piece, &encode) == whole);
        }
    }

    #[test]
    fn a_tokenizer_that_marks_the_beginning_is_left_whole() {
        let text = "all of this is one ".repeat(5000);
        let marked = |t: &str| Ok([vec![7], words(t)?].concat());
        assert_eq!(segments(&text, text.len(), &marked).len(), 1);
        assert_eq!(segments(&text, 10_000, &marked).len(), 1);
        let glued = "x".repeat(100_000);
        assert_eq!(segments(&glued, glued.len(), &words).len(), 1);
    }
}
