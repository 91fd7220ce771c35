//! `polysema explore`: where it listens, and the browser that it opens.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::runtime::Runtime;

use super::failure::Failure;
use super::interpreter::note;
use super::interrupt::Interrupts;
use crate::explore::{ExploreOptions, Exploring, SavedQuestion};
use crate::session::EngineOptions;

/// Shows a store in a browser.
#[derive(Debug, clap::Args)]
pub struct ExploreCommand {
    /// Port; 0 is any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Address; another than this machine's needs --behind-proxy
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST.into())]
    listen: IpAddr,
    /// Name, as HOST or HOST:PORT, of a proxy that asks readers who they are and passes their requests on
    #[arg(long, value_name = "HOST")]
    behind_proxy: Option<String>,
    /// Readers may write labels of neurons and clusters into the store's table notes.labels; without it they only read
    #[arg(long)]
    write_labels: bool,
    /// Open the browser
    #[arg(long)]
    open: bool,
}

/// Answers until Ctrl-C or a signal to terminate.
pub fn run(
    runtime: &Runtime,
    command: &ExploreCommand,
    engine: EngineOptions,
    run: Option<&str>,
    saved: Vec<SavedQuestion>,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    let store = engine.store.clone();
    let options = ExploreOptions {
        engine,
        listen: command.listen,
        port: command.port,
        proxy: command.behind_proxy.clone(),
        run: run.map(str::to_string),
        write_labels: command.write_labels,
    };
    runtime.block_on(async {
        let exploring = Exploring::open(options).await?;
        let exploring = exploring.with_questions(saved);
        announce(&exploring, &store);
        if command.open {
            open_browser(&exploring.url());
        }
        exploring.serve(interrupts.pressed()).await;
        interrupts.clear();
        Ok(())
    })
}

fn announce(exploring: &Exploring, store: &Path) {
    note(&format!(
        "polysema explores {} at {} (Ctrl-C ends it)",
        store.display(),
        exploring.url()
    ));
}

/// Asks the system for the browser; where it has none, the address that was said is there to be opened.
fn open_browser(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let opened = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = opened {
        note(&format!("{program}: {error}: open the address yourself"));
    }
}
