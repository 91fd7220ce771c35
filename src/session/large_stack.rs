//! Planning of a deep statement: plans are walked by recursion with frames of kilobytes, more than the stack of a thread
//! that the program embedding the engine has made may carry.

use std::thread;

use datafusion::common::{exec_datafusion_err, internal_datafusion_err};
use datafusion::error::Result;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Bytes of the stack; only those that are used become memory.
const STACK_BYTES: usize = 128 << 20;

/// Runs it on a thread of its own; ends it where it waits when nobody waits for it any more.
pub(super) async fn on_large_stack<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (mut sender, receiver) = oneshot::channel();
    let runtime = Handle::current();
    let planning = move || {
        let done = runtime.block_on(async {
            tokio::select! {
                done = work => Some(done),
                () = sender.closed() => None,
            }
        });
        if let Some(done) = done {
            // Nobody may be waiting any more.
            let _ = sender.send(done);
        }
    };
    let thread = thread::Builder::new()
        .name("polysema-planner".to_string())
        .stack_size(STACK_BYTES)
        .spawn(planning);
    thread.map_err(|e| exec_datafusion_err!("session: a thread is required, got {e}"))?;
    let done = receiver.await;
    done.map_err(|_| internal_datafusion_err!("session: the planning ended without a result"))?
}
