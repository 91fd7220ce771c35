//! What the work of a job is given, and what it looks at to know whether anyone still wants it.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::{Either, select};
use tokio::runtime::Handle;

use super::cancel::Cancel;
use super::doing::Doing;
use super::rows::Rows;
use crate::hub::Fetch;
use crate::policy::{Access, Policy};

/// Where the rows of a job go; `false` once nobody reads them any more.
type Send = dyn Fn(Result<RecordBatch>) -> bool + std::marker::Send + Sync;

/// The rows that work reads, the way its own rows go, whether it goes on, and the memory it may hold.
pub struct JobContext {
    pub(super) rows: Option<Rows>,
    /// Where further relations are read; none outside a statement.
    pub(super) task: Option<(Arc<TaskContext>, Handle)>,
    pub(super) send: Box<Send>,
    pub(super) cancel: Cancel,
    pub(super) memory: Arc<dyn MemoryPool>,
    pub(super) doing: Option<Arc<Doing>>,
    /// What the work said of itself when it noticed that nobody wants it.
    pub(super) given_up: Mutex<Option<String>>,
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cancelled = self.is_cancelled();
        f.debug_struct("JobContext")
            .field("cancelled", &cancelled)
            .finish_non_exhaustive()
    }
}

impl Default for JobContext {
    /// That of work which no statement runs: nobody reads its rows, and its memory is not bounded.
    fn default() -> Self {
        Self {
            rows: None,
            task: None,
            send: Box::new(|_| true),
            cancel: Cancel::default(),
            memory: Arc::new(UnboundedMemoryPool::default()),
            doing: None,
            given_up: Mutex::default(),
        }
    }
}

impl JobContext {
    /// The same with memory that is bounded.
    pub fn with_memory(memory: Arc<dyn MemoryPool>) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    /// The rows of the job's relation, if it has one.
    pub fn rows(&self) -> Option<&Rows> {
        self.rows.as_ref()
    }

    /// The rows of a further relation, by the plan that [`super::plan`] made of it.
    pub fn rows_of(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Rows> {
        let Some((context, runtime)) = &self.task else {
            return exec_err!("a statement is required to read a relation, got none");
        };
        Ok(Rows {
            plan: Arc::clone(plan),
            context: Arc::clone(context),
            runtime: runtime.clone(),
            cancel: self.cancel.clone(),
        })
    }

    /// Waits for what a statement needs time for, as long as the work is wanted.
    pub fn wait<T>(&self, done: impl Future<Output = Result<T>>) -> Result<T> {
        let Some((_, runtime)) = &self.task else {
            return exec_err!("a statement is required to wait for another, got none");
        };
        let (done, cancelled) = (pin!(done), pin!(self.cancel.cancelled()));
        match runtime.block_on(select(done, cancelled)) {
            Either::Left((done, _)) => done,
            Either::Right(_) => self.give_up("cancelled; nothing was kept"),
        }
    }

    /// Sends rows of the job. Waits where they are not read; once nobody reads them the job is cancelled.
    pub fn send(&self, batch: Result<RecordBatch>) {
        if !(self.send)(batch) {
            self.cancel();
        }
    }

    /// Says what the work is at, to who waits for an answer.
    pub fn say(&self, text: String) {
        if let Some(doing) = &self.doing {
            doing.say(text);
        }
    }

    /// How this work fetches what the hub has: as the session's policy allows, and as long as it is wanted.
    pub fn fetch(&self) -> Fetch<'_> {
        self.fetch_telling(|doing| {
            self.say(doing.to_string());
            self.tick()
        })
    }

    /// As [`Self::fetch`], with another to tell what is done.
    pub fn fetch_telling<'a>(&self, watch: impl FnMut(&str) -> Result<()> + 'a) -> Fetch<'a> {
        let policy = |(task, _): &(Arc<TaskContext>, Handle)| {
            task.session_config().get_extension::<Policy>()
        };
        let policy = self.task.as_ref().and_then(policy);
        Fetch {
            may_download: policy.is_none_or(|policy| policy.allows(Access::Download)),
            watch: Box::new(watch),
        }
    }

    /// Called many times a second: ends the work when nobody wants it.
    pub fn tick(&self) -> Result<()> {
        match self.is_cancelled() {
            false => Ok(()),
            true => self.give_up("cancelled; nothing was kept"),
        }
    }

    /// Ends work that nobody wants; `state` says how far it was and what is kept of it, as in `cancelled at step 7; ...`.
    pub fn give_up<T>(&self, state: &str) -> Result<T> {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        *given_up = Some(state.to_string());
        exec_err!("an uncancelled job is required, got {state}")
    }

    /// What the work said when it was given up.
    pub(super) fn given_up(&self) -> Option<String> {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.take()
    }

    /// Whether the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Ends the work at its next [`Self::tick`].
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Memory of the session's limit for `part` of the work, none of it reserved yet.
    pub fn memory(&self, part: &'static str) -> MemoryReservation {
        MemoryConsumer::new(part).register(&self.memory)
    }
}
