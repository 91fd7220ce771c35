//! The threads behind all connections of a process, and how Python waits for them.

use std::future::Future;
use std::pin::pin;
use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use polysema::shell::threads;
use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::error::Error;

/// Between two looks at whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(100);

static RUNTIME: OnceLock<(u32, Runtime)> = OnceLock::new();
/// Held while the threads are started.
static STARTING: Mutex<()> = Mutex::new(());

/// The threads, started with `number` of them if nothing has been computed yet.
fn started(number: Option<usize>) -> PyResult<&'static (u32, Runtime)> {
    // A fork while others wait for the lock leaves it locked in the child.
    if let Some(started) = RUNTIME.get() {
        return Ok(started);
    }
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(started) = RUNTIME.get() {
        return Ok(started);
    }
    let required = |error: &dyn std::fmt::Display| {
        Error::new_err(format!("threads for the queries are required, got {error}"))
    };
    if let Some(number) = number {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(number);
        pool.build_global().map_err(|error| required(&error))?;
    }
    let runtime = threads(number).map_err(|error| required(&error))?;
    Ok(RUNTIME.get_or_init(|| (process::id(), runtime)))
}

/// Sees to it that so many threads compute; their number is fixed for all connections when the first of them computes.
pub fn require_threads(number: usize) -> PyResult<()> {
    if number == 0 {
        return Err(Error::new_err("threads: 1 or more are required, got 0"));
    }
    let (_, runtime) = started(Some(number))?;
    match runtime.metrics().num_workers() {
        fixed if fixed == number => Ok(()),
        fixed => Err(Error::new_err(format!(
            "threads: {fixed} are required, with which this process has begun to compute, got {number}"
        ))),
    }
}

/// Threads that poll queries, and threads that multiply matrices.
pub fn number_of_threads() -> PyResult<(usize, usize)> {
    let (_, runtime) = started(None)?;
    Ok((
        runtime.metrics().num_workers(),
        rayon::current_num_threads(),
    ))
}

/// The threads.
pub fn runtime() -> PyResult<&'static Runtime> {
    let (owner, runtime) = started(None)?;
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
        let _within = runtime.enter();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut work = pin!(work);
        let mut looked = Instant::now();
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
                return Ok(done);
            }
            // Not by a timer of the runtime: it would wait until one of its threads has nothing else to do.
            thread::park_timeout(LOOK.saturating_sub(looked.elapsed()));
            if looked.elapsed() >= LOOK {
                Python::attach(|py| {
                    // A signal is taken notice of where a line of Python runs.
                    py.run(c"pass", None, None)?;
                    py.check_signals()
                })?;
                looked = Instant::now();
            }
        }
    })
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What is done in a call of another library, which may hold Python's lock or not.
pub fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    // `Python::attach` remembers that a method further up in this thread has the lock, also where the library between has let
    // go of it: DuckDB runs so what a connection asks it for.
    struct Held(pyo3::ffi::PyGILState_STATE);
    impl Drop for Held {
        fn drop(&mut self) {
            // SAFETY: it ends what was begun below, in the same thread.
            unsafe { pyo3::ffi::PyGILState_Release(self.0) };
        }
    }
    // SAFETY: the interpreter lives, since what is read belongs to it.
    let _held = Held(unsafe { pyo3::ffi::PyGILState_Ensure() });
    Python::attach(work)
}
