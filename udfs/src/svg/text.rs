//! Text of a corpus in a picture: nothing in it is markup, and nothing in it is hidden.

use std::fmt::Write;

/// Whether a character shows nothing of its own or changes the order of those around it: a control character, a mark of
/// direction, a filler, a zero width, a shift of shapes, what is no character.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text with what would not be seen written out: `\u{202e}`, a line break as `↵`.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push('↵'),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            hidden if is_hidden(hidden) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(hidden));
            }
            seen => out.push(seen),
        }
    }
    out
}

/// The text as content or attribute of XML or HTML, after [`visible`].
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in visible(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            plain => out.push(plain),
        }
    }
    out
}

/// Columns a text takes where a Latin letter takes one: two for East Asian and emoji characters, none for combining marks.
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(character: char) -> usize {
    match u32::from(character) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xff00..=0xff60 => {
            2
        }
        0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The longest beginning of at most so many columns, ended by `…` where something is cut off.
pub fn first_columns(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_string();
    }
    let mut out = fitting(text.chars(), most);
    out.push('…');
    out
}

/// The longest end of at most so many columns, begun by `…` where something is cut off.
pub fn last_columns(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_string();
    }
    let end = fitting(text.chars().rev(), most);
    ['…'].into_iter().chain(end.chars().rev()).collect()
}

/// The first characters that leave a column of so many free.
fn fitting(characters: impl Iterator<Item = char>, most: usize) -> String {
    let mut left = most.saturating_sub(1);
    characters
        .map_while(|character| {
            left = left.checked_sub(columns_of(character))?;
            Some(character)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text_and_hidden_characters_are_seen() {
        assert_eq!(
            escaped("</text><script>\"'&"),
            "&lt;/text&gt;&lt;script&gt;&quot;&#39;&amp;"
        );
        assert_eq!(
            escaped("a\u{202e}b\u{200d}\u{1b}[0m\n\0\u{feff}\u{ffff}"),
            "a\\u{202e}b\\u{200d}\\u{1b}[0m↵\\u{0}\\u{feff}\\u{ffff}"
        );
        assert_eq!(visible("שלום 日本 😀 é"), "שלום 日本 😀 é");
    }

    #[test]
    fn both_ends_are_cut_by_columns() {
        assert_eq!(first_columns("abcdef", 6), "abcdef");
        assert_eq!(first_columns("abcdef", 4), "abc…");
        assert_eq!(last_columns("abcdef", 4), "…def");
        assert_eq!(first_columns("日本語", 5), "日本…");
        assert_eq!(last_columns("日本語", 4), "…語");
        assert_eq!(first_columns("abc", 0), "…");
        assert_eq!(columns("e\u{301}"), 1);
    }
}
