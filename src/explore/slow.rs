//! Answers that take longer than a reader waits: computed once, beside the requests, and kept while their run is as it was.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use datafusion::common::DataFusionError;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::panel::Answered;
use super::trouble::Trouble;
use crate::jobs::Doing;
use crate::store::Run;

/// Answers that are kept or computed.
const KEPT: usize = 128;
/// Those that are computed at once: each uses every core.
const AT_ONCE: usize = 2;
/// Those that wait for their turn.
const WAITING: usize = 32;
/// The most time of one.
const LONGEST: Duration = Duration::from_secs(15 * 60);

type SlowOutcome = Result<Arc<Answered>, Arc<DataFusionError>>;

/// When an answer was begun, what it is at, and what it will be.
type BegunAnswer = (Instant, Arc<Doing>, watch::Receiver<Option<SlowOutcome>>);

/// What is known of an answer.
#[derive(Debug)]
pub enum Patience {
    /// It is there.
    Ready(Arc<Answered>),
    /// It is computed since so long, and is at this, if that is told.
    Working(Duration, String),
}

#[derive(Debug)]
struct SlowAnswer {
    run: Weak<Run>,
    sql: String,
    began: Instant,
    doing: Arc<Doing>,
    outcome: watch::Receiver<Option<SlowOutcome>>,
}

impl SlowAnswer {
    fn is_over(&self) -> bool {
        self.outcome.borrow().is_some()
    }
}

/// The answers, by run and statement.
#[derive(Debug)]
pub struct Slow {
    answers: Mutex<Vec<SlowAnswer>>,
    turns: Arc<Semaphore>,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Slow {
    /// The answer to a statement on a run, begun by `work` where nobody has asked before, as far as it is after `wait`.
    pub async fn get<W>(
        &self,
        run: &Arc<Run>,
        sql: &str,
        wait: Duration,
        work: impl FnOnce() -> (W, Arc<Doing>),
    ) -> Result<Patience, Trouble>
    where
        W: Future<Output = Result<Answered, DataFusionError>> + Send + 'static,
    {
        let (began, doing, mut outcome) = self.found(run, sql, work)?;
        let waited = timeout(wait, outcome.wait_for(Option::is_some)).await;
        let outcome = match waited {
            Err(_) => return Ok(Patience::Working(began.elapsed(), doing.text())),
            Ok(Ok(outcome)) => outcome.clone(),
            // Whoever computed it has panicked.
            Ok(Err(_)) => None,
        };
        match outcome {
            Some(Ok(answered)) => Ok(Patience::Ready(answered)),
            failed => {
                self.forget(run, sql);
                Err(match failed {
                    Some(Err(error)) => DataFusionError::Shared(error).into(),
                    _ => Trouble::failed(),
                })
            }
        }
    }

    fn found<W>(
        &self,
        run: &Arc<Run>,
        sql: &str,
        work: impl FnOnce() -> (W, Arc<Doing>),
    ) -> Result<BegunAnswer, Trouble>
    where
        W: Future<Output = Result<Answered, DataFusionError>> + Send + 'static,
    {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // A run that was replaced is asked by nobody any more.
        answers.retain(|answer| answer.run.strong_count() > 0);
        let is_it =
            |answer: &SlowAnswer| answer.sql == sql && answer.run.as_ptr() == Arc::as_ptr(run);
        if let Some(at) = answers.iter().position(is_it) {
            // What was asked last is forgotten last.
            let answer = answers.remove(at);
            let doing = Arc::clone(&answer.doing);
            let found = (answer.began, doing, answer.outcome.clone());
            answers.push(answer);
            return Ok(found);
        }
        let working = answers.iter().filter(|answer| !answer.is_over()).count();
        if working >= WAITING {
            return Err(Trouble::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("at most {WAITING} long questions at once are required, got one more"),
            ));
        }
        if answers.len() >= KEPT
            && let Some(oldest) = answers.iter().position(SlowAnswer::is_over)
        {
            answers.remove(oldest);
        }
        let (done, outcome) = watch::channel(None);
        let (turns, (work, doing)) = (Arc::clone(&self.turns), work());
        tokio::spawn(async move {
            let _turn = turns.acquire_owned().await;
            let answered = match timeout(LONGEST, work).await {
                Ok(answered) => answered,
                Err(_) => datafusion::common::exec_err!(
                    "a question of at most {} minutes is required, got one that takes longer",
                    LONGEST.as_secs() / 60
                ),
            };
            // Where nobody waits, it is found later.
            done.send_replace(Some(answered.map(Arc::new).map_err(Arc::new)));
        });
        let began = Instant::now();
        answers.push(SlowAnswer {
            run: Arc::downgrade(run),
            sql: sql.to_string(),
            began,
            doing: Arc::clone(&doing),
            outcome: outcome.clone(),
        });
        Ok((began, doing, outcome))
    }

    fn forget(&self, run: &Arc<Run>, sql: &str) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|answer| answer.sql != sql || answer.run.as_ptr() != Arc::as_ptr(run));
    }
}
