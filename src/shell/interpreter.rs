//! Runs scripts: statements and backslash commands, one after the other, up to the first failure. Above 400 lines, since
//! it is one type.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answers;
use super::commands::{self, Command};
use super::dendrogram;
use super::describe;
use super::failure::{Failure, relocate};
use super::format::{Expanded, Format, Layout};
use super::histogram;
use super::interrupt::Interrupts;
use super::output::{Output, ResultSink, StandardOutput};
use super::pager::{self, Pager};
use super::run::{Outcome, ResultRows, StatementWait, run};
use super::screen;
use super::script::{Located, Step, split};
use super::variables::Variables;
use crate::policy::Access;
use crate::session::{CreatedTable, Session};
use crate::text::describe as describe_error;

/// Rows that a terminal shows at most unless `\rows` says otherwise: two screens or so. Chosen, not tuned.
pub const MAX_ROWS: usize = 40;
/// Files may run files, but not themselves without end.
const MAX_DEPTH: usize = 16;
/// The file that is standard input.
pub const STDIN: &str = "-";

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
    /// How results are written.
    pub layout: Layout,
    /// Where they are written to, if not to stdout.
    pub output: Option<Output>,
    /// Stdout, and what was written to it.
    pub stdout: StandardOutput,
    /// The program that shows those that are longer than the screen.
    pub pager: Option<String>,
    /// Whether the time of each statement is printed.
    pub timing: bool,
    /// Whether row counts and acknowledgements are printed.
    pub interactive: bool,
    /// Whether nothing is said but errors.
    pub quiet: bool,
    /// How many files are being run, one inside the other.
    pub depth: usize,
}

impl Interpreter {
    /// Runs a whole script. A string or comment that does not end fails before any statement runs.
    pub async fn run_script(&mut self, text: &str, source: &ScriptSource) -> Result<Flow, Failure> {
        let split = split(text.strip_prefix('\u{feff}').unwrap_or(text));
        if let Some((line, message)) = split.unfinished {
            return Err(Failure::Error(
                source.locate(line, &format!("syntax: {message}")),
            ));
        }
        let mut steps = split.steps.into_iter().chain(split.rest).peekable();
        while let Some(located) = steps.next() {
            match self.run_step(&located, source).await {
                Err(Failure::Closed) if steps.peek().is_some() => return Err(Failure::ClosedEarly),
                Ok(Flow::Quit) => return Ok(Flow::Quit),
                other => other?,
            };
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

    /// Runs the statements of a file, or of standard input.
    pub async fn run_file(&mut self, path: &str) -> Result<Flow, Failure> {
        let (text, name) = match path {
            STDIN => (self.read_stdin().await?, "stdin"),
            path => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Failure::Error(format!(
                        "error: a readable file is required, got {path} ({error})"
                    ))
                })?;
                (text, path)
            }
        };
        let source = ScriptSource::File(name.to_string());
        self.depth += 1;
        let flow = Box::pin(self.run_script(&text, &source)).await;
        self.depth -= 1;
        flow
    }

    /// All of standard input, unless Ctrl-C comes first.
    async fn read_stdin(&self) -> Result<String, Failure> {
        let reading = tokio::task::spawn_blocking(|| io::read_to_string(io::stdin()));
        let text = tokio::select! {
            () = self.interrupts.pressed() => return Err(Failure::interrupted()),
            text = reading => text.map_err(io::Error::other).flatten(),
        };
        text.map_err(|error| {
            Failure::Error(format!("stdin: error: UTF-8 text is required, got {error}"))
        })
    }

    /// Writes the rows of a query to where they go; gives the time that a reader of a pager took, too.
    async fn print<Q>(&mut self, query: Q) -> Result<(Outcome, Duration), Failure>
    where
        Q: Future<Output = datafusion::error::Result<ResultRows>> + Send + 'static,
    {
        let session = Arc::clone(&self.session);
        let waiting = StatementWait {
            interrupts: &self.interrupts,
            doing: session.doing(),
            quiet: self.quiet,
        };
        if let Some(output) = &mut self.output {
            let format = output.format.unwrap_or(self.layout.format);
            let layout = Layout {
                expanded: self.layout.expanded,
                ..Layout::plain(format)
            };
            let outcome = match run(query, layout, waiting, output).await {
                // A command that has read enough, as head.
                Err(Failure::Closed) if output.is_command() => match session.unsaid() {
                    Some(job) => Err(Failure::Error(describe_error(&job.refused().await))),
                    None => Ok(Outcome::Progress),
                },
                outcome => outcome,
            };
            output.ended(outcome.is_ok(), self.interactive)?;
            return Ok((outcome?, Duration::ZERO));
        }
        let screen = screen::size();
        let mut layout = Layout {
            width: screen.map(|(columns, _)| columns),
            ..self.layout
        };
        let pager = self.pager.as_ref().filter(|_| self.interactive);
        let Some((program, (_, lines))) = pager.zip(screen) else {
            let outcome = run(query, layout, waiting, &mut self.stdout).await?;
            return Ok((outcome, Duration::ZERO));
        };
        layout.max_rows = None;
        let mut pager = Pager::new(program.clone(), lines);
        let outcome = run(query, layout, waiting, &mut pager).await;
        let waited = pager.finish()?;
        match outcome {
            // Who leaves the pager has read enough.
            Err(Failure::Closed) => Ok((Outcome::Progress, waited)),
            outcome => outcome.map(|outcome| (outcome, waited)),
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
        let (session, text) = (Arc::clone(&self.session), substituted.clone());
        let query = async move { Ok(session.reply(&substituted).await?.into()) };
        let waited = match self.print(query).await {
            Ok((outcome, waited)) => {
                self.say_created(source, outcome);
                let selected = self.session.select_made_run().await?;
                if let Some(run) = selected.filter(|_| self.interactive) {
                    self.notice(&format!("run '{run}' is selected"));
                }
                waited
            }
            Err(Failure::Error(message)) => {
                let message = relocate(&message, &text, located.line, located.column);
                return Err(Failure::Error(source.locate(located.line, &message)));
            }
            Err(Failure::Closed) => {
                return Err(match self.session.unsaid() {
                    Some(job) => {
                        let message = describe_error(&job.refused().await);
                        Failure::Error(source.locate(located.line, &message))
                    }
                    None => Failure::Closed,
                });
            }
            Err(Failure::ClosedEarly) => return Err(Failure::ClosedEarly),
            Err(Failure::Interrupted(message)) => {
                return Err(Failure::Interrupted(match self.session.unsaid() {
                    Some(job) => job.ended().await,
                    None => message,
                }));
            }
        };
        if self.timing && !self.quiet {
            let taken = started.elapsed().saturating_sub(waited);
            note(&format!("time: {:.3} s", taken.as_secs_f64()));
        }
        Ok(())
    }

    /// Says how long a table lasts that was just made: at the prompt, and of one that is gone when the program ends.
    fn say_created(&self, source: &ScriptSource, outcome: Outcome) {
        let Some(made) = self.session.created_table() else {
            return self.acknowledge(outcome);
        };
        let CreatedTable {
            name,
            table,
            kind,
            lasts,
        } = made;
        let is_lost = !lasts && matches!(source, ScriptSource::Argument);
        if !self.interactive && !is_lost {
            return;
        }
        self.notice(&match (lasts, kind) {
            (true, _) => format!("{kind} {name} is kept in the store"),
            (false, "table") => format!(
                "{kind} {name} lives in this session only; one of a schema lasts: CREATE TABLE notes.{table} ..."
            ),
            _ => format!("{kind} {name} lives in this session only"),
        });
    }

    fn acknowledge(&self, outcome: Outcome) {
        match (outcome, &self.output) {
            // Also of a script, since it is all that the statement gives.
            (Outcome::Wrote(statement, rows), _) => {
                self.notice(&format!("{statement}: {}", counted(rows)));
            }
            _ if !self.interactive => {}
            (Outcome::Rows(rows), Some(output)) => {
                self.notice(&format!("({} to {})", counted(rows as u64), output.name()));
            }
            (Outcome::Rows(rows), None) if self.layout.format == Format::Table => {
                self.notice(&format!("({})", counted(rows as u64)));
            }
            (Outcome::NoRows, _) => self.notice("done"),
            (Outcome::Rows(_) | Outcome::Progress, _) => {}
        }
    }

    /// Says something that is neither a result nor an error.
    pub fn notice(&self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }

    /// Ends what `\o` began.
    pub fn close_output(&mut self) -> Result<(), Failure> {
        self.output.take().map_or(Ok(()), Output::close)
    }

    /// Writes a text that is a result.
    fn write_text(&mut self, text: &str) -> Result<(), Failure> {
        let Some(output) = &mut self.output else {
            self.stdout.begin(Format::Table)?;
            return Ok(self.stdout.write_all(text.as_bytes())?);
        };
        output.begin(Format::Table)?;
        let written = output.write_all(text.as_bytes());
        output.ended(written.is_ok(), self.interactive)?;
        Ok(written?)
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
            Command::Include(path) => {
                let failed = |message: String| Failure::Error(source.locate(line, &message));
                let path = self.variables.word(&path).map_err(failed)?;
                let allowed = self.session.policy().require("\\i", Access::ReadFiles);
                allowed.map_err(|error| failed(describe_error(&error)))?;
                return self.run_file(&path).await;
            }
            Command::Help => note(commands::help().trim_end()),
            Command::Describe(None) => self
                .show(describe::tables(&self.session).await)
                .await
                .map_err(located)?,
            Command::Describe(Some(name)) => match describe::columns(&self.session, &name).await {
                Some(columns) => self.show(columns).await.map_err(located)?,
                None => {
                    let shown = describe::documentation(&self.session, &name).await;
                    self.write_text(&shown.map_err(located)?).map_err(located)?;
                }
            },
            Command::Dendrogram(layer, neuron) => {
                let colours = self.output.is_none() && screen::has_colours();
                let lines = dendrogram::of_neuron(&self.session, &layer, neuron, colours).await;
                let lines = lines.map_err(located)?.into_iter();
                let text: String = lines.map(|line| line + "\n").collect();
                self.write_text(&text).map_err(located)?;
            }
            Command::Histogram(query) => {
                let query = self.variables.substitute(&query);
                let query = query.map_err(|error| {
                    Failure::Error(source.locate(line + error.line - 1, &error.message))
                })?;
                let rows = answers::all(&self.session, &self.interrupts, query)
                    .await
                    .map_err(located)?;
                let to_screen = self.output.is_none();
                let lines = histogram::of_rows(&rows, to_screen).map_err(located)?;
                let text: String = lines.into_iter().map(|line| line + "\n").collect();
                self.write_text(&text).map_err(located)?;
            }
            Command::Functions(pattern) => {
                let functions = describe::functions(&self.session, pattern.as_deref());
                self.show(functions).await.map_err(located)?;
            }
            Command::Format(Some(format)) => self.layout.format = format,
            Command::Format(None) => note(&format!("format: {}", self.layout.format.name())),
            Command::Expanded(expanded) => {
                self.layout.expanded = match (expanded, self.layout.expanded) {
                    (Some(expanded), _) => expanded,
                    (None, Expanded::Off) => Expanded::On,
                    (None, _) => Expanded::Off,
                };
                self.notice(&format!("expanded: {}", self.layout.expanded.name()));
            }
            Command::Rows(most) => {
                if let Some(most) = most {
                    self.layout.max_rows = most;
                }
                let most = self.layout.max_rows.map(|most| most.to_string());
                let most = most.unwrap_or("all".to_string());
                self.notice(&format!("rows on a terminal: {most}"));
            }
            Command::Pager(switch) => {
                let usual = || pager::program().unwrap_or("less".to_string());
                let on = switch.unwrap_or(self.pager.is_none());
                self.pager = on.then(usual);
                self.notice(&format!(
                    "pager: {}",
                    self.pager.as_deref().unwrap_or("off")
                ));
            }
            Command::Output(argument) => {
                self.close_output().map_err(located)?;
                self.output = match argument {
                    Some(argument) => Some(self.open_output(&argument).map_err(located)?),
                    None => None,
                };
            }
            Command::Timing(switch) => {
                self.timing = switch.unwrap_or(!self.timing);
                self.notice(if self.timing {
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

    /// What results go to, by the argument of `\o`: variables stand in the name of a file, and a command is the shell's.
    pub fn open_output(&self, argument: &str) -> Result<Output, Failure> {
        let argument = match argument.starts_with('|') {
            true => argument.to_string(),
            false => self.variables.word(argument).map_err(Failure::Error)?,
        };
        Output::open(&argument, self.session.policy())
    }

    /// Prints what the shell says as a table, whose texts are whole.
    pub async fn show(
        &mut self,
        rows: datafusion::error::Result<describe::RowStream>,
    ) -> Result<(), Failure> {
        let rows = rows.map_err(|error| Failure::Error(describe_error(&error)))?;
        self.layout.wraps = true;
        let printed = self.print(async { Ok(rows.into()) }).await;
        self.layout.wraps = false;
        let (outcome, _) = printed?;
        self.acknowledge(outcome);
        Ok(())
    }
}

/// A number of rows in words.
fn counted(rows: u64) -> String {
    match rows {
        1 => "1 row".to_string(),
        rows => format!("{rows} rows"),
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
    eprintln!("{}", screen::prose(text, screen::message_columns()));
}
