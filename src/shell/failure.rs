//! What ends a script, and how an error reads.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;

use datafusion::error::DataFusionError;
use tokio::task::JoinError;

use super::format::WriteError;
use super::format::value::width;
use super::screen;
use crate::text::{COLUMN, LINE, describe};

/// Why the shell stops before the end of a script.
#[derive(Debug)]
pub enum Failure {
    /// A message for stderr.
    Error(String),
    /// Ctrl-C, with what is to be said of what it ended.
    Interrupted(String),
    /// Nobody reads the output any more, as after `| head`: no error, but no reason to go on.
    Closed,
    /// The same before the last statement, so that others did not run.
    ClosedEarly,
}

impl Failure {
    /// Ctrl-C that ended a question.
    pub fn interrupted() -> Self {
        Failure::Interrupted("cancelled".to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Error(format!(
                "output: a writable output is required, got {error}"
            )),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => error.into(),
            WriteError::Value(error) => Failure::Error(describe(&error.into())),
            WriteError::Columns(error) => Failure::Error(describe(&error)),
        }
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Failure::Error(placed(&error))
    }
}

/// Columns of a line that is shown where no terminal says how many it has.
const SHOWN: usize = 120;
/// What stands before a line that is shown.
const MARGIN: &str = "  ";

/// The message of an error with its place as the parser writes it, if one is known.
fn placed(error: &DataFusionError) -> String {
    let message = describe(error);
    let span = error.diagnostic().and_then(|found| found.span);
    match span {
        Some(span) if !message.contains(LINE) => {
            let at = span.start;
            let (first, more) = message.split_once('\n').unwrap_or((&message, ""));
            let more = if more.is_empty() {
                String::new()
            } else {
                format!("\n{more}")
            };
            format!("{first}{LINE}{}{COLUMN}{}{more}", at.line, at.column)
        }
        _ => message,
    }
}

/// Rewrites the parser's `at Line: 2, Column: 5`, counted from the statement, to the place in the script, and shows the
/// line with a mark below the place.
pub fn relocate(message: &str, statement: &str, line: usize, column: usize) -> String {
    let Some((before, place)) = message.rsplit_once(LINE) else {
        return message.to_string();
    };
    let (place, more) = match place.split_once('\n') {
        Some((place, more)) => (place, format!("\n{more}")),
        None => (place, String::new()),
    };
    let numbers = place.split_once(COLUMN);
    let numbers =
        numbers.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let Some((inner_line, inner_column)): Option<(usize, usize)> = numbers else {
        return message.to_string();
    };
    // The parser says 0 where it knows no place.
    if inner_line == 0 {
        return before.to_string() + &more;
    }
    let shift = if inner_line == 1 { column - 1 } else { 0 };
    let located = format!(
        "{before} at line {}, column {}",
        line + inner_line - 1,
        inner_column + shift
    );
    let columns = screen::message_columns().unwrap_or(SHOWN + MARGIN.len());
    match statement.lines().nth(inner_line - 1) {
        Some(text) if inner_column > 0 => {
            located + &marked(text, inner_column - 1, columns.saturating_sub(MARGIN.len())) + &more
        }
        _ => located + &more,
    }
}

/// A line of a statement with a mark below one of its characters. Of one that is longer than `columns` the part around
/// the place is shown.
fn marked(text: &str, at: usize, columns: usize) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: Vec<char> = text.trim_end().chars().map(visible).collect();
    let shown = |range: Range<usize>| -> String { text[range].iter().collect() };
    let (mut from, mut to) = (0, text.len());
    let at = at.min(to);
    let cut = |from: usize, to: usize| usize::from(from > 0) + usize::from(to < text.len());
    while width(&shown(from..to)) + cut(from, to) > columns && (from < at || to > at + 1) {
        match width(&shown(from..at)) >= width(&shown(at..to)) {
            true => from += 1,
            false => to -= 1,
        }
    }
    let before = if from > 0 { "…" } else { "" };
    let after = if to < text.len() { "…" } else { "" };
    let blanks = " ".repeat(width(before) + width(&shown(from..at)));
    let line = shown(from..to);
    format!("\n{MARGIN}{before}{line}{after}\n{MARGIN}{blanks}^")
}

/// Panics whose place nobody has asked for yet.
const MAX_PANICS: usize = 64;

/// Message and place of the latest panics: a statement knows the message of its own panic, but not where it was.
static PANICS: Mutex<VecDeque<(String, String)>> = Mutex::new(VecDeque::new());

/// Keeps panics of worker threads off stderr and remembers their places for the messages of their statements.
pub fn keep_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().name() == Some("main") {
            return default(panic);
        }
        if let Some(place) = panic.location() {
            let place = format!("{}:{}", place.file(), place.line());
            remember(payload_text(panic.payload()), place);
        }
    }));
}

fn remember(message: String, place: String) {
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    panics.truncate(MAX_PANICS - 1);
    panics.push_front((message, place));
}

/// A panic of a statement as its error.
pub fn internal_error(payload: &(dyn Any + Send)) -> String {
    let message = payload_text(payload);
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let own = panics.iter().position(|(of, _)| *of == message);
    match own.and_then(|own| panics.remove(own)) {
        Some((_, place)) => format!("internal error: {message} ({place})"),
        None => format!("internal error: {message}"),
    }
}

/// Why a task has no result: its panic, or that it was given up.
pub fn lost(error: JoinError) -> Failure {
    Failure::Error(match error.try_into_panic() {
        Ok(panic) => format!("error: {}", internal_error(panic.as_ref())),
        Err(error) => format!("error: {error}"),
    })
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parser_places_become_places_of_the_script() {
        let relocated = |message| relocate(message, "a 日本 b\nSELECT", 10, 5);
        assert_eq!(
            relocated("Expected: x at Line: 1, Column: 6"),
            "Expected: x at line 10, column 10\n  a 日本 b\n         ^"
        );
        assert_eq!(
            relocated("Expected: x at Line: 2, Column: 3"),
            "Expected: x at line 11, column 3\n  SELECT\n    ^"
        );
        assert_eq!(
            relocated("Expected: x at Line: 0, Column: 0"),
            "Expected: x"
        );
        assert_eq!(relocated("table x at Line: two"), "table x at Line: two");
        assert_eq!(
            relocated("Expected: x at Line: 3, Column: 1"),
            "Expected: x at line 12, column 1"
        );
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        for (at, line, mark) in [
            (0, "abcdef…", "^"),
            (5, "…defg…", "   ^"),
            (11, "…ghijkl", "      ^"),
        ] {
            let columns = line.chars().count();
            assert_eq!(
                marked("abcdefghijkl", at, columns),
                format!("\n  {line}\n  {mark}"),
                "{at}"
            );
        }
        assert_eq!(marked("abc", 3, 80), "\n  abc\n     ^");
        let message = relocate("oops at Line: 1, Column: 401", &"x".repeat(500), 1, 1);
        let shown = message.lines().nth(1).map(width);
        assert_eq!(shown, Some(2 + SHOWN));
    }

    #[test]
    fn two_statements_panics_do_not_mix() {
        let panics = ["row 7 is odd", "row 8 is even"];
        for (message, place) in panics.into_iter().zip(["a.rs:1", "b.rs:2"]) {
            remember(message.to_string(), place.to_string());
        }
        assert_eq!(
            internal_error(&panics[0]),
            "internal error: row 7 is odd (a.rs:1)"
        );
        assert_eq!(
            internal_error(&panics[1]),
            "internal error: row 8 is even (b.rs:2)"
        );
        assert_eq!(internal_error(&panics[1]), "internal error: row 8 is even");
    }
}
