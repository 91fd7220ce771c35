//! Colours of the prompt's line.

use std::borrow::Cow;

use rustyline::highlight::{CmdKind, Highlighter};

use super::complete::{ShellHelper, is_keyword};
use crate::text::{PieceKind, lex};

const KEYWORD: &str = "\x1b[1;34m";
const TEXT: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[36m";
const FUNCTION: &str = "\x1b[35m";
const COMMENT: &str = "\x1b[90m";
const RESET: &str = "\x1b[0m";

/// The line with colours, names of functions among them; `pending` is what was typed before it, so that a string may begin there.
pub fn colour(pending: &str, line: &str, is_function: impl Fn(&str) -> bool) -> String {
    let text = format!("{pending}{line}");
    let (lexemes, error) = lex(&text);
    let mut output = String::with_capacity(2 * line.len());
    let mut paint = |start: usize, end: usize, colour: Option<&str>| {
        let piece = &text[start.max(pending.len())..end.max(pending.len())];
        match colour {
            Some(colour) if !piece.is_empty() => output.extend([colour, piece, RESET]),
            _ => output.push_str(piece),
        }
    };
    for lexeme in &lexemes {
        let called = || text[lexeme.end..].trim_start().starts_with('(');
        let colour = match lexeme.kind {
            PieceKind::Word | PieceKind::Keyword
                if called() && is_function(&text[lexeme.start..lexeme.end]) =>
            {
                Some(FUNCTION)
            }
            PieceKind::Text => Some(TEXT),
            PieceKind::Number => Some(NUMBER),
            PieceKind::Comment => Some(COMMENT),
            PieceKind::Keyword if is_keyword(&text[lexeme.start..lexeme.end]) => Some(KEYWORD),
            _ => None,
        };
        paint(lexeme.start, lexeme.end, colour);
    }
    if let Some(error) = error {
        let comment = text[error.offset..].starts_with("/*");
        paint(
            error.offset,
            text.len(),
            Some(if comment { COMMENT } else { TEXT }),
        );
    }
    output
}

impl Highlighter for ShellHelper {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        if !self.colours || (self.pending.is_empty() && line.trim_start().starts_with('\\')) {
            return Cow::Borrowed(line);
        }
        Cow::Owned(colour(&self.pending, line, |word| {
            self.vocabulary.has_function(word)
        }))
    }

    fn highlight_char(&self, _line: &str, _position: usize, kind: CmdKind) -> bool {
        self.colours && kind != CmdKind::MoveCursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coloured(pending: &str, line: &str) -> String {
        colour(pending, line, |word| word == "linkage")
    }

    #[test]
    fn words_functions_strings_numbers_and_comments() {
        assert_eq!(
            coloured("", "select layer, 'a' , 1.5 -- x"),
            "\x1b[1;34mselect\x1b[0m layer, \x1b[32m'a'\x1b[0m , \x1b[36m1.5\x1b[0m \x1b[90m-- x\x1b[0m"
        );
        assert_eq!(
            coloured("", "linkage (linkage, layer("),
            "\x1b[35mlinkage\x1b[0m (linkage, layer("
        );
    }

    #[test]
    fn a_string_may_go_on_from_the_line_before() {
        assert_eq!(
            coloured("select 'a\n", "b' as c"),
            "\x1b[32mb'\x1b[0m \x1b[1;34mas\x1b[0m c"
        );
        assert_eq!(coloured("select 'a\n", "b"), "\x1b[32mb\x1b[0m");
        assert_eq!(coloured("/* a\n", "b"), "\x1b[90mb\x1b[0m");
    }
}
