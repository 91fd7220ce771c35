//! A script as statements and shell commands, each with the line it begins on.

use crate::text::{PieceKind, lex, line_of};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One SQL statement, without its semicolon.
    Statement(String),
    /// One backslash command, with its backslash.
    Command(String),
}

/// A step and the place in the source where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// What to do.
    pub step: Step,
    /// Its first byte in the source.
    pub offset: usize,
    /// Line of its first token, from 1.
    pub line: usize,
    /// Character of its first token in that line, from 1.
    pub column: usize,
}

impl Located {
    /// Whether the step runs a file.
    pub fn is_include(&self) -> bool {
        matches!(&self.step, Step::Command(line) if line.starts_with("\\i "))
    }
}

/// A text cut into steps, and what is left without a semicolon.
#[derive(Debug, Default)]
pub struct Steps {
    /// The finished steps, in order.
    pub steps: Vec<Located>,
    /// The last statement, when no semicolon ends it.
    pub rest: Option<Located>,
    /// Line and reason when a string, quoted name or comment does not end.
    pub unfinished: Option<(usize, String)>,
}

/// Cuts a text at the semicolons that are outside strings, quoted names and comments. A backslash where a
/// statement could begin makes the rest of its line a command.
pub fn split(text: &str) -> Steps {
    let mut split = Steps::default();
    let mut base = 0;
    while let Some(next) = split_until_command(text, base, &mut split) {
        base = next;
    }
    split
}

/// Splits from `base` to the end, or to the end of the first command's line, which it returns: what follows a
/// command has to be tokenized afresh because a command may hold an odd quote.
fn split_until_command(text: &str, base: usize, split: &mut Steps) -> Option<usize> {
    let (lexemes, error) = lex(&text[base..]);
    let mut first: Option<usize> = None;
    for lexeme in lexemes {
        let start = base + lexeme.start;
        match (lexeme.kind, first) {
            (PieceKind::Space | PieceKind::Comment | PieceKind::Semicolon, None) => {}
            (PieceKind::Backslash, None) => {
                let stop = text[start..]
                    .find('\n')
                    .map_or(text.len(), |length| start + length);
                let command = text[start..stop].trim_end().to_string();
                split
                    .steps
                    .push(locate(text, start, Step::Command(command)));
                return Some(stop);
            }
            (PieceKind::Semicolon, Some(begin)) => {
                let statement = text[begin..start].trim_end().to_string();
                split
                    .steps
                    .push(locate(text, begin, Step::Statement(statement)));
                first = None;
            }
            (_, None) => first = Some(start),
            (_, Some(_)) => {}
        }
    }
    if let Some(error) = error {
        let offset = base + error.offset;
        split.unfinished = Some((line_of(text, offset), error.message));
        first = first.or(Some(offset));
    }
    if let Some(begin) = first {
        let statement = text[begin..].trim_end().to_string();
        split.rest = Some(locate(text, begin, Step::Statement(statement)));
    }
    None
}

fn locate(text: &str, offset: usize, step: Step) -> Located {
    let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let column = 1 + text[line_start..offset].chars().count();
    Located {
        step,
        offset,
        line: line_of(text, offset),
        column,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<(usize, String)> {
        let split = split(text);
        split
            .steps
            .into_iter()
            .chain(split.rest)
            .map(|located| match located.step {
                Step::Statement(text) | Step::Command(text) => (located.line, text),
            })
            .collect()
    }

    fn owned(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
        expected
            .iter()
            .map(|(line, text)| (*line, (*text).to_string()))
            .collect()
    }

    #[test]
    fn semicolons_inside_strings_names_and_comments_do_not_cut() {
        let text = "SELECT ';''--' AS \"a;b\"; -- one; two\n/* ; */\nSELECT $$;$$, $t$;$$;$t$ ;\n\n;;SELECT 3";
        assert_eq!(
            statements(text),
            owned(&[
                (1, "SELECT ';''--' AS \"a;b\""),
                (3, "SELECT $$;$$, $t$;$$;$t$"),
                (5, "SELECT 3")
            ])
        );
    }

    #[test]
    fn several_statements_on_one_line_have_their_columns() {
        let columns: Vec<usize> = split("SELECT 'é'; SELECT 2;")
            .steps
            .iter()
            .map(|s| s.column)
            .collect();
        assert_eq!(columns, [1, 13]);
    }

    #[test]
    fn a_command_ends_with_its_line_and_may_hold_an_odd_quote() {
        let text = "\\set who it's\nSELECT 1;\n  \\timing on  \n\\d a;b\nSELECT\n\\x;";
        assert_eq!(
            statements(text),
            owned(&[
                (1, "\\set who it's"),
                (2, "SELECT 1"),
                (3, "\\timing on"),
                (4, "\\d a;b"),
                (5, "SELECT\n\\x")
            ])
        );
    }

    #[test]
    fn nothing_but_comments_is_no_step() {
        assert!(statements("-- only\n/* and */ ;\n").is_empty());
        assert!(statements("").is_empty());
    }

    #[test]
    fn an_unfinished_string_names_its_line() {
        let split = split("SELECT 1;\nSELECT\n  'abc;\n");
        assert_eq!(split.unfinished.as_ref().map(|(line, _)| *line), Some(3));
        assert_eq!(split.steps.len(), 1);
        assert_eq!(split.rest.map(|rest| rest.line), Some(2));
    }
}
