//! A dataset example as text: its window of tokens with the key token told apart.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;

/// Put before and after the key token.
pub const MARKS: [char; 2] = ['«', '»'];

/// Begins a byte, as in `<0xE6>`.
const BYTE: &str = "<0x";

/// The text of an example around its key token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// What comes before the key token, or all where that lies outside of the window.
    pub before: String,
    /// The key token without its leading space, and what comes after it.
    pub key_and_after: Option<(String, String)>,
}

/// The texts of examples.
///
/// A token that is only a part of a character has its bytes written `<0xE6>`: they are joined before they become
/// characters. The key token is made of whole characters; bytes that the window holds only in part are U+FFFD.
/// `None` where the window is NULL. `pos` and `window_start` are positions in the document.
pub fn contexts(
    window_tokens: &ArrayRef,
    pos: &ArrayRef,
    window_start: &ArrayRef,
) -> Result<Vec<Option<Context>>> {
    let windows = cast(window_tokens, &DataType::new_list(DataType::Utf8, true))?;
    let windows = windows.as_list::<i32>();
    let (pos, start) = (
        pos.as_primitive::<Int32Type>(),
        window_start.as_primitive::<Int32Type>(),
    );
    let mut bytes = vec![];
    Ok((0..windows.len())
        .map(|i| {
            if windows.is_null(i) || pos.is_null(i) || start.is_null(i) {
                return None;
            }
            let key = i64::from(pos.value(i)) - i64::from(start.value(i));
            let tokens = windows.value(i);
            let tokens = tokens.as_string::<i32>().iter();
            bytes.clear();
            let key = join(tokens.map(Option::unwrap_or_default), key, &mut bytes);
            Some(context(&bytes, key))
        })
        .collect())
}

impl Context {
    /// One line: line breaks shown as `↵`, the key token between [`MARKS`].
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(self.before.len() + 4);
        let mut push = |text: &str| {
            line.extend(text.chars().map(|c| match c {
                '\n' => '↵',
                c if c.is_control() => ' ',
                c => c,
            }));
        };
        push(&self.before);
        if let Some((key, after)) = &self.key_and_after {
            let [open, close] = MARKS.map(String::from);
            [&open, key, &close, after]
                .into_iter()
                .for_each(|part| push(part));
        }
        line
    }
}

/// Appends the bytes of tokens; where those of the key token lie.
fn join<'a>(
    tokens: impl Iterator<Item = &'a str>,
    key: i64,
    bytes: &mut Vec<u8>,
) -> Option<Range<usize>> {
    let mut place = None;
    for (i, token) in tokens.enumerate() {
        let start = bytes.len();
        let mut rest = token;
        while let Some(at) = rest.find(BYTE) {
            let (before, written) = rest.split_at(at);
            bytes.extend_from_slice(before.as_bytes());
            let after = match part_of_a_character(written) {
                Some((byte, after)) => {
                    bytes.push(byte);
                    after
                }
                None => {
                    bytes.extend_from_slice(BYTE.as_bytes());
                    &written[BYTE.len()..]
                }
            };
            rest = after;
        }
        bytes.extend_from_slice(rest.as_bytes());
        if i as i64 == key {
            place = Some(start..bytes.len());
        }
    }
    place
}

/// The byte of `<0xE6>` at the beginning of a text, and what follows.
fn part_of_a_character(text: &str) -> Option<(u8, &str)> {
    let (digits, after) = text.strip_prefix(BYTE)?.split_once('>')?;
    let hex = digits.len() == 2
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    let byte = u8::from_str_radix(digits, 16).ok().filter(|_| hex)?;
    // One below is a whole character, which nobody writes so.
    (byte >= 0x80).then_some((byte, after))
}

fn context(bytes: &[u8], key: Option<Range<usize>>) -> Context {
    let characters = bytes.utf8_chunks().flat_map(|chunk| {
        let whole = chunk.valid().chars().map(|c| (c, c.len_utf8()));
        let part = chunk.invalid().len();
        let part = (part > 0).then_some((char::REPLACEMENT_CHARACTER, part));
        whole.chain(part)
    });
    let [mut before, mut inside, mut after] = [(); 3].map(|()| String::new());
    let range = key.clone().unwrap_or(usize::MAX..usize::MAX);
    let mut at = 0;
    for (c, len) in characters {
        let part = if at >= range.end {
            &mut after
        } else if !inside.is_empty() || at + len > range.start && c != ' ' {
            &mut inside
        } else {
            // A leading space belongs between the words, not to the key token.
            &mut before
        };
        part.push(c);
        at += len;
    }
    Context {
        before,
        key_and_after: key.map(|_| (inside, after)),
    }
}

#[cfg(test)]
mod tests {
    fn line<const N: usize>(tokens: [&str; N], key: i64) -> String {
        let mut bytes = vec![];
        let key = super::join(tokens.into_iter(), key, &mut bytes);
        super::context(&bytes, key).line()
    }

    #[test]
    fn the_key_token_is_marked_inside_its_space() {
        assert_eq!(
            line(["a", " river", " bank", "\n", " x"], 2),
            "a river «bank»↵ x"
        );
        assert_eq!(line(["\n", "b"], 0), "«↵»b");
        assert_eq!(line(["a", " ", "b"], 1), "a «»b");
        assert_eq!(line(["a", "", "b"], 1), "a«»b");
        assert_eq!(
            line(["a", "b"], 7),
            "ab",
            "a key outside the window marks nothing"
        );
    }

    #[test]
    fn bytes_are_joined_before_they_become_characters() {
        // U+65E5 is E6 97 A5, U+1F600 is F0 9F 98 80.
        let day = [" <0xE6><0x97>", "<0xA5>", "本"];
        assert_eq!(line(day, 0), " «日»本");
        assert_eq!(line(day, 1), " «日»本");
        assert_eq!(line(day, 2), " 日«本»");
        let face = ["x<0xF0>", "<0x9F>", "<0x98><0x80> y", "<0xE6>"];
        assert_eq!(line(face, 0), "«x😀» y\u{FFFD}");
        assert_eq!(line(face, 1), "x«😀» y\u{FFFD}");
        assert_eq!(line(face, 3), "x😀 y«\u{FFFD}»");
        assert_eq!(
            line(["<0xA5>", "b"], 1),
            "\u{FFFD}«b»",
            "its other bytes are before"
        );
    }

    #[test]
    fn other_texts_are_no_bytes() {
        for text in ["<0x41>", "<0xE>", "<0xE6", "<0xe6>", "<0x<0x", "<0xÉ>"] {
            assert_eq!(line([text, "b"], 1), format!("{text}«b»"));
        }
        assert_eq!(line(["<", "0xE6>", "b"], 2), "<0xE6>«b»");
    }
}
