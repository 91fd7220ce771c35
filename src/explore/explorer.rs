//! What all requests share: the engine, a session a run, how much is asked at once and for how long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use datafusion::arrow::compute::concat_batches;
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::console;
use super::guards::Guards;
use super::panel::Answered;
use super::publish::WebSite;
use super::slow::Slow;
use super::trouble::Trouble;
use crate::policy::Policy;
use crate::session::{Account, Engine, Session};
use crate::store::Run;

/// The most time of a statement that a reader waits for.
const LONGEST: Duration = Duration::from_secs(30);
/// Time to wait for a turn.
const TURN: Duration = Duration::from_secs(20);
/// The most rows of a panel.
const ROWS: usize = 20_000;
/// The most memory of what readers write, together.
const WRITTEN: usize = 2 << 30;
/// Sessions that are kept open.
const SESSIONS: usize = 16;

/// An open run: its state, and a session in which it is selected.
type OpenedRun = (Arc<Run>, Arc<Session>);

/// A question that is offered to who writes SQL.
#[derive(Debug, Clone)]
pub struct SavedQuestion {
    /// Its name, a word.
    pub name: String,
    /// The question in words.
    pub question: String,
    /// And as SQL.
    pub sql: String,
}

/// What all requests share.
pub struct Explorer {
    pub(super) engine: Arc<Engine>,
    pub(super) guards: Guards,
    pub(super) slow: Slow,
    /// The memory of what readers write.
    written: Arc<Account>,
    /// Questions that are offered.
    pub(super) saved: Vec<SavedQuestion>,
    /// Whether readers may write labels.
    pub(super) writes_labels: bool,
    /// What is published, where nobody asks.
    pub(super) site: Option<WebSite>,
    sessions: Mutex<HashMap<String, OpenedRun>>,
    turns: Semaphore,
}

/// What the pages' own statements may do: read the store, and keep beside a run what was computed from it. What a reader
/// writes is asked with less.
fn policy() -> Policy {
    Policy {
        run_jobs: true,
        settings: vec!["polysema.".to_string()],
        ..Policy::nothing()
    }
}

/// What those of the pages' own statements may do that send texts through the run's model.
fn model_policy() -> Policy {
    Policy {
        read_files: true,
        ..policy()
    }
}

/// What the statement may do that writes a reader's label.
fn label_policy() -> Policy {
    Policy {
        create_tables: true,
        ..policy()
    }
}

impl Explorer {
    /// Over an engine, for requests that the guards let in.
    pub fn new(engine: Arc<Engine>, guards: Guards) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            written: engine.account(WRITTEN),
            saved: vec![],
            writes_labels: false,
            site: None,
            engine,
            guards,
            slow: Slow::default(),
            sessions: Mutex::default(),
            turns: Semaphore::new(2 * cores),
        }
    }

    /// A page's turn to ask the engine.
    pub async fn turn(&self) -> std::result::Result<SemaphorePermit<'_>, Trouble> {
        match timeout(TURN, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Trouble::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "fewer readers at once are required, got more than are answered in time: ask again",
            )),
        }
    }

    /// A run as it is now, with a session in which its tables are meant.
    pub async fn open(self: &Arc<Self>, name: &str) -> Result<OpenedRun> {
        let (of, wanted) = (Arc::clone(self), name.to_string());
        let run = tokio::task::spawn_blocking(move || of.engine.store().run(&wanted)).await;
        let run = run.map_err(|error| DataFusionError::External(Box::new(error)))??;
        let known = self.sessions().get(name).cloned();
        if let Some((opened, session)) = known
            && Arc::ptr_eq(&opened, &run)
        {
            return Ok((opened, session));
        }
        let session = Arc::new(self.engine.session(policy())?);
        session.select_run(name).await?;
        let opened = (run, session);
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS
            && let Some(other) = sessions.keys().next().cloned()
        {
            sessions.remove(&other);
        }
        sessions.insert(name.to_string(), opened.clone());
        Ok(opened)
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, OpenedRun>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session in which no run is selected.
    pub fn without_run(&self) -> Result<Arc<Session>> {
        Ok(Arc::new(self.engine.session(policy())?))
    }

    /// A session for statements that need the model of a run.
    pub fn of_model(&self) -> Result<Session> {
        self.engine.session(model_policy())
    }

    /// A session for the labels that readers write.
    pub fn label_writer(&self) -> Result<Session> {
        self.engine.session(label_policy())
    }

    /// A session for what a reader writes.
    pub fn console(&self) -> Result<Session> {
        (self.engine).session_on(console::policy(), Arc::clone(&self.written))
    }

    /// The rows of a statement, few enough for a page, soon enough for a reader.
    pub async fn ask(
        session: &Session,
        run: Option<&str>,
        sql: &str,
    ) -> std::result::Result<Answered, Trouble> {
        match timeout(LONGEST, answer(session, run, sql)).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(Trouble::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!(
                    "a question of at most {} seconds is required, got one that takes longer",
                    LONGEST.as_secs()
                ),
            )),
        }
    }
}

/// The rows of a statement, few enough for a page.
pub(super) async fn answer(session: &Session, run: Option<&str>, sql: &str) -> Result<Answered> {
    let began = Instant::now();
    let mut rows = session.query(sql).await?;
    let schema = rows.schema();
    let (mut batches, mut n) = (vec![], 0);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        n += batch.num_rows();
        if n > ROWS {
            return exec_err!("at most {ROWS} rows of a panel are required, got more");
        }
        batches.push(batch);
    }
    Ok(Answered {
        run: run.map(str::to_string),
        sql: sql.to_string(),
        rows: concat_batches(&schema, &batches)?,
        elapsed: began.elapsed(),
    })
}
