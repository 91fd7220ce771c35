//! Sessions of the tests over workers: of this process, which talk to them by sockets as others do, or processes of their own.
#![allow(dead_code, reason = "no program of tests asks in every way")]

use std::path::Path;
use std::sync::Arc;

use datafusion::error::Result;
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions, Session};
#[cfg(feature = "distributed")]
use polysema::workers::{Listener, TlsFiles, Workers};

#[cfg(feature = "distributed")]
pub mod process;

/// The workers of a session that are processes; they end with it.
#[derive(Default)]
pub struct Processes {
    #[cfg(feature = "distributed")]
    _all: Vec<process::Process>,
}

fn engine(store: &Path) -> Result<Arc<Engine>> {
    Engine::open(&EngineOptions {
        store: store.to_path_buf(),
        memory_limit: None,
        loaded_limit: None,
    })
}

/// How many workers a variable says.
fn said(variable: &str) -> usize {
    let said = std::env::var(variable).ok();
    said.map_or(0, |said| said.parse().expect("a number of workers"))
}

/// A session over a store, and over as many workers of this process as the variable POLYSEMA_WORKERS says, or as many
/// processes as POLYSEMA_WORKER_PROCESSES does.
pub async fn session(store: &Path) -> Result<(Session, Processes)> {
    match said("POLYSEMA_WORKER_PROCESSES") {
        0 => Ok((
            over(store, said("POLYSEMA_WORKERS")).await?,
            Processes::default(),
        )),
        n => over_processes(store, n).await,
    }
}

#[cfg(feature = "distributed")]
async fn over_processes(store: &Path, n: usize) -> Result<(Session, Processes)> {
    let all: Vec<_> = (0..n)
        .map(|_| process::Process::start(store, &[]))
        .collect();
    let session = asking(store, &process::Process::addresses(&all), None).await?;
    Ok((session, Processes { _all: all }))
}

#[cfg(not(feature = "distributed"))]
async fn over_processes(_store: &Path, _n: usize) -> Result<(Session, Processes)> {
    panic!("workers are of the feature distributed")
}

/// A session over a store and the workers at these addresses, if there are any.
#[cfg(feature = "distributed")]
pub async fn asking(store: &Path, addresses: &[String], tls: Option<&TlsFiles>) -> Result<Session> {
    let engine = engine(store)?;
    if !addresses.is_empty() {
        engine.ask(Workers::connect(addresses, tls).await?)?;
    }
    engine.session(Policy::everything())
}

/// A session over a store and so many workers.
#[cfg(feature = "distributed")]
pub async fn over(store: &Path, n: usize) -> Result<Session> {
    let mut addresses = vec![];
    for _ in 0..n {
        addresses.push(start(store).await?);
    }
    asking(store, &addresses, None).await
}

/// A worker of this process over an engine of its own; where it listens.
#[cfg(feature = "distributed")]
pub async fn start(store: &Path) -> Result<String> {
    let template = engine(store)?.worker()?;
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::open(address, None, template).await?;
    let address = listener.address()?.to_string();
    tokio::spawn(listener.serve(std::future::pending()));
    Ok(address)
}

#[cfg(not(feature = "distributed"))]
async fn over(store: &Path, n: usize) -> Result<Session> {
    assert_eq!(n, 0, "workers are of the feature distributed");
    engine(store)?.session(Policy::everything())
}

/// A plan without what says who does it: over workers the scripts' plans are those of one process, a level deeper.
pub fn done_here(plan: &str) -> String {
    let (mut lines, mut depths) = (vec![], vec![]);
    for line in plan.lines() {
        let depth = line.len() - line.trim_start().len();
        depths.retain(|above| *above < depth);
        let (before, is_workers) = match line.split_once("WorkersExec: ") {
            Some((before, _)) => (before, true),
            None => ("", false),
        };
        match is_workers {
            // Beside the name of a plan its first node is written.
            true if !before.trim().is_empty() => {
                depths.push(0);
                lines.push(before.to_string());
            }
            true => depths.push(depth),
            false => {
                let line = line.get(2 * depths.len()..).unwrap_or_default();
                match lines.last_mut() {
                    Some(last) if last.ends_with("physical_plan ") => last.push_str(line.trim()),
                    _ => lines.push(line.to_string()),
                }
            }
        }
    }
    lines.join("\n")
}
