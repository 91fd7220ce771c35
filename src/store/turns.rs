//! Rows that lie in memory, in turns: whoever reads them is never made to wait, and would compute until the budget of its
//! task is used up, a hundred batches later. Short questions on the same threads waited for that.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};

/// How long a reader computes before others have their turn: a hundred times what changing over takes.
const TURN: Duration = Duration::from_millis(1);

/// A stream that gives the thread back after each [`TURN`].
pub(super) struct InTurns<S> {
    rows: S,
    /// When this turn began.
    since: Option<Instant>,
}

impl<S> InTurns<S> {
    pub(super) fn new(rows: S) -> Self {
        Self { rows, since: None }
    }
}

impl<S: Stream + Unpin> Stream for InTurns<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < TURN {
            return self.rows.poll_next_unpin(cx);
        }
        self.since = None;
        // To be asked again, behind those who wait.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::stream;

    use super::*;

    #[test]
    fn a_reader_that_computes_for_long_gives_the_thread_back_and_loses_nothing() {
        let mut rows = InTurns::new(stream::iter(0..5));
        let mut cx = Context::from_waker(Waker::noop());
        let (mut seen, mut waits) = (vec![], 0);
        loop {
            match rows.poll_next_unpin(&mut cx) {
                Poll::Ready(Some(row)) => seen.push(row),
                Poll::Ready(None) => break,
                Poll::Pending => waits += 1,
            }
            std::thread::sleep(TURN);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert!(waits >= 5, "{waits} waits");
    }
}
