//! The SQL shell: command line, scripts and prompt over one session. Results go to stdout and everything else to
//! stderr, so that a pipe sees data only. Over 400 lines since every sub-command begins and ends here.

mod answers;
mod args;
mod check;
mod commands;
mod complete;
mod demo;
mod demo_data;
mod dendrogram;
mod describe;
#[cfg(feature = "explore")]
mod explore;
mod failure;
mod format;
mod highlight;
mod histogram;
mod ingest;
mod interpreter;
mod interrupt;
mod output;
mod page;
mod pager;
mod pdf;
mod pictures;
mod progress;
#[cfg(feature = "explore")]
mod publish;
mod repl;
mod report;
mod report_page;
mod run;
mod screen;
mod script;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "cloud")]
mod upload;
#[cfg(feature = "serve")]
mod users;
mod variables;
#[cfg(feature = "distributed")]
mod workers;

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::jobs::State;
use crate::session::Session;
#[cfg(not(feature = "distributed"))]
use crate::session::SessionOptions;
use crate::text::{describe, quoted};
use args::{Action, Arguments, Page, ScriptInput};

use failure::Failure;
use format::Layout;
use interpreter::{Flow, Interpreter, STDIN, ScriptSource, note};
use interrupt::Interrupts;
use output::StandardOutput;
use variables::Variables;

/// Unoptimised plans are walked by recursion, and a wide or deep one needs more than the usual 2 MiB.
const STACK_BYTES: usize = 16 << 20;
/// Time for cancelled work to notice and remove its half-written files.
const SHUTDOWN: Duration = Duration::from_secs(2);

const EXIT_SUCCESS: u8 = 0;
const EXIT_FAILURE: u8 = 1;
/// Exit code where the reader of stdout left before the last statement, as shells report it (128 + SIGPIPE).
const EXIT_CLOSED: u8 = 141;

/// Between two looks at whether detached jobs have ended.
const WAIT: Duration = Duration::from_millis(50);

/// Runs the program: reads the command line, opens the session, runs what was asked for.
pub fn main() -> ExitCode {
    ExitCode::from(run_command(std::env::args_os()))
}

/// Runs the program with the words of a command line, the first of which is its name, and gives its exit code. Wrong words
/// end the process.
pub fn run_command(words: impl IntoIterator<Item = OsString>) -> u8 {
    let (arguments, inputs) = args::parse(words);
    if let Some(Action::Page(page)) = &arguments.action {
        return print_page(page);
    }
    #[cfg(feature = "serve")]
    if let Some(Action::User(command)) = &arguments.action {
        // It opens no store, and Ctrl-C ends it at once.
        let done = users::run(command, &arguments.store, arguments.format);
        return exit_code(done, || interrupt::EXIT_INTERRUPTED);
    }
    failure::keep_panics();
    let started = threads(None).and_then(|runtime| Ok((runtime, Interrupts::install()?)));
    let (runtime, interrupts) = match started {
        Ok(started) => started,
        Err(error) => {
            note(&format!(
                "error: threads for the queries are required, got {error}"
            ));
            return EXIT_FAILURE;
        }
    };
    let (store, quiet) = (&arguments.store, arguments.quiet);
    let outcome = match &arguments.action {
        Some(Action::Check(command)) => check::run(&runtime, command, store, quiet, &interrupts),
        #[cfg(feature = "serve")]
        Some(Action::Serve(command)) => serve::run(
            &runtime,
            command,
            store,
            arguments.memory_limit,
            &interrupts,
        ),
        #[cfg(feature = "explore")]
        Some(Action::Explore(command)) => {
            let run = arguments.selected_run.as_deref();
            let saved = report::saved_questions();
            let engine = arguments.engine();
            explore::run(&runtime, command, engine, run, saved, &interrupts)
        }
        #[cfg(feature = "explore")]
        Some(Action::Publish(command)) => {
            let (engine, quiet) = (arguments.engine(), arguments.quiet);
            publish::run(&runtime, command, engine, quiet, &interrupts)
        }
        #[cfg(feature = "cloud")]
        Some(Action::Upload(command)) => {
            let (store, quiet) = (&arguments.store, arguments.quiet);
            upload::run(&runtime, command, store, quiet, &interrupts)
        }
        #[cfg(feature = "distributed")]
        Some(Action::Worker(command)) => {
            let engine = arguments.engine();
            workers::run(&runtime, command, &arguments.workers, &engine, &interrupts)
        }
        _ => start(&runtime, arguments, &inputs, interrupts.clone()),
    };
    runtime.shutdown_timeout(SHUTDOWN);
    exit_code(outcome, || interrupts.exit_code())
}

/// The exit code of what was done, and on stderr why it failed.
fn exit_code(outcome: Result<(), Failure>, interrupted: impl FnOnce() -> u8) -> u8 {
    match outcome {
        Ok(()) | Err(Failure::Closed) => EXIT_SUCCESS,
        Err(Failure::ClosedEarly) => EXIT_CLOSED,
        Err(Failure::Interrupted(message)) => {
            note(&message);
            interrupted()
        }
        Err(Failure::Error(message)) => {
            note(&message);
            EXIT_FAILURE
        }
    }
}

/// The threads that queries are polled by, as many as there are cores where no number is given.
pub fn threads(number: Option<usize>) -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(number) = number {
        builder.worker_threads(number);
    }
    builder
        .enable_all()
        // Sockets and timers are looked at between any two pieces of computing: each may take a millisecond.
        .event_interval(1)
        .thread_name("polysema-worker")
        .thread_stack_size(STACK_BYTES)
        .build()
}

/// Prints what needs no store.
fn print_page(page: &Page) -> u8 {
    let printed = page.text().and_then(|text| {
        let mut out = std::io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    });
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            note(&format!("error: stdout: {error}"));
            EXIT_FAILURE
        }
        _ => EXIT_SUCCESS,
    }
}

fn start(
    runtime: &Runtime,
    arguments: Arguments,
    inputs: &[ScriptInput],
    interrupts: Interrupts,
) -> Result<(), Failure> {
    let mut variables = Variables::default();
    for (name, value) in &arguments.variables {
        let set = variables.set(name, value);
        set.map_err(|message| Failure::Error(format!("error: {message}")))?;
    }
    let mut interpreter = Interpreter {
        session: Arc::new(open(runtime, &arguments, &interrupts)?),
        interrupts,
        variables,
        layout: Layout {
            max_rows: Some(interpreter::MAX_ROWS),
            ..Layout::plain(arguments.format)
        },
        output: None,
        stdout: StandardOutput::default(),
        pager: pager::program(),
        timing: false,
        interactive: false,
        quiet: arguments.quiet,
        depth: 0,
    };
    let at_prompt =
        arguments.action.is_none() && inputs.is_empty() && std::io::stdin().is_terminal();
    runtime.block_on(prepare(&mut interpreter, &arguments, at_prompt))?;
    if let Some(output) = &arguments.output {
        interpreter.output = Some(interpreter.open_output(output).map_err(located)?);
    }
    interpreter.interactive = at_prompt;
    let outcome = if let Some(action) = arguments.action {
        runtime.block_on(run_action(
            &mut interpreter,
            action,
            &arguments.store,
            &arguments.program,
        ))
    } else if at_prompt {
        repl::run(runtime, &mut interpreter)
    } else {
        runtime.block_on(run_inputs(&mut interpreter, inputs))
    };
    let outcome = match outcome {
        Ok(()) => interpreter.close_output().map_err(located),
        failed => {
            // What is not whole is gone before anything is waited for.
            interpreter.output = None;
            failed
        }
    };
    if !matches!(outcome, Err(Failure::Interrupted(_))) {
        interpreter.interrupts.clear();
    }
    runtime.block_on(wait_for_jobs(&interpreter)).and(outcome)
}

/// A failure of what belongs to no line of a script.
fn located(failure: Failure) -> Failure {
    match failure {
        Failure::Error(message) => Failure::Error(format!("error: {message}")),
        other => other,
    }
}

/// Selects the run and runs the statements that the command line or the user's folder say.
async fn prepare(
    interpreter: &mut Interpreter,
    arguments: &Arguments,
    at_prompt: bool,
) -> Result<(), Failure> {
    if let Some(run) = &arguments.selected_run {
        let set = format!("SET polysema.run = {}", quoted(run, '\''));
        interpreter
            .run_script(&set, &ScriptSource::Generated)
            .await?;
    }
    if let Some(path) = &arguments.init {
        interpreter.run_file(&path.to_string_lossy()).await?;
    } else if let Some(path) = repl::init_path().filter(|_| at_prompt) {
        // A fault there must not shut the user out.
        match interpreter.run_file(&path.to_string_lossy()).await {
            Err(Failure::Error(message)) => {
                note(&format!("{message}\nthe rest of that file is left out"))
            }
            other => other.map(|_| ())?,
        }
    }
    Ok(())
}

/// Waits for the jobs that were detached: they live in this process. Ctrl-C ends them.
async fn wait_for_jobs(interpreter: &Interpreter) -> Result<(), Failure> {
    let (jobs, interrupts) = (interpreter.session.jobs(), &interpreter.interrupts);
    let ids = jobs.detached();
    if ids.is_empty() {
        return Ok(());
    }
    interpreter.notice(&format!(
        "waiting for detached jobs: {} (Ctrl-C cancels them)",
        ids.join(", ")
    ));
    let all_ended = async {
        while !jobs.detached().is_empty() {
            tokio::time::sleep(WAIT).await;
        }
    };
    let interrupted = tokio::select! {
        () = all_ended => false,
        () = interrupts.pressed() => true,
    };
    if interrupted {
        jobs.cancel_detached();
        let ended = async {
            while !jobs.detached().is_empty() {
                tokio::time::sleep(WAIT).await;
            }
        };
        // Longer than it takes to notice; what does not end now ends with the process, and reads as lost.
        let _ = tokio::time::timeout(SHUTDOWN, ended).await;
    }
    let mut failed = false;
    for id in ids {
        let Ok(record) = jobs.find(&id) else { continue };
        let (function, state) = (&record.function, record.state.name());
        let message = format!("job {id}: {function} {state}: {}", record.message);
        match record.state {
            State::Done => interpreter.notice(&message),
            _ => {
                failed = true;
                note(&message);
            }
        }
    }
    match (interrupted, failed) {
        (true, _) => Err(Failure::interrupted()),
        (false, true) => Err(Failure::Error(
            "error: jobs that end are required, got one that did not".into(),
        )),
        (false, false) => Ok(()),
    }
}

fn open(
    runtime: &Runtime,
    arguments: &Arguments,
    interrupts: &Interrupts,
) -> Result<Session, Failure> {
    #[cfg(feature = "distributed")]
    let opening = arguments.workers.clone().session(arguments.engine());
    #[cfg(not(feature = "distributed"))]
    let opening = Session::open(SessionOptions {
        store: arguments.store.clone(),
        memory_limit: arguments.memory_limit,
    });
    let opening = runtime.spawn(opening);
    runtime.block_on(async {
        tokio::select! {
            () = interrupts.pressed() => Err(Failure::interrupted()),
            opened = opening => match opened {
                Ok(Ok(session)) => Ok(session),
                Ok(Err(error)) => Err(Failure::Error(format!("error: {}", describe(&error)))),
                Err(error) => Err(failure::lost(error)),
            },
        }
    })
}

async fn run_action(
    interpreter: &mut Interpreter,
    action: Action,
    store: &Path,
    program: &str,
) -> Result<(), Failure> {
    match action {
        Action::Demo => demo::run(interpreter, store, program).await?,
        Action::Report {
            name,
            variables,
            out,
        } => {
            report::run(interpreter, name.as_deref(), &variables, out.as_deref()).await?;
        }
        Action::Ingest {
            run,
            model,
            corpus,
            options,
        } => {
            let statement = ingest::statement(&run, &model, &corpus, &options)
                .map_err(|message| Failure::Error(format!("error: {message}")))?;
            interpreter
                .run_script(&statement, &ScriptSource::Generated)
                .await?;
        }
        Action::Jobs { cancel } => {
            let statement = match cancel {
                Some(id) => format!("SELECT * FROM cancel_job({})", quoted(&id, '\'')),
                None => "SELECT * FROM polysema.info.jobs ORDER BY started_at, id".to_string(),
            };
            interpreter
                .run_script(&statement, &ScriptSource::Generated)
                .await?;
        }
        // Done before the store is opened.
        #[cfg(feature = "serve")]
        Action::User(_) | Action::Serve(_) => {}
        #[cfg(feature = "explore")]
        Action::Explore(_) | Action::Publish(_) => {}
        #[cfg(feature = "cloud")]
        Action::Upload(_) => {}
        #[cfg(feature = "distributed")]
        Action::Worker(_) => {}
        Action::Check(_) | Action::Page(_) => {}
    }
    Ok(())
}

async fn run_inputs(interpreter: &mut Interpreter, inputs: &[ScriptInput]) -> Result<(), Failure> {
    if inputs.is_empty() {
        interpreter.run_file(STDIN).await?;
    }
    let mut inputs = inputs.iter().peekable();
    while let Some(input) = inputs.next() {
        let flow = match input {
            ScriptInput::Command(text) => {
                interpreter.run_script(text, &ScriptSource::Argument).await
            }
            ScriptInput::File(path) => interpreter.run_file(&path.to_string_lossy()).await,
        };
        match flow {
            Ok(Flow::Continue) => {}
            Ok(Flow::Quit) => break,
            Err(Failure::Closed) if inputs.peek().is_some() => return Err(Failure::ClosedEarly),
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
