//! The terminal: its size, and prose that is wrapped to it at word boundaries.

use std::env;
use std::io::{self, IsTerminal};

use console::Term;

use super::format::value::width;

/// Where the second column of a listing may begin, under which its lines go on.
const MAX_HANG: usize = 32;
/// Columns that prose keeps under a hanging indent, or there is none.
const LEAST_PROSE: usize = 24;

/// Columns and lines of the terminal that stdout is, if it is one.
pub fn size() -> Option<(usize, usize)> {
    size_of(&Term::stdout())
}

/// Whether what goes to stdout is coloured: it is a terminal, and NO_COLOR does not forbid it.
pub fn has_colours() -> bool {
    let is_allowed = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    is_allowed && io::stdout().is_terminal()
}

/// Columns of the terminal that stderr is, if it is one.
pub fn message_columns() -> Option<usize> {
    size_of(&Term::stderr()).map(|(columns, _)| columns)
}

fn size_of(terminal: &Term) -> Option<(usize, usize)> {
    let (lines, columns) = terminal.size_checked().filter(|_| terminal.is_term())?;
    // A terminal whose size nobody has set says 0.
    let or = |size: u16, usual| if size == 0 { usual } else { usize::from(size) };
    Some((or(columns, 80), or(lines, usize::MAX)))
}

/// Prose as it is where it goes to no terminal; else its lines go on under their text, or under the second column of a
/// listing, and a word that is longer than a line stays whole, so that it can be copied.
pub fn prose(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_string();
    };
    let lines = text.split('\n').map(|line| {
        let hang = Some(hang(line)).filter(|hang| hang + LEAST_PROSE <= columns);
        let indent = " ".repeat(hang.unwrap_or(0));
        wrapped(line, columns, indent.len()).join(&format!("\n{indent}"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Columns before the text of a line, or before the second column of a listing.
fn hang(line: &str) -> usize {
    let text = line.len() - line.trim_start().len();
    let gap = line[text..].find("  ").map(|gap| text + gap);
    let second = gap.map(|gap| line.len() - line[gap..].trim_start().len());
    match second {
        Some(second) if second < line.len() && width(&line[..second]) <= MAX_HANG => {
            width(&line[..second])
        }
        _ => text,
    }
}

/// A line in pieces, cut at blanks, the first of at most `columns`, the others `indent` narrower.
pub fn wrapped(line: &str, columns: usize, indent: usize) -> Vec<String> {
    let mut pieces = vec![];
    let mut piece = String::new();
    for word in line.split_inclusive(' ') {
        let room = match pieces.is_empty() {
            true => columns,
            false => columns.saturating_sub(indent),
        };
        let is_begun = !piece.trim().is_empty();
        if is_begun && width(&piece) + width(word.trim_end()) > room {
            pieces.push(piece.trim_end().to_string());
            piece.clear();
        }
        piece.push_str(word);
    }
    pieces.push(piece.trim_end().to_string());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_goes_on_under_its_text() {
        let wrap = |text, columns| prose(text, Some(columns));
        assert_eq!(wrap("one two three", 8), "one two\nthree");
        assert_eq!(wrap("one two three", 13), "one two three");
        assert_eq!(wrap("a\n\nb c", 80), "a\n\nb c");
        let listing = "  seed  number: where the numbers of the first step come from";
        let lines = "  seed  number: where the numbers of the\n        first step come from";
        assert_eq!(wrap(listing, 42), lines);
        // A word is not cut, and a narrow terminal has no room for an indent.
        assert_eq!(
            wrap("go to /a/long/path now", 8),
            "go to\n/a/long/path\nnow"
        );
        assert_eq!(wrap("  seed  the first", 12), "  seed  the\nfirst");
        assert_eq!(prose("one two three", None), "one two three");
    }
}
