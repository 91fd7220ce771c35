//! `polysema upload`: which runs, and the bucket they are written into.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use datafusion::common::exec_err;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use super::check::{count, failed, size};
use super::failure::{self, Failure};
use super::interpreter::note;
use super::interrupt::Interrupts;
use crate::remote::BucketFolder;
use crate::store::Store;

/// The arguments of `polysema upload`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Write runs into a store in a bucket of S3, Google or Azure.\n\nA run is there when all of it is. Two who write \
                  the same run at the same time do not mix: the second is told. Keys and endpoints are read of the \
                  environment: AWS_..., GOOGLE_..., AZURE_..."
)]
pub struct UploadCommand {
    /// Runs to write; all when none is given
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
    /// Address of the store, made if there is none: s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH
    #[arg(long, value_name = "ADDRESS")]
    to: PathBuf,
    /// Replace runs that are there
    #[arg(long)]
    replace: bool,
}

/// Writes the runs, with a bar where stderr is a terminal, and says what was written.
pub fn run(
    runtime: &Runtime,
    command: &UploadCommand,
    store: &Path,
    quiet: bool,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    let bar = match quiet || !std::io::stderr().is_terminal() {
        true => ProgressBar::hidden(),
        false => ProgressBar::no_length(),
    };
    if let Ok(style) = ProgressStyle::with_template("{bytes} written, {elapsed} (Ctrl-C to cancel)")
    {
        bar.set_style(style);
    }
    let ended = Arc::new(AtomicBool::new(false));
    let (end, told) = (Arc::clone(&ended), bar.clone());
    let (store, runs) = (store.to_path_buf(), command.runs.clone());
    let (to, replace) = (command.to.clone(), command.replace);
    let started = Instant::now();
    let mut writing = runtime.spawn_blocking(move || {
        let go_on = |bytes| {
            told.inc(bytes);
            match end.load(Ordering::Relaxed) {
                true => exec_err!("cancelled"),
                false => Ok(()),
            }
        };
        Store::open(&store)?.upload(&runs, &BucketFolder::at(&to)?, replace, &go_on)
    });
    let written = runtime.block_on(async {
        tokio::select! {
            written = &mut writing => written.map_err(failure::lost),
            () = interrupts.pressed() => {
                ended.store(true, Ordering::Relaxed);
                // It removes what it began.
                match writing.await {
                    Ok(Err(_)) => Err(Failure::Interrupted("upload: cancelled, nothing is left of the run it was at".to_string())),
                    written => written.map_err(failure::lost),
                }
            }
        }
    });
    bar.finish_and_clear();
    let written = written?.map_err(|error| failed(&error))?;
    if !quiet {
        note(&format!(
            "{} in {}, {}, in {:.1} s: polysema --store {}",
            count(written.runs, "run"),
            count(written.files, "file"),
            size(written.bytes),
            started.elapsed().as_secs_f64(),
            command.to.display()
        ));
    }
    Ok(())
}
