//! What ends a script, and how an error reads.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use datafusion::error::DataFusionError;

use super::format::WriteError;

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
        Failure::Error(describe(&error))
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
        DataFusionError::SchemaError(inner, _) => inner.to_string(),
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

/// Rewrites the parser's `at Line: 2, Column: 5`, counted from the statement, to the place in the script.
pub fn relocate(message: &str, line: usize, column: usize) -> String {
    const MARK: &str = " at Line: ";
    let Some((before, place)) = message.rsplit_once(MARK) else {
        return message.to_string();
    };
    let Some((inner_line, inner_column)) = place.split_once(", Column: ") else {
        return message.to_string();
    };
    let (Ok(inner_line), Ok(inner_column)) =
        (inner_line.parse::<usize>(), inner_column.parse::<usize>())
    else {
        return message.to_string();
    };
    // The parser says 0 where it knows no place.
    if inner_line == 0 {
        return before.to_string();
    }
    let shift = if inner_line == 1 { column - 1 } else { 0 };
    format!(
        "{before} at line {}, column {}",
        line + inner_line - 1,
        inner_column + shift
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
        assert_eq!(
            relocate("Expected: x at Line: 1, Column: 3", 10, 5),
            "Expected: x at line 10, column 7"
        );
        assert_eq!(
            relocate("Expected: x at Line: 2, Column: 3", 10, 5),
            "Expected: x at line 11, column 3"
        );
        assert_eq!(
            relocate("Expected: x at Line: 0, Column: 0", 10, 5),
            "Expected: x"
        );
        assert_eq!(
            relocate("table x at Line: two", 1, 1),
            "table x at Line: two"
        );
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
