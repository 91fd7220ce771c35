//! The prompt: reads lines until a statement ends, runs it, and goes on whatever happens to it.

use std::env;
use std::path::PathBuf;

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Runtime;

use super::complete::{ShellHelper, Vocabulary};
use super::failure::Failure;
use super::interpreter::{Flow, Interpreter, ScriptSource, note};
use super::script::{Step, split};
use crate::session::Session;

const PROMPT: &str = "polysema> ";
const CONTINUATION: &str = "      -> ";
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
    note(&format!(
        "polysema {}, \\? for help",
        env!("CARGO_PKG_VERSION")
    ));
    let mut names_are_old = true;
    loop {
        let Some(helper) = editor.helper_mut() else {
            return Ok(());
        };
        if names_are_old {
            helper.vocabulary = runtime.block_on(vocabulary(&interpreter.session));
            names_are_old = false;
        }
        let prompt = if helper.pending.is_empty() {
            PROMPT
        } else {
            CONTINUATION
        };
        let line = match editor.readline(prompt) {
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
        let text = take_pending(&mut editor) + &line;
        let split = split(&text);
        let rest = split.rest.as_ref().map_or("", |rest| &text[rest.offset..]);
        let finished = text[..text.len() - rest.len()].trim();
        if !finished.is_empty() {
            remember(&mut editor, finished, history.as_ref());
        }
        if let (Some(helper), false) = (editor.helper_mut(), rest.is_empty()) {
            helper.pending = format!("{rest}\n");
        }
        for located in &split.steps {
            interpreter.interrupts.clear();
            names_are_old |= matches!(located.step, Step::Statement(_)) || located.is_include();
            match runtime.block_on(interpreter.run_step(located, &ScriptSource::Prompt)) {
                Ok(Flow::Continue) => continue,
                Ok(Flow::Quit) => return Ok(()),
                Err(Failure::Closed) => return Err(Failure::Closed),
                Err(Failure::Interrupted) if interpreter.interrupts.terminated() => {
                    return Err(Failure::Interrupted);
                }
                Err(Failure::Interrupted) => note("cancelled"),
                Err(Failure::Error(message)) => note(&message),
            }
            // What follows a failed statement on the same line was meant to follow its success.
            take_pending(&mut editor);
            break;
        }
    }
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
        if is_current && let Ok(schema) = session.columns(&name).await {
            let columns = schema
                .fields()
                .iter()
                .map(|field| (name.clone(), field.name().clone()));
            vocabulary.columns.extend(columns);
        }
        vocabulary.tables.push(name);
    }
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
