//! How an error of the engine reads.

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use polysema_udfs::calls::did_you_mean;

use super::lex::is_name;

/// What stands before the line of a place in the parser's messages.
pub const LINE: &str = " at Line: ";
/// And before its column.
pub const COLUMN: &str = ", Column: ";

/// A place in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementPlace {
    /// Its line, from 1.
    pub line: usize,
    /// Its character in the line, from 1.
    pub column: usize,
}

/// The message of an error, and where in the statement it is if that is known.
pub fn located(error: &DataFusionError) -> (String, Option<StatementPlace>) {
    let message = describe(error);
    if let Some((before, rest)) = message.rsplit_once(LINE) {
        let (place, more) = rest.split_once('\n').unwrap_or((rest, ""));
        let numbers = place.split_once(COLUMN);
        let numbers =
            numbers.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
        if let Some((line, column)) = numbers {
            let message = [before, more].join("\n").trim_end().to_string();
            // The parser says 0 where it knows no place.
            return (
                message,
                (line > 0).then_some(StatementPlace { line, column }),
            );
        }
    }
    let start = error.diagnostic().and_then(|found| found.span);
    let place = start.and_then(|span| {
        Some(StatementPlace {
            line: usize::try_from(span.start.line).ok()?,
            column: usize::try_from(span.start.column).ok()?,
        })
    });
    (message, place.filter(|place| place.line > 0))
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
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => missing_column(field, valid_fields),
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

/// A column that is not there. The others stand in a line of their own, below the place.
fn missing_column(column: &Column, known: &[Column]) -> String {
    let name = column.name();
    if !is_name(name) {
        return format!(
            "a column is required, got \"{name}\": text stands in single quotes, '{name}'"
        );
    }
    let names: Vec<&str> = known.iter().map(Column::name).collect();
    let meant = match did_you_mean(names.iter().copied(), name) {
        none if none.is_empty() && column.relation.is_none() => {
            format!(" (text stands in single quotes, '{name}')")
        }
        meant => meant,
    };
    let got = column.flat_name();
    // Qualified where a name alone would not do.
    let listed = known.iter().map(|column| {
        let twice = names.iter().filter(|name| **name == column.name()).count() > 1;
        match twice {
            true => column.flat_name(),
            false => column.name().to_string(),
        }
    });
    match listed.collect::<Vec<_>>().as_slice() {
        [] => format!("a column is required, got {got}{meant}"),
        listed => format!(
            "a column is required, got {got}{meant}\ncolumns: {}",
            listed.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_out_of_the_message() {
        let of = |words: &str| located(&DataFusionError::Plan(words.into()));
        let place = Some(StatementPlace { line: 2, column: 5 });
        assert_eq!(of("a at Line: 2, Column: 5"), ("a".to_string(), place));
        assert_eq!(
            of("a at Line: 2, Column: 5\nb"),
            ("a\nb".to_string(), place)
        );
        assert_eq!(of("a at Line: 0, Column: 0"), ("a".to_string(), None));
        assert_eq!(of("a at Line: x"), ("a at Line: x".to_string(), None));
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
