//! What ends a script, and how an error reads.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use super::format::WriteError;
use super::format::value::width;
use super::variables::is_name;

/// Why the shell stops before the end of a script.
#[derive(Debug)]
pub enum Failure {
    /// A message for stderr.
    Error(String),
    /// Ctrl-C.
    Interrupted,
    /// Nobody reads the output any more, as after `| head`: no error, but no reason to go on.
    Closed,
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
        }
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Failure::Error(placed(&error))
    }
}

/// The message of an error without the wrappers' prefixes, which say where in the engine it arose and not what
/// to do about it.
pub fn describe(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Plan(message)
        | DataFusionError::Execution(message)
        | DataFusionError::Configuration(message) => message.clone(),
        DataFusionError::Internal(message) => format!("internal error: {message}"),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            describe(inner)
        }
        DataFusionError::Shared(inner) => describe(inner),
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::FieldNotFound { field, .. } if !is_name(field.name()) => format!(
                "a column is required, got \"{0}\": text stands in single quotes, '{0}'",
                field.name()
            ),
            inner => inner.to_string(),
        },
        DataFusionError::ArrowError(inner, _) => inner.to_string(),
        DataFusionError::Collection(errors) if !errors.is_empty() => describe(&errors[0]),
        DataFusionError::External(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => describe(inner),
            None => inner.to_string(),
        },
        DataFusionError::SQL(parser, _) => match parser.as_ref() {
            datafusion::sql::sqlparser::parser::ParserError::ParserError(message)
            | datafusion::sql::sqlparser::parser::ParserError::TokenizerError(message) => {
                format!("syntax: {message}")
            }
            other => other.to_string(),
        },
        other => other.strip_backtrace(),
    }
}

/// What stands before the place of an error in its message.
const MARK: &str = " at Line: ";
const COLUMN: &str = ", Column: ";
/// Characters shown on either side of the place of an error.
const AROUND: usize = 60;

/// The message of an error with its place as the parser writes it, if one is known.
fn placed(error: &DataFusionError) -> String {
    let message = describe(error);
    let span = error.diagnostic().and_then(|found| found.span);
    match span {
        Some(span) if !message.contains(MARK) => {
            let at = span.start;
            format!("{message}{MARK}{}{COLUMN}{}", at.line, at.column)
        }
        _ => message,
    }
}

/// Rewrites the parser's `at Line: 2, Column: 5`, counted from the statement, to the place in the script, and shows the
/// line with a mark below the place.
pub fn relocate(message: &str, statement: &str, line: usize, column: usize) -> String {
    let Some((before, place)) = message.rsplit_once(MARK) else {
        return message.to_string();
    };
    let numbers = place.split_once(COLUMN);
    let numbers =
        numbers.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let Some((inner_line, inner_column)): Option<(usize, usize)> = numbers else {
        return message.to_string();
    };
    // The parser says 0 where it knows no place.
    if inner_line == 0 {
        return before.to_string();
    }
    let shift = if inner_line == 1 { column - 1 } else { 0 };
    let located = format!(
        "{before} at line {}, column {}",
        line + inner_line - 1,
        inner_column + shift
    );
    match statement.lines().nth(inner_line - 1) {
        Some(text) if inner_column > 0 => located + &marked(text, inner_column - 1),
        _ => located,
    }
}

/// A line of a statement with a mark below one of its characters.
fn marked(text: &str, at: usize) -> String {
    let from = at.saturating_sub(AROUND);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = text
        .chars()
        .skip(from)
        .take(2 * AROUND)
        .map(visible)
        .collect();
    let before: String = shown.chars().take(at - from).collect();
    format!(
        "\n  {}\n  {}^",
        shown.trim_end(),
        " ".repeat(width(&before))
    )
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
        let statement = "x".repeat(500);
        let message = relocate("oops at Line: 1, Column: 401", &statement, 1, 1);
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines[1].len(), 2 + 2 * AROUND);
        assert_eq!(lines[2], format!("{}^", " ".repeat(2 + AROUND)));
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

    #[test]
    fn wrappers_are_taken_off() {
        let inner = DataFusionError::Plan("feature_clusters: a layer is required, got none".into());
        let wrapped = DataFusionError::External(Box::new(inner.context("while planning")));
        assert_eq!(
            describe(&wrapped),
            "feature_clusters: a layer is required, got none"
        );
    }
}
