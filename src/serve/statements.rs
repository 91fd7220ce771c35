//! From a client's text to what it asks: a question for the session, or one of the commands that PostgreSQL's clients send
//! about the connection itself. Above 400 lines, with its tests.

use datafusion::sql::sqlparser::ast::{self, CopyLegacyCsvOption, CopyLegacyOption, CopyOption};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use pgwire::api::results::{CopyCsvOptions, CopyTextOptions};
use pgwire::error::{PgWireError, PgWireResult};

use super::errors::{refused, state};
use super::settings::is_known;
use crate::text::{Lexeme, PieceKind, lex};

/// A command about the connection.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClientCommand {
    /// Changes a setting of PostgreSQL's; to what the connection began with where no value is given.
    Set {
        name: String,
        value: Option<String>,
    },
    /// All of them as the connection began with.
    ResetAll,
    /// Shows one.
    Show(String),
    /// Shows all.
    ShowAll,
    /// Begins a transaction, which may only read or may write where that is said.
    Begin {
        read_only: Option<bool>,
    },
    Commit,
    Rollback,
    /// Goes on after an error of the transaction.
    RollbackTo,
    /// Forgets settings, cursors and what was prepared.
    DiscardAll,
    /// Forgets prepared statements, or one.
    Deallocate(Option<String>),
    /// Changes nothing here, and is answered with its own words.
    Nothing(&'static str),
    /// Answers a query piece by piece.
    Declare {
        cursor: String,
        query: String,
        hold: bool,
    },
    /// The next rows of a cursor, all of them without a count.
    Fetch {
        cursor: String,
        count: Option<usize>,
    },
    /// Passes over rows.
    Move {
        cursor: String,
        count: Option<usize>,
    },
    /// Forgets a cursor, or all.
    Close(Option<String>),
    /// Sends the rows of a query as a file.
    CopyOut {
        query: String,
        form: CopyForm,
    },
}

/// The form in which COPY sends rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CopyForm {
    Text {
        header: bool,
        options: CopyTextOptions,
    },
    Csv {
        header: bool,
        options: CopyCsvOptions,
    },
    Binary,
}

/// The command that a statement is; none where it is a question for the session.
pub(super) fn command(text: &str) -> PgWireResult<Option<ClientCommand>> {
    let pieces: Vec<(Lexeme, &str)> = words(text).collect();
    let upper: Vec<String> = pieces
        .iter()
        .map(|(_, word)| word.to_ascii_uppercase())
        .collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    let rest = |from: usize| {
        pieces
            .get(from)
            .map_or("", |(piece, _)| &text[piece.start..])
    };
    let name = |at: usize| pieces.get(at).map(|(_, word)| identifier(word));
    Ok(Some(match upper.as_slice() {
        ["SET", ..] => match set(&pieces, &upper, text)? {
            Some(command) => command,
            None => return Ok(None),
        },
        ["RESET", "ALL"] => ClientCommand::ResetAll,
        ["RESET", setting] if is_known(setting) => ClientCommand::Set {
            name: setting.to_string(),
            value: None,
        },
        ["SHOW", "ALL"] => ClientCommand::ShowAll,
        ["SHOW", "TRANSACTION", "ISOLATION", "LEVEL"] => {
            ClientCommand::Show("transaction_isolation".to_string())
        }
        ["SHOW", "TIME", "ZONE"] => ClientCommand::Show("TimeZone".to_string()),
        ["SHOW", setting] if is_known(setting) => ClientCommand::Show(setting.to_string()),
        ["BEGIN", modes @ ..] | ["START", "TRANSACTION", modes @ ..] => ClientCommand::Begin {
            read_only: only_reads(modes),
        },
        ["COMMIT", ..] | ["END", ..] => ClientCommand::Commit,
        ["ROLLBACK", "TO", ..] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO", ..] => {
            ClientCommand::RollbackTo
        }
        // There is nothing to go back from.
        ["SAVEPOINT", ..] => ClientCommand::Nothing("SAVEPOINT"),
        ["RELEASE", ..] => ClientCommand::Nothing("RELEASE"),
        ["ROLLBACK", ..] | ["ABORT", ..] => ClientCommand::Rollback,
        ["DISCARD", "ALL"] => ClientCommand::DiscardAll,
        ["DISCARD", ..] => ClientCommand::Nothing("DISCARD"),
        ["DEALLOCATE", "ALL"] | ["DEALLOCATE", "PREPARE", "ALL"] => ClientCommand::Deallocate(None),
        ["DEALLOCATE", "PREPARE", _] => ClientCommand::Deallocate(name(2)),
        ["DEALLOCATE", _] => ClientCommand::Deallocate(name(1)),
        ["UNLISTEN", ..] => ClientCommand::Nothing("UNLISTEN"),
        ["LISTEN" | "NOTIFY", ..] => {
            return Err(refused(
                state::FEATURE_NOT_SUPPORTED,
                "a question is required, got LISTEN or NOTIFY: nothing is announced here",
            ));
        }
        ["LOCK", ..] => ClientCommand::Nothing("LOCK TABLE"),
        ["DECLARE", ..] => {
            let query = upper.iter().position(|word| *word == "FOR");
            let query = query.map_or("", |at| rest(at + 1)).to_string();
            let cursor = name(1).unwrap_or_default();
            let hold = upper.windows(2).any(|two| two == ["WITH", "HOLD"]);
            ClientCommand::Declare {
                cursor,
                query,
                hold,
            }
        }
        [verb @ ("FETCH" | "MOVE"), ..] => {
            let (cursor, count) = fetch(&pieces, &upper)?;
            match *verb {
                "FETCH" => ClientCommand::Fetch { cursor, count },
                _ => ClientCommand::Move { cursor, count },
            }
        }
        ["CLOSE", "ALL"] => ClientCommand::Close(None),
        ["CLOSE", _] => ClientCommand::Close(name(1)),
        ["COPY", ..] => match copy(&pieces, &upper, text)? {
            Some(command) => command,
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// The pieces of a text that are neither blank nor comments.
pub(super) fn words(text: &str) -> impl Iterator<Item = (Lexeme, &str)> {
    let (pieces, _) = lex(text);
    let blank = |piece: &Lexeme| matches!(piece.kind, PieceKind::Space | PieceKind::Comment);
    let pieces = pieces.into_iter().filter(move |piece| !blank(piece));
    pieces.map(|piece| (piece, &text[piece.start..piece.end]))
}

/// A name as it is meant: in lower case unless it stands in quotes.
fn identifier(word: &str) -> String {
    match word
        .strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'))
    {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => word.to_lowercase(),
    }
}

/// A value of a setting without its quotes.
fn value(word: &str) -> String {
    match word
        .strip_prefix('\'')
        .and_then(|word| word.strip_suffix('\''))
    {
        Some(quoted) => quoted.replace("''", "'"),
        None => word.to_string(),
    }
}

fn set(
    pieces: &[(Lexeme, &str)],
    upper: &[&str],
    text: &str,
) -> PgWireResult<Option<ClientCommand>> {
    let (from, upper) = match upper {
        [
            "SET",
            "SESSION",
            "CHARACTERISTICS",
            "AS",
            "TRANSACTION",
            modes @ ..,
        ] => {
            return transaction_modes("default_transaction_read_only", modes).map(Some);
        }
        ["SET", "TRANSACTION", modes @ ..] => {
            return transaction_modes("transaction_read_only", modes).map(Some);
        }
        ["SET", "SESSION" | "LOCAL", rest @ ..] => (2, rest),
        ["SET", rest @ ..] => (1, rest),
        _ => return Ok(None),
    };
    let (name, skip) = match upper {
        ["AUTHORIZATION" | "ROLE", ..] => {
            return Err(refused(
                state::FEATURE_NOT_SUPPORTED,
                "SET: a connection as another user is required, got SET of the user",
            ));
        }
        ["TIME", "ZONE", ..] => ("TimeZone", 2),
        ["NAMES", ..] => ("client_encoding", 1),
        [name, "=" | "TO", ..] if is_known(name) => (*name, 2),
        _ => return Ok(None),
    };
    let given = pieces.get(from + skip..).unwrap_or_default();
    let text = match given {
        [] => {
            return Err(refused(
                state::SYNTAX_ERROR,
                "SET: a value is required, got none",
            ));
        }
        [(_, word)] if word.eq_ignore_ascii_case("default") => None,
        [(_, word)] => Some(value(word)),
        [(first, _), .., (last, _)] => Some(text[first.start..last.end].to_string()),
    };
    Ok(Some(ClientCommand::Set {
        name: name.to_string(),
        value: text,
    }))
}

/// `READ ONLY`, `READ WRITE` and levels of isolation, of which all are the same here.
fn transaction_modes(setting: &str, modes: &[&str]) -> PgWireResult<ClientCommand> {
    Ok(match only_reads(modes) {
        Some(only) => ClientCommand::Set {
            name: setting.to_string(),
            value: Some(if only { "on" } else { "off" }.to_string()),
        },
        None => ClientCommand::Nothing("SET"),
    })
}

/// Whether a transaction may only read, where its modes say so.
fn only_reads(modes: &[&str]) -> Option<bool> {
    let has = |two: [&str; 2]| modes.windows(2).any(|modes| modes == two);
    match (has(["READ", "ONLY"]), has(["READ", "WRITE"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

fn fetch(pieces: &[(Lexeme, &str)], upper: &[&str]) -> PgWireResult<(String, Option<usize>)> {
    let wrong = || {
        refused(
            state::FEATURE_NOT_SUPPORTED,
            "FETCH: [FORWARD] a count, NEXT or ALL, and the name of a cursor are required, got another direction",
        )
    };
    let Some((_, cursor)) = pieces.last() else {
        return Err(wrong());
    };
    let middle = &upper[1..upper.len().max(2) - 1];
    let middle = match middle {
        [middle @ .., "FROM" | "IN"] => middle,
        middle => middle,
    };
    let count = match middle {
        [] | ["NEXT"] | ["FORWARD"] => Some(1),
        ["ALL"] | ["FORWARD", "ALL"] => None,
        [count] | ["FORWARD", count] => Some(count.parse().map_err(|_| wrong())?),
        _ => return Err(wrong()),
    };
    Ok((identifier(cursor), count))
}

/// `COPY query TO STDOUT`; none where the target is a file, which the session writes.
fn copy(
    pieces: &[(Lexeme, &str)],
    upper: &[&str],
    text: &str,
) -> PgWireResult<Option<ClientCommand>> {
    let mut depth = 0_usize;
    let to = upper.iter().position(|word| {
        match *word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(*word, "TO" | "FROM")
    });
    let Some(to) = to.filter(|to| *to > 1) else {
        return Ok(None);
    };
    if upper[to] == "FROM" {
        return Err(refused(
            state::FEATURE_NOT_SUPPORTED,
            "COPY: COPY ... TO STDOUT is required, got COPY ... FROM: INSERT INTO ... SELECT takes rows",
        ));
    }
    if upper.get(to + 1) != Some(&"STDOUT") {
        return Ok(None);
    }
    let (first, last) = (pieces[1].0, pieces[to - 1].0);
    let source = &text[first.start..last.end];
    let query = match upper[1] {
        "(" => text[first.end..last.start].to_string(),
        _ => match pieces[2..to].iter().position(|(_, word)| *word == "(") {
            Some(at) => {
                let (open, _) = pieces[2 + at];
                let columns = &text[open.end..last.start];
                format!("SELECT {columns} FROM {}", &text[first.start..open.start])
            }
            None => format!("SELECT * FROM {source}"),
        },
    };
    let options = &text[pieces[to].0.start..];
    Ok(Some(ClientCommand::CopyOut {
        query,
        form: copy_form(options)?,
    }))
}

fn copy_form(options: &str) -> PgWireResult<CopyForm> {
    let statement = format!("COPY (SELECT 1) {options}");
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &statement);
    let parsed = parsed.map_err(|error| refused(state::SYNTAX_ERROR, format!("COPY: {error}")))?;
    let Some(ast::Statement::Copy {
        options,
        legacy_options,
        ..
    }) = parsed.into_iter().next()
    else {
        return Err(refused(
            state::SYNTAX_ERROR,
            "COPY: options are required, got none",
        ));
    };
    let mut form = CopyOptions::default();
    for option in options {
        form.take(option)?;
    }
    for option in legacy_options {
        form.take_legacy(option)?;
    }
    form.form()
}

/// What was said of the form, by either syntax.
#[derive(Default)]
struct CopyOptions {
    format: String,
    header: bool,
    delimiter: Option<char>,
    null: Option<String>,
    quote: Option<char>,
    escape: Option<char>,
}

impl CopyOptions {
    fn take(&mut self, option: CopyOption) -> PgWireResult<()> {
        match option {
            CopyOption::Format(format) => self.format = format.value.to_lowercase(),
            CopyOption::Header(header) => self.header = header,
            CopyOption::Delimiter(delimiter) => self.delimiter = Some(delimiter),
            CopyOption::Null(null) => self.null = Some(null),
            CopyOption::Quote(quote) => self.quote = Some(quote),
            CopyOption::Escape(escape) => self.escape = Some(escape),
            CopyOption::Encoding(encoding) if is_utf8(&encoding) => {}
            other => return Err(unsupported(&other.to_string())),
        }
        Ok(())
    }

    fn take_legacy(&mut self, option: CopyLegacyOption) -> PgWireResult<()> {
        match option {
            CopyLegacyOption::Binary => self.format = "binary".to_string(),
            CopyLegacyOption::Delimiter(delimiter) => self.delimiter = Some(delimiter),
            CopyLegacyOption::Null(null) => self.null = Some(null),
            CopyLegacyOption::Header => self.header = true,
            CopyLegacyOption::Csv(options) => {
                self.format = "csv".to_string();
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => self.header = true,
                        CopyLegacyCsvOption::Quote(quote) => self.quote = Some(quote),
                        CopyLegacyCsvOption::Escape(escape) => self.escape = Some(escape),
                        other => return Err(unsupported(&other.to_string())),
                    }
                }
            }
            other => return Err(unsupported(&other.to_string())),
        }
        Ok(())
    }

    fn form(self) -> PgWireResult<CopyForm> {
        let marks = self.quote.is_some() || self.escape.is_some();
        let shaped = self.header || self.delimiter.is_some() || self.null.is_some();
        match self.format.as_str() {
            "csv" => {
                let mut options = CopyCsvOptions::default();
                if let Some(delimiter) = self.delimiter {
                    options.delimiter = delimiter.to_string().into();
                }
                if let Some(null) = self.null {
                    options.null_string = null.into();
                }
                if let Some(quote) = self.quote {
                    options.quote = quote.to_string().into();
                    options.escape = quote.to_string().into();
                }
                if let Some(escape) = self.escape {
                    options.escape = escape.to_string().into();
                }
                Ok(CopyForm::Csv {
                    header: self.header,
                    options,
                })
            }
            "" | "text" if !marks => {
                let mut options = CopyTextOptions::default();
                if let Some(delimiter) = self.delimiter {
                    options.delimiter = delimiter.to_string().into();
                }
                if let Some(null) = self.null {
                    options.null_string = null.into();
                }
                Ok(CopyForm::Text {
                    header: self.header,
                    options,
                })
            }
            "binary" if !marks && !shaped => Ok(CopyForm::Binary),
            "" | "text" | "binary" => Err(unsupported("an option of csv")),
            other => Err(unsupported(&format!("FORMAT {other}"))),
        }
    }
}

fn is_utf8(encoding: &str) -> bool {
    matches!(
        encoding.to_lowercase().as_str(),
        "utf8" | "utf-8" | "unicode"
    )
}

fn unsupported(option: &str) -> PgWireError {
    refused(
        state::FEATURE_NOT_SUPPORTED,
        format!(
            "COPY: FORMAT text, csv or binary and their HEADER, DELIMITER, NULL, QUOTE, ESCAPE are required, got {option}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<ClientCommand> {
        command(text).unwrap()
    }

    #[test]
    fn settings_of_postgresql_are_the_connections_and_others_the_sessions() {
        let set = |name: &str, value: Option<&str>| {
            Some(ClientCommand::Set {
                name: name.to_string(),
                value: value.map(str::to_string),
            })
        };
        assert_eq!(
            read("set statement_timeout to '5s'"),
            set("STATEMENT_TIMEOUT", Some("5s"))
        );
        assert_eq!(
            read("SET SESSION search_path = \"$user\", demo"),
            set("SEARCH_PATH", Some("\"$user\", demo"))
        );
        assert_eq!(read("SET TIME ZONE 'UTC'"), set("TimeZone", Some("UTC")));
        assert_eq!(read("SET jit TO DEFAULT"), set("JIT", None));
        assert_eq!(
            read("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
            set("default_transaction_read_only", Some("on"))
        );
        assert_eq!(
            read("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY"),
            Some(ClientCommand::Begin {
                read_only: Some(true)
            })
        );
        for own in [
            "SET polysema.threshold = 0.4",
            "SHOW polysema.run",
            "RESET polysema.run",
            "SHOW TABLES",
        ] {
            assert_eq!(read(own), None, "{own}");
        }
    }

    #[test]
    fn cursors_have_their_counts() {
        let cursor = "c".to_string();
        assert_eq!(
            read("DECLARE \"c\" NO SCROLL CURSOR WITH HOLD FOR SELECT 1"),
            Some(ClientCommand::Declare {
                cursor: cursor.clone(),
                query: "SELECT 1".to_string(),
                hold: true
            })
        );
        for (text, count) in [
            ("FETCH FORWARD 10 FROM c", Some(10)),
            ("FETCH c", Some(1)),
            ("FETCH ALL IN \"c\"", None),
            ("FETCH 3 c", Some(3)),
        ] {
            let cursor = cursor.clone();
            assert_eq!(
                read(text),
                Some(ClientCommand::Fetch { cursor, count }),
                "{text}"
            );
        }
        assert!(command("FETCH BACKWARD 1 FROM c").is_err());
    }

    #[test]
    fn copy_to_standard_output_has_its_form() {
        let query = |text: &str| match read(text) {
            Some(ClientCommand::CopyOut { query, form }) => (query, form),
            other => panic!("{other:?}"),
        };
        let (text, form) = query("COPY (SELECT f(1, {a: ')'})) TO STDOUT (FORMAT csv, HEADER)");
        assert_eq!(text, "SELECT f(1, {a: ')'})");
        assert!(matches!(form, CopyForm::Csv { header: true, .. }));
        let (text, form) = query("copy demo.neurons (layer, neuron) to stdout");
        assert_eq!(text, "SELECT layer, neuron FROM demo.neurons ");
        assert!(matches!(form, CopyForm::Text { header: false, .. }));
        let (text, form) = query("COPY neurons TO STDOUT WITH BINARY");
        assert_eq!(
            (text.as_str(), form),
            ("SELECT * FROM neurons", CopyForm::Binary)
        );
        assert_eq!(read("COPY neurons TO 'x.csv'"), None);
        assert!(command("COPY neurons FROM STDIN").is_err());
        assert!(command("COPY neurons TO STDOUT (FORMAT binary, HEADER)").is_err());
    }
}
