//! `polysema publish`: which run, which neurons, and the folder they are written into.

use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use super::failure::Failure;
use super::interpreter::note;
use super::interrupt::Interrupts;
use crate::explore::{PublishOptions, PublishStep, publish};
use crate::session::EngineOptions;

/// Writes the pages of a run as files.
#[derive(Debug, clap::Args)]
pub struct PublishCommand {
    /// The run
    run: String,
    /// Folder to write, a new or an empty one
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Condition on the columns of neurons, for pages of these alone: "layer = 7 AND neuron IN (3, 1024)"
    #[arg(long, value_name = "CONDITION")]
    neurons: Option<String>,
    /// Replace a site that is there
    #[arg(long)]
    replace: bool,
}

/// Writes the site, with a bar where stderr is a terminal, and says where it is.
pub fn run(
    runtime: &Runtime,
    command: &PublishCommand,
    engine: EngineOptions,
    quiet: bool,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    let options = PublishOptions {
        engine,
        run: command.run.clone(),
        neurons: command.neurons.clone(),
        out: command.out.clone(),
        replace: command.replace,
    };
    let bar = match quiet || !std::io::stderr().is_terminal() {
        true => ProgressBar::hidden(),
        false => ProgressBar::no_length(),
    };
    let style = "{wide_bar} {pos} of {len} pages, {elapsed}, {eta} left (Ctrl-C to cancel)";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let told = |step: PublishStep| {
        bar.set_length(step.total as u64);
        bar.set_position(step.done as u64);
    };
    let published = runtime.block_on(async {
        tokio::select! {
            published = publish(&options, told) => published.map_err(Failure::from),
            () = interrupts.pressed() => Err(Failure::Interrupted(
                "publish: cancelled, nothing is left".to_string(),
            )),
        }
    });
    bar.finish_and_clear();
    let published = published?;
    if !quiet {
        let per = |n: u64| n as f64 / 1e6;
        note(&format!(
            "{} neurons and {} documents in {} files of {:.1} MB, the largest {:.2} MB, in {:.1} s: open {}",
            published.neurons,
            published.documents,
            published.files,
            per(published.bytes),
            per(published.largest),
            published.seconds,
            command.out.join("index.html").display()
        ));
    }
    Ok(())
}
