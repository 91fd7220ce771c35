//! The threads behind all connections of a process, and how Python waits for them.

use std::future::Future;
use std::process;
use std::sync::OnceLock;
use std::time::Duration;

use polysema::shell::threads;
use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::error::Error;

/// Between two looks at whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(100);

static RUNTIME: OnceLock<(u32, Runtime)> = OnceLock::new();

fn runtime() -> PyResult<&'static Runtime> {
    let (owner, runtime) = match RUNTIME.get() {
        Some(started) => started,
        None => {
            let started = threads().map_err(|error| {
                Error::new_err(format!("threads for the queries are required, got {error}"))
            })?;
            RUNTIME.get_or_init(|| (process::id(), started))
        }
    };
    // Threads do not come along into a forked process: whoever waited for them would wait for ever.
    match *owner == process::id() {
        true => Ok(runtime),
        false => Err(Error::new_err(
            "a process that polysema was first used in is required, got a fork of one: start workers with the method \
             'spawn' or 'forkserver'",
        )),
    }
}

/// Waits for work with Python's other threads running. Ctrl-C in the main thread ends it: the work is dropped, which
/// cancels it.
pub fn wait<F: Future + Send>(py: Python<'_>, work: F) -> PyResult<F::Output>
where
    F::Output: Send,
{
    let runtime = runtime()?;
    py.detach(|| {
        runtime.block_on(async {
            let mut work = std::pin::pin!(work);
            loop {
                match tokio::time::timeout(LOOK, &mut work).await {
                    Ok(done) => return Ok(done),
                    Err(_) => Python::attach(|py| {
                        // A signal is taken notice of where a line of Python runs.
                        py.run(c"pass", None, None)?;
                        py.check_signals()
                    })?,
                }
            }
        })
    })
}
