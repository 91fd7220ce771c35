//! The prompt: reads lines until a statement ends, runs it, and goes on whatever happens to it.

use std::env;
use std::path::PathBuf;

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Runtime;

use super::commands;
use super::complete::{ShellHelper, Vocabulary};
use super::failure::Failure;
use super::format::value::width;
use super::interpreter::{Flow, Interpreter, ScriptSource, note};
use super::script::{Located, Step, split};
use crate::session::Session;
use crate::text::lex;

/// Statements kept in the history file.
const MAX_HISTORY: usize = 10_000;

/// Reads and runs statements until Ctrl-D or `\q`.
pub fn run(runtime: &Runtime, interpreter: &mut Interpreter) -> Result<(), Failure> {
    let mut editor = editor()
        .map_err(|error| Failure::Error(format!("error: a terminal is required, got {error}")))?;
    let history = history_path();
    if let Some(path) = &history {
        // There is no file the first time.
        let _ = editor.load_history(path);
    }
    interpreter.notice(&format!(
        "polysema {}: \\? for help, \\q to leave",
        env!("CARGO_PKG_VERSION")
    ));
    if let Ok([]) = interpreter.session.store().runs().as_deref() {
        let root = interpreter.session.store().place();
        interpreter.notice(&format!(
            "the store {root} has no run yet: CALL ingest(...) makes one (\\d ingest), --store names another store"
        ));
    }
    let mut names_are_old = true;
    loop {
        let Some(helper) = editor.helper_mut() else {
            return Ok(());
        };
        if names_are_old {
            helper.vocabulary = runtime.block_on(vocabulary(&interpreter.session));
            names_are_old = false;
        }
        let prompt = prompt(&interpreter.session, &helper.pending);
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                take_pending(&mut editor);
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => {
                return Err(Failure::Error(format!(
                    "error: a terminal is required, got {error}"
                )));
            }
        };
        let pending = take_pending(&mut editor);
        let command = interjected(&pending, &line);
        if let Some(advice) = advice(&pending, &line) {
            note(&advice);
        }
        let goes_on = command.is_some();
        let (steps, rest) = match command {
            Some(command) => (vec![command], pending),
            None => {
                let text = pending + &line;
                let split = split(&text);
                let rest = split.rest.as_ref().map_or("", |rest| &text[rest.offset..]);
                let finished = text[..text.len() - rest.len()].trim();
                if !finished.is_empty() {
                    remember(&mut editor, finished, history.as_ref());
                }
                let newline = if rest.is_empty() { "" } else { "\n" };
                (split.steps, format!("{rest}{newline}"))
            }
        };
        if let Some(helper) = editor.helper_mut() {
            helper.pending = rest;
        }
        for located in &steps {
            interpreter.interrupts.clear();
            names_are_old |= matches!(located.step, Step::Statement(_)) || located.is_include();
            match runtime.block_on(interpreter.run_step(located, &ScriptSource::Prompt)) {
                Ok(Flow::Continue) => continue,
                Ok(Flow::Quit) => return Ok(()),
                Err(Failure::Closed | Failure::ClosedEarly) => return Err(Failure::Closed),
                Err(Failure::Interrupted(message)) => match interpreter.interrupts.terminated() {
                    true => return Err(Failure::Interrupted(message)),
                    false => note(&message),
                },
                Err(Failure::Error(message)) => note(&message),
            }
            // What follows a failed statement on the same line was meant to follow its success.
            if !goes_on {
                take_pending(&mut editor);
            }
            break;
        }
    }
}

/// The prompt names the run that unqualified names mean.
fn prompt(session: &Session, pending: &str) -> String {
    let run = session.selected_run().ok().flatten();
    let run = run.as_deref().unwrap_or("polysema");
    match pending {
        "" => format!("{run}> "),
        pending => {
            let margin = " ".repeat(width(run).saturating_sub(1));
            format!("{margin}{}> ", open_piece(pending).unwrap_or('-'))
        }
    }
}

/// The mark of a text, quoted name or comment that a statement is inside of.
fn open_piece(pending: &str) -> Option<char> {
    let error = lex(pending).1?;
    let begin = pending[error.offset..].chars().next()?;
    // A comment shows its other mark, as in psql; of a text with a letter before it the quote tells.
    Some(match begin {
        '"' | '$' | '`' => begin,
        '/' => '*',
        _ => '\'',
    })
}

/// What to say of a word that would leave or help, typed where a statement goes on: it is a part of that.
fn advice(pending: &str, line: &str) -> Option<String> {
    let command = commands::meant(line).filter(|_| !pending.is_empty())?;
    let about = match command.as_str() {
        "\\q" => "leaves",
        "\\?" => "lists the commands",
        _ => return None,
    };
    Some(match open_piece(pending) {
        Some(mark) => format!("{mark} is still open: end it, or Ctrl-C drops the statement"),
        None => format!("{command} {about}; this is a part of the statement, which Ctrl-C drops"),
    })
}

/// A line that is a command of its own: a word of another shell, or a backslash within a statement, which goes on after
/// it.
fn interjected(pending: &str, line: &str) -> Option<Located> {
    let line = line.trim();
    let command = match pending.is_empty() {
        true => commands::meant(line)?,
        // Within a string or a comment it is text.
        false if line.starts_with('\\') && split(pending).unfinished.is_none() => line.to_string(),
        false => return None,
    };
    Some(Located {
        step: Step::Command(command),
        offset: 0,
        line: 1,
        column: 1,
    })
}

type ShellEditor = Editor<ShellHelper, DefaultHistory>;

fn editor() -> rustyline::Result<ShellEditor> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .history_ignore_space(true)
        .history_ignore_dups(true)?
        .max_history_size(MAX_HISTORY)?
        .build();
    let mut editor = ShellEditor::with_config(config)?;
    let colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if !colours {
        editor.set_color_mode(rustyline::ColorMode::Disabled);
    }
    editor.set_helper(Some(ShellHelper {
        colours,
        ..ShellHelper::default()
    }));
    Ok(editor)
}

fn take_pending(editor: &mut ShellEditor) -> String {
    editor
        .helper_mut()
        .map(|helper| std::mem::take(&mut helper.pending))
        .unwrap_or_default()
}

/// Adds a statement to the history and its file at once, so that a killed shell has not forgotten it.
fn remember(editor: &mut ShellEditor, statement: &str, path: Option<&PathBuf>) {
    // A history that cannot be written is no reason to refuse a query.
    let added = editor.add_history_entry(statement).unwrap_or(false);
    if let (true, Some(path)) = (added, path) {
        let _ = editor.append_history(path);
    }
}

/// The statements that a prompt begins with, where there are some.
pub fn init_path() -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os("HOME")?).join(".polysema/init.sql");
    path.exists().then_some(path)
}

fn history_path() -> Option<PathBuf> {
    match env::var_os("POLYSEMA_HISTORY") {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => Some(PathBuf::from(env::var_os("HOME")?).join(".polysema_history")),
    }
}

/// The session's names; a table that cannot be read is left out, its error belongs to the query that uses it.
async fn vocabulary(session: &Session) -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    let tables = session.tables().await.unwrap_or_default();
    let current = tables.first().map(|table| table.schema.clone());
    for table in &tables {
        let is_current = Some(&table.schema) == current.as_ref();
        let name = if is_current {
            table.name.clone()
        } else {
            format!("{}.{}", table.schema, table.name)
        };
        if is_current && let Ok((schema, _)) = session.columns(&name).await {
            let columns = schema
                .fields()
                .iter()
                .map(|field| (name.clone(), field.name().clone()));
            vocabulary.columns.extend(columns);
        }
        vocabulary.tables.push(name);
    }
    vocabulary.runs = session.store().runs().unwrap_or_default();
    vocabulary.current = session.selected_run().ok().flatten();
    let entries = session.context().state().config_options().entries();
    vocabulary.settings = entries.into_iter().map(|entry| entry.key).collect();
    for function in session.functions() {
        let options = function.options.iter();
        let options = options.map(|option| (function.name.clone(), option.to_string()));
        vocabulary.options.extend(options);
        match function.kind {
            "table" => vocabulary.table_functions.push(function.name),
            _ => vocabulary.functions.push(function.name),
        }
    }
    vocabulary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_shells_are_commands() {
        let command = |pending, line| match interjected(pending, line)?.step {
            Step::Command(command) | Step::Statement(command) => Some(command),
        };
        for (line, meant) in [
            ("help", "\\?"),
            ("EXIT;", "\\q"),
            (" quit ", "\\q"),
            ("?", "\\?"),
            (".tables", "\\d"),
            ("help feature_clusters", "\\d feature_clusters"),
            (".mode csv", "\\format csv"),
        ] {
            assert_eq!(command("", line).as_deref(), Some(meant), "{line}");
        }
        assert_eq!(command("", "SELECT 1"), None);
        assert_eq!(command("", "helpful"), None);
        assert_eq!(command("SELECT\n", "\\?").as_deref(), Some("\\?"));
        assert_eq!(command("SELECT\n", "quit"), None);
        assert_eq!(command("SELECT '\n", "\\?"), None);
    }

    #[test]
    fn a_statement_that_goes_on_says_what_is_open() {
        for (pending, mark) in [
            ("SELECT 1\n", None),
            ("SELECT 'a;\n", Some('\'')),
            ("SELECT E'a\n", Some('\'')),
            ("SELECT 'it''s', \"b\n", Some('"')),
            ("SELECT /* a\n", Some('*')),
            ("SELECT $$a\n", Some('$')),
        ] {
            assert_eq!(open_piece(pending), mark, "{pending}");
        }
    }

    #[test]
    fn words_that_would_leave_are_a_part_of_a_statement() {
        let said = |pending, line| advice(pending, line).unwrap_or_default();
        assert!(said("SELECT\n", "exit").starts_with("\\q leaves; "));
        assert!(said("SELECT\n", "help;").starts_with("\\? lists the commands; "));
        assert!(said("SELECT '\n", "quit").starts_with("' is still open: "));
        for (pending, line) in [("", "exit"), ("SELECT\n", "help me"), ("SELECT\n", "1")] {
            assert_eq!(said(pending, line), "", "{pending}{line}");
        }
    }
}
