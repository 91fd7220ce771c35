//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::format::Format;
use super::interpreter::STDIN;
use crate::runs::INGEST;
use crate::text::{is_name, parse_size};

const AFTER_HELP: &str = "\
-c and -f run in the order given and stop at the first error. Without them, statements are read from the terminal, or \
from standard input when it is no terminal.

Results go to standard output, or where -o and \\o say; messages go to standard error. A file of -o or \\o is there when the \
script has come to its end; where it fails, what was there stays.

The prompt keeps its statements in ~/.polysema_history, or in the file that POLYSEMA_HISTORY names.

Exit codes: 0 done, 1 a statement, a file or a command of \\o failed, 2 the command line is wrong, 130 interrupted by \
Ctrl-C, 141 the reader of standard output left before the last statement, 143 ended by SIGTERM.";

/// SQL for polysemantic neurons.
#[derive(Debug, Parser)]
#[command(name = "polysema", version = VERSION.as_str(), after_help = AFTER_HELP)]
pub struct Arguments {
    /// Folder of the store, or the address of one to read
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./polysema.store",
        env = "POLYSEMA_STORE",
        global = true
    )]
    pub store: PathBuf,
    /// Run whose tables unqualified names mean
    #[arg(long = "run", value_name = "NAME", env = "POLYSEMA_RUN", global = true)]
    pub selected_run: Option<String>,
    /// File of statements to run before everything else; at the prompt ~/.polysema/init.sql when not given
    #[arg(long, value_name = "FILE", global = true)]
    pub init: Option<PathBuf>,
    /// Statements to run
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub commands: Vec<String>,
    /// File of statements to run; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Form of results
    #[arg(long, value_enum, default_value = "table", global = true)]
    pub format: Format,
    /// File that results go to, in the form its ending names, or '| COMMAND'; as \o in a script
    #[arg(short = 'o', long, value_name = "FILE", global = true)]
    pub output: Option<String>,
    /// Say nothing but results and errors: no notices, progress or times
    #[arg(short = 'q', long, global = true)]
    pub quiet: bool,
    /// Variable for :name, :'name' and :"name" in statements
    #[arg(short = 'v', long = "var", value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub variables: Vec<(String, String)>,
    /// Most memory the operators of a query may hold, as 512MiB or 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, global = true)]
    pub memory_limit: Option<usize>,
    #[cfg(feature = "distributed")]
    #[command(flatten)]
    pub workers: super::workers::AskedWorkers,
    /// The name it was called by, as the first word of a command says
    #[arg(skip)]
    pub program: String,
    /// What to do instead of running statements
    #[command(subcommand)]
    pub action: Option<Action>,
}

#[cfg(any(feature = "explore", feature = "distributed"))]
impl Arguments {
    /// The store and the memory that it names.
    pub fn engine(&self) -> crate::session::EngineOptions {
        crate::session::EngineOptions {
            store: self.store.clone(),
            memory_limit: self.memory_limit,
            loaded_limit: None,
        }
    }
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Answer three questions about a bundled model and corpus
    Demo,
    /// Answer a question about a run; without a name, list the questions
    Report {
        /// Name of the report
        name: Option<String>,
        /// Variable of the report; run is the run it is about
        #[arg(short = 'v', long = "var", value_name = "NAME=VALUE", value_parser = parse_variable)]
        variables: Vec<(String, String)>,
        /// Page to write in place of tables: .html with everything in it, or .md with its pictures beside it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Send a corpus through a model and keep its activations as a run: sugar for SELECT * FROM ingest(...)
    Ingest {
        /// Name of the run
        run: String,
        /// Folder of the model
        model: String,
        /// Corpus: a file, a folder, a pattern in quotes, or a table
        corpus: String,
        /// Options of the function ingest, which \d ingest lists
        #[arg(value_name = "KEY=VALUE")]
        options: Vec<String>,
    },
    /// List the jobs of the store, those of all processes, or end one
    #[command(
        after_help = "Sugar for SELECT * FROM polysema.info.jobs and for SELECT * FROM cancel_job('ID')."
    )]
    Jobs {
        /// Job to end, by its id; waits until it has ended
        #[arg(long, value_name = "ID")]
        cancel: Option<String>,
    },
    Check(super::check::CheckCommand),
    /// Say who may log in to a server, and with which password
    #[cfg(feature = "serve")]
    User(super::users::UserCommand),
    /// Answer SQL over PostgreSQL's protocol and HTTP
    #[cfg(feature = "serve")]
    Serve(super::serve::ServeCommand),
    /// Show the runs, layers and neurons of the store in a browser of this machine
    #[cfg(feature = "explore")]
    Explore(super::explore::ExploreCommand),
    /// Write the pages of a run as files, for any host and without one
    #[cfg(feature = "explore")]
    Publish(super::publish::PublishCommand),
    /// Write runs into a store in a bucket of S3, Google or Azure
    #[cfg(feature = "cloud")]
    Upload(super::upload::UploadCommand),
    /// Do ranges of neurons of what is asked elsewhere, over this store
    #[cfg(feature = "distributed")]
    Worker(super::workers::WorkerCommand),
    #[command(flatten)]
    Page(Page),
}

/// What a program prints that needs no store.
#[derive(Debug, Subcommand)]
pub enum Page {
    /// Print completions for a shell, to be read by it: polysema completions bash > FILE
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page: polysema man | man -l -
    Man {
        /// Sub-command whose page it is
        command: Option<String>,
    },
}

impl Page {
    /// Its text.
    pub fn text(&self) -> std::io::Result<Vec<u8>> {
        let mut command = Arguments::command();
        let mut text = vec![];
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_string();
                clap_complete::generate(*shell, &mut command, name, &mut text);
            }
            Self::Man { command: None } => clap_mangen::Man::new(command).render(&mut text)?,
            Self::Man {
                command: Some(name),
            } => {
                command.build();
                let named = command.find_subcommand(name).cloned();
                let named = named.unwrap_or_else(|| {
                    let subcommands = command.get_subcommands().map(clap::Command::get_name);
                    let names = subcommands.collect::<Vec<_>>().join(", ");
                    let message = format!("one of {names} is required, got '{name}'");
                    command.error(ErrorKind::InvalidSubcommand, message).exit()
                });
                clap_mangen::Man::new(named).render(&mut text)?;
            }
        }
        Ok(text)
    }
}

/// What the program says of its version.
pub fn version() -> &'static str {
    VERSION.as_str()
}

/// Version of the program, the commit it was built from, and DataFusion's version.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} ({}, DataFusion {})",
        env!("CARGO_PKG_VERSION"),
        env!("POLYSEMA_BUILT_FROM"),
        datafusion::DATAFUSION_VERSION
    )
});

/// One `-c` or `-f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptInput {
    /// The statements themselves.
    Command(String),
    /// A file of statements.
    File(PathBuf),
}

/// The arguments and the inputs in the order of a command line, whose first word is the program; ends the process for
/// `--help` and for a wrong command line.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> (Arguments, Vec<ScriptInput>) {
    let mut words = words.into_iter().peekable();
    let program = words.peek().map(|name| name.to_string_lossy().into_owned());
    let matches = Arguments::command()
        .try_get_matches_from(words)
        .unwrap_or_else(|error| explained(error).exit());
    let mut parsed = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    parsed.program = program.unwrap_or_default();
    let inputs = inputs(&matches, &parsed);
    if let Err(message) = consistent(&matches, &parsed, &inputs) {
        Arguments::command()
            .error(ErrorKind::ArgumentConflict, message)
            .exit();
    }
    (parsed, inputs)
}

/// Refuses words that contradict each other, or that do nothing beside the others.
fn consistent(
    matches: &ArgMatches,
    parsed: &Arguments,
    inputs: &[ScriptInput],
) -> Result<(), String> {
    if parsed.action.is_some() && !(inputs.is_empty() && parsed.variables.is_empty()) {
        return Err(
            "-c, -f and --var run statements and cannot be given with a sub-command".to_string(),
        );
    }
    let stdin = ScriptInput::File(STDIN.into());
    if inputs.iter().filter(|input| **input == stdin).count() > 1 {
        return Err("-f - reads standard input to its end and can be given once".to_string());
    }
    // The demo prints more than results.
    let (gives_results, is_quiet) = match &parsed.action {
        None | Some(Action::Report { .. } | Action::Ingest { .. } | Action::Jobs { .. }) => {
            (true, true)
        }
        Some(Action::Demo | Action::Check(_)) => (false, true),
        #[cfg(feature = "explore")]
        Some(Action::Publish(_)) => (false, true),
        #[cfg(feature = "cloud")]
        Some(Action::Upload(_)) => (false, true),
        Some(_) => (false, false),
    };
    // What the environment says is for every command.
    let is_said = |option| matches.value_source(option) == Some(ValueSource::CommandLine);
    let is_of_run = match &parsed.action {
        None | Some(Action::Report { .. } | Action::Ingest { .. }) => true,
        #[cfg(feature = "explore")]
        Some(Action::Explore(_)) => true,
        Some(_) => false,
    };
    #[cfg(feature = "distributed")]
    parsed.workers.consistent(
        matches!(parsed.action, None | Some(Action::Report { .. })),
        matches!(parsed.action, Some(Action::Worker(_))),
    )?;
    let without_effect = [
        ("-o", parsed.output.is_some() && !gives_results),
        ("--quiet", parsed.quiet && !is_quiet),
        ("--run", is_said("selected_run") && !is_of_run),
    ];
    if let Some((word, _)) = without_effect.iter().find(|(_, given)| *given) {
        return Err(format!(
            "{word} is for statements, report, ingest and jobs and cannot be given with this sub-command"
        ));
    }
    if let (Some(Action::Report { out: Some(_), .. }), Some(_)) = (&parsed.action, &parsed.output) {
        return Err(
            "--out writes a page and -o rows: one of them is required, got both".to_string(),
        );
    }
    let output = parsed.output.as_deref().filter(|_| is_said("format"));
    match output.map(|output| (output, Format::of_file(Path::new(output)))) {
        Some((output, Ok(Some(format)))) if format != parsed.format => Err(format!(
            "one form is required, got --format {} and -o {output}",
            parsed.format.name()
        )),
        _ => Ok(()),
    }
}

/// An option of a function is written without dashes, which the error says of one that was written with them.
fn explained(error: clap::Error) -> clap::Error {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::UnknownArgument => name,
        _ => return error,
    };
    let name = unknown.trim_start_matches('-').replace('-', "_");
    match INGEST.iter().any(|option| option.name == name) {
        true => Arguments::command().error(
            ErrorKind::UnknownArgument,
            format!("options of ingest as key=value are required, as {name}=..., got '{unknown}'"),
        ),
        false => error,
    }
}

fn inputs(matches: &ArgMatches, parsed: &Arguments) -> Vec<ScriptInput> {
    let places = |id: &str| {
        matches
            .indices_of(id)
            .into_iter()
            .flatten()
            .collect::<Vec<usize>>()
    };
    let commands = places("commands")
        .into_iter()
        .zip(parsed.commands.iter().cloned().map(ScriptInput::Command));
    let files = places("files")
        .into_iter()
        .zip(parsed.files.iter().cloned().map(ScriptInput::File));
    let mut placed: Vec<(usize, ScriptInput)> = commands.chain(files).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, input)| input).collect()
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is required")?;
    if !is_name(name) {
        return Err(format!(
            "a name of letters, digits and underscores is required, got {name:?}"
        ));
    }
    Ok((name.to_string(), value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_keep_the_order_of_the_command_line() {
        let words = [
            "polysema",
            "-c",
            "a",
            "--file",
            "b",
            "--format",
            "csv",
            "-cd",
            "--command=e",
        ];
        let matches = Arguments::command().get_matches_from(words);
        let parsed = Arguments::from_arg_matches(&matches).expect("the words are valid");
        let expected = [
            ScriptInput::Command("a".into()),
            ScriptInput::File("b".into()),
            ScriptInput::Command("d".into()),
            ScriptInput::Command("e".into()),
        ];
        assert_eq!(inputs(&matches, &parsed), expected);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
