//! Runs scripts: statements and backslash commands, one after the other, up to the first failure.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Instant;

use rustyline::Editor;
use rustyline::history::DefaultHistory;

use super::commands::{self, Command};
use super::describe;
use super::failure::{Failure, describe as describe_error, relocate};
use super::format::Format;
use super::interrupt::Interrupts;
use super::run::{Outcome, Output, run};
use super::script::{Located, Step, split};
use super::variables::Variables;
use crate::session::Session;

/// Files may run files, but not themselves without end.
const MAX_DEPTH: usize = 16;

/// Where a script comes from, for its error messages.
#[derive(Debug, Clone)]
pub enum ScriptSource {
    /// Typed at the prompt.
    Prompt,
    /// An argument of the command line.
    Argument,
    /// A file, or standard input.
    File(String),
    /// Made by a sub-command, so that it has no lines.
    Generated,
}

/// Whether the shell goes on after a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// To the next script.
    Continue,
    /// To the end, after `\q`.
    Quit,
}

/// A session and what `\set`, `\format` and `\timing` have changed.
pub struct Interpreter {
    /// The session the statements go to.
    pub session: Arc<Session>,
    /// Ctrl-C.
    pub interrupts: Interrupts,
    /// Variables of `--var` and `\set`.
    pub variables: Variables,
    /// Text form of results.
    pub format: Format,
    /// Whether the time of each statement is printed.
    pub timing: bool,
    /// Whether row counts and acknowledgements are printed.
    pub interactive: bool,
    /// How many files are being run, one inside the other.
    pub depth: usize,
}

impl Interpreter {
    /// Runs a whole script. A string or comment that does not end fails before any statement runs.
    pub async fn run_script(&mut self, text: &str, source: &ScriptSource) -> Result<Flow, Failure> {
        let split = split(text);
        if let Some((line, message)) = split.unfinished {
            return Err(Failure::Error(
                source.locate(line, &format!("syntax: {message}")),
            ));
        }
        for located in split.steps.into_iter().chain(split.rest) {
            if self.run_step(&located, source).await? == Flow::Quit {
                return Ok(Flow::Quit);
            }
        }
        Ok(Flow::Continue)
    }

    /// Runs one statement or command.
    pub async fn run_step(
        &mut self,
        located: &Located,
        source: &ScriptSource,
    ) -> Result<Flow, Failure> {
        match &located.step {
            Step::Statement(statement) => {
                self.run_statement(statement, located, source).await?;
                Ok(Flow::Continue)
            }
            Step::Command(line) => {
                let command = commands::parse(line)
                    .map_err(|message| Failure::Error(source.locate(located.line, &message)))?;
                self.run_command(command, located.line, source).await
            }
        }
    }

    /// Runs the statements of a file.
    pub async fn run_file(&mut self, path: &str) -> Result<Flow, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Error(format!(
                "error: a readable file is required, got {path} ({error})"
            ))
        })?;
        let source = ScriptSource::File(path.to_string());
        self.depth += 1;
        let flow = Box::pin(self.run_script(&text, &source)).await;
        self.depth -= 1;
        flow
    }

    /// The width results are fitted to: that of the terminal, when stdout is one.
    pub fn output(&self) -> Output {
        Output {
            format: self.format,
            width: terminal_width(),
        }
    }

    async fn run_statement(
        &mut self,
        statement: &str,
        located: &Located,
        source: &ScriptSource,
    ) -> Result<(), Failure> {
        let substituted = self.variables.substitute(statement).map_err(|error| {
            Failure::Error(source.locate(located.line + error.line - 1, &error.message))
        })?;
        let started = Instant::now();
        let session = Arc::clone(&self.session);
        let query = async move { session.query(&substituted).await };
        let outcome = run(query, self.output(), &self.interrupts, &mut io::stdout()).await;
        match outcome {
            Ok(outcome) => self.acknowledge(outcome),
            Err(Failure::Error(message)) => {
                let message = relocate(&message, located.line, located.column);
                return Err(Failure::Error(source.locate(located.line, &message)));
            }
            Err(Failure::Closed) => {
                return Err(match self.session.unsaid() {
                    Some(message) => Failure::Error(source.locate(located.line, &message)),
                    None => Failure::Closed,
                });
            }
            Err(failure) => return Err(failure),
        }
        if self.timing {
            note(&format!("time: {:.3} s", started.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    fn acknowledge(&self, outcome: Outcome) {
        if !self.interactive {
            return;
        }
        match outcome {
            Outcome::Rows(_) if self.format != Format::Table => {}
            Outcome::Rows(1) => note("(1 row)"),
            Outcome::Rows(rows) => note(&format!("({rows} rows)")),
            Outcome::NoRows => note("done"),
            Outcome::Progress => {}
        }
    }

    async fn run_command(
        &mut self,
        command: Command,
        line: usize,
        source: &ScriptSource,
    ) -> Result<Flow, Failure> {
        let located = |failure: Failure| match failure {
            Failure::Error(message) => Failure::Error(source.locate(line, &message)),
            other => other,
        };
        match command {
            Command::Quit => return Ok(Flow::Quit),
            Command::Include(_) if self.depth >= MAX_DEPTH => {
                let message = format!(
                    "\\i: at most {MAX_DEPTH} files inside each other are required, got more"
                );
                return Err(Failure::Error(source.locate(line, &message)));
            }
            Command::Include(path) => return self.run_file(&path).await,
            Command::Help => note(commands::help().trim_end()),
            Command::Describe(None) => self
                .show(describe::tables(&self.session).await)
                .await
                .map_err(located)?,
            Command::Describe(Some(name)) => match describe::columns(&self.session, &name).await {
                Some(columns) => self.show(columns).await.map_err(located)?,
                None => describe::documentation(&self.session, &name).map_err(located)?,
            },
            Command::Functions(pattern) => {
                let functions = describe::functions(&self.session, pattern.as_deref());
                self.show(functions).await.map_err(located)?;
            }
            Command::Format(Some(format)) => self.format = format,
            Command::Format(None) => note(&format!("format: {}", self.format.name())),
            Command::Timing(switch) => {
                self.timing = switch.unwrap_or(!self.timing);
                note(if self.timing {
                    "timing: on"
                } else {
                    "timing: off"
                });
            }
            Command::Set(Some((name, value))) => {
                let set = self.variables.set(&name, &value);
                set.map_err(|message| Failure::Error(source.locate(line, &message)))?;
            }
            Command::Set(None) => {
                for (name, value) in self.variables.iter() {
                    note(&format!("{name} = {value}"));
                }
            }
        }
        Ok(Flow::Continue)
    }

    async fn show(
        &self,
        rows: datafusion::error::Result<describe::RowStream>,
    ) -> Result<(), Failure> {
        let rows = rows.map_err(|error| Failure::Error(describe_error(&error)))?;
        let outcome = run(
            async { Ok(rows) },
            self.output(),
            &self.interrupts,
            &mut io::stdout(),
        )
        .await?;
        self.acknowledge(outcome);
        Ok(())
    }
}

impl ScriptSource {
    /// A message with its place before it.
    fn locate(&self, line: usize, message: &str) -> String {
        match self {
            ScriptSource::Prompt | ScriptSource::Generated => format!("error: {message}"),
            ScriptSource::Argument => format!("line {line}: error: {message}"),
            ScriptSource::File(name) => format!("{name}:{line}: error: {message}"),
        }
    }
}

/// Says something that is not a result: on stderr, so that stdout holds results only.
#[expect(clippy::print_stderr, reason = "the shell is a front end")]
pub fn note(text: &str) {
    eprintln!("{text}");
}

fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let mut editor = Editor::<(), DefaultHistory>::new().ok()?;
    editor.dimensions().map(|(columns, _)| usize::from(columns))
}
