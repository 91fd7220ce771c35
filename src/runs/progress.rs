//! What a long ingest tells while it runs, and where it notices that nobody wants it any more.

use std::time::{Duration, Instant};

use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use crate::jobs::JobContext;
use crate::store::Counts;

/// Two of these fit into half a second, the longest a reader is left without news.
const INTERVAL: Duration = Duration::from_millis(200);

/// One row of progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// `download`, `tokenize`, `forward`, `wait`, `merge`, `write` or, in the last row, `done`.
    pub phase: &'static str,
    /// Documents this phase has done.
    pub documents: u64,
    /// Documents there are, once they are counted.
    pub total_documents: Option<u64>,
    /// Tokens this phase has done.
    pub tokens: u64,
    /// Tokens over seconds of this phase.
    pub tokens_per_second: f64,
    /// Seconds since the beginning.
    pub elapsed_seconds: f64,
    /// A sentence for people.
    pub message: String,
}

/// Sends progress, not too often, and turns a cancellation into an error.
pub(super) struct Reporter<'a> {
    sink: &'a mut dyn FnMut(Progress),
    context: &'a JobContext,
    started: Instant,
    phase_started: Instant,
    last: Instant,
    /// Tokens of this phase that were read before an interruption.
    skipped: u64,
    /// Documents up to the checkpoint that is kept, if there is one.
    kept: Option<u64>,
    row: Progress,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(sink: &'a mut dyn FnMut(Progress), context: &'a JobContext) -> Self {
        let now = Instant::now();
        Self {
            sink,
            context,
            started: now,
            phase_started: now,
            last: now,
            skipped: 0,
            kept: None,
            row: Progress {
                phase: "",
                documents: 0,
                total_documents: None,
                tokens: 0,
                tokens_per_second: 0.0,
                elapsed_seconds: 0.0,
                message: String::new(),
            },
        }
    }

    pub(super) fn begin(
        &mut self,
        phase: &'static str,
        total_documents: Option<u64>,
        message: String,
    ) -> Result<()> {
        self.row.phase = phase;
        self.row.documents = 0;
        self.row.tokens = 0;
        self.skipped = 0;
        self.row.total_documents = total_documents;
        self.row.message = message;
        self.phase_started = Instant::now();
        self.send();
        self.tick()
    }

    pub(super) fn advance(&mut self, documents: u64, tokens: u64) {
        self.row.documents += documents;
        self.row.tokens += tokens;
    }

    /// Begins the phase behind what was read before an interruption.
    pub(super) fn skip(&mut self, documents: u64, tokens: u64) {
        self.advance(documents, tokens);
        self.skipped = tokens;
    }

    /// Says that so many documents are read up to the checkpoint that is kept.
    pub(super) fn keep(&mut self, documents: u64) {
        self.kept = Some(documents);
    }

    /// Called many times a second; sends a row when one is due.
    pub(super) fn tick(&mut self) -> Result<()> {
        if self.cancelled() {
            let (phase, kept) = (self.row.phase, self.kept());
            let state = format!("cancelled in phase {phase}; {kept}");
            return self.context.give_up(&state);
        }
        self.tell();
        Ok(())
    }

    /// Sends a row when one is due.
    pub(super) fn tell(&mut self) {
        if self.last.elapsed() >= INTERVAL {
            self.send();
        }
    }

    /// What an end of the work leaves.
    pub(super) fn kept(&self) -> String {
        match self.kept {
            Some(n) => {
                format!("the checkpoint of {n} documents is kept, from which the same call goes on")
            }
            None => "nothing was kept".to_string(),
        }
    }

    /// Says what is fetched.
    pub(super) fn fetch(&mut self, doing: &str) -> Result<()> {
        self.row.phase = "download";
        self.row.message = doing.to_string();
        self.tick()
    }

    /// Says who is waited for.
    pub(super) fn wait(&mut self, held: &str) -> Result<()> {
        self.row.phase = "wait";
        self.row.message = held.to_string();
        self.tick()
    }

    /// Sends the last row.
    pub(super) fn finish(&mut self, counts: &Counts, message: String) {
        self.row.phase = "done";
        self.row.documents = counts.documents;
        self.row.total_documents = Some(counts.documents);
        self.row.tokens = counts.tokens;
        self.skipped = 0;
        self.row.message = message;
        self.phase_started = self.started;
        self.send();
    }

    /// Memory for a part of the work, none of it reserved yet.
    pub(super) fn memory(&self, part: &'static str) -> MemoryReservation {
        self.context.memory(part)
    }

    pub(super) fn cancelled(&self) -> bool {
        self.context.is_cancelled()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn send(&mut self) {
        self.last = Instant::now();
        let seconds = self.phase_started.elapsed().as_secs_f64();
        self.row.tokens_per_second = match self.row.tokens - self.skipped {
            0 => 0.0,
            tokens => tokens as f64 / seconds.max(1e-9),
        };
        self.row.elapsed_seconds = self.seconds();
        (self.sink)(self.row.clone());
    }
}
