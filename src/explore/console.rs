//! Statements that a reader writes: what they may do, how much of their answer is waited for, and where in them an error is.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::error::DataFusionError;
use futures::StreamExt;
use tokio::time::{Instant as Clock, timeout_at};

use super::panel::Answered;
use super::trouble::Trouble;
use crate::policy::Policy;
use crate::session::Session;
use crate::text::{StatementPlace, located, statements};

/// How much of an answer is waited for and taken.
#[derive(Debug, Clone, Copy)]
pub struct WrittenLimits {
    /// The most time of all statements of a text.
    pub time: Duration,
    /// The most rows.
    pub rows: usize,
    /// The most bytes of rows.
    pub bytes: usize,
}

/// What a page has room and a reader patience for.
pub const LIMITS: WrittenLimits = WrittenLimits {
    time: Duration::from_secs(30),
    rows: 10_000,
    bytes: 32 << 20,
};

/// What a statement may do that a reader writes: read the store, with settings of its own.
pub fn policy() -> Policy {
    Policy {
        settings: vec!["polysema.".to_string()],
        ..Policy::nothing()
    }
}

/// The rows of the last statement.
pub struct WrittenAnswer {
    /// As many as there are, or as are taken.
    pub answered: Answered,
    /// Why there are no more, where there would be.
    pub stopped: Option<String>,
}

/// Why a text has no rows.
pub struct Mistake {
    /// What is required, and what came.
    pub trouble: Trouble,
    /// The line of the text, and the character in it.
    pub place: Option<StatementPlace>,
}

/// Runs the statements of a text; the rows are those of the last.
pub async fn run(
    session: &Session,
    text: &str,
    limits: WrittenLimits,
) -> Result<WrittenAnswer, Mistake> {
    let (began, until) = (Instant::now(), Clock::now() + limits.time);
    let all = statements(text);
    let Some((last, first)) = all.split_last() else {
        return Err(Mistake {
            trouble: Trouble::asked("a statement is required, got none"),
            place: None,
        });
    };
    for statement in first {
        read(session, statement, limits, until, false)
            .await
            .map_err(|cause| mistake(cause, text, statement, limits))?;
    }
    let (rows, stopped) = read(session, last, limits, until, true)
        .await
        .map_err(|cause| mistake(cause, text, last, limits))?;
    // A statement may have selected another.
    let run = session.selected_run();
    let run = run.map_err(|error| mistake(error.into(), text, last, limits))?;
    Ok(WrittenAnswer {
        answered: Answered {
            run,
            sql: text.to_string(),
            rows,
            elapsed: began.elapsed(),
        },
        stopped,
    })
}

/// Why a statement has no rows.
enum Cause {
    Failed(DataFusionError),
    TimedOut,
}

impl From<DataFusionError> for Cause {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

/// The rows of a statement, those that are kept, and why they are not all.
async fn read(
    session: &Session,
    statement: &str,
    limits: WrittenLimits,
    until: Clock,
    is_kept: bool,
) -> Result<(RecordBatch, Option<String>), Cause> {
    let asked = timeout_at(until, session.query(statement)).await;
    let mut rows = asked.map_err(|_| Cause::TimedOut)??;
    let schema = rows.schema();
    let (mut batches, mut n, mut size) = (vec![], 0, 0);
    let stopped = loop {
        let next = match timeout_at(until, rows.next()).await {
            Ok(next) => next,
            Err(_) if n > 0 => {
                let seconds = limits.time.as_secs();
                break Some(format!("after {seconds} seconds the statement was stopped"));
            }
            Err(_) => return Err(Cause::TimedOut),
        };
        let Some(batch) = next.transpose()? else {
            break None;
        };
        if !is_kept {
            continue;
        }
        let taken = batch.num_rows().min(limits.rows - n);
        let is_more = taken < batch.num_rows();
        let batch = batch.slice(0, taken);
        (n, size) = (n + taken, size + bytes(&batch));
        batches.push(batch);
        if is_more {
            break Some(format!(
                "after {} rows the statement was stopped",
                limits.rows
            ));
        }
        if size > limits.bytes {
            let mebibytes = limits.bytes >> 20;
            break Some(format!(
                "after {mebibytes} MiB of rows the statement was stopped"
            ));
        }
    };
    let rows = concat_batches(&schema, &batches).map_err(DataFusionError::from)?;
    Ok((rows, stopped))
}

/// The bytes of a batch's own rows: its buffers may be parts of a file's.
fn bytes(batch: &RecordBatch) -> usize {
    let sizes = batch.columns().iter().map(|column| {
        let size = column.to_data().get_slice_memory_size();
        size.unwrap_or_else(|_| column.get_array_memory_size())
    });
    sizes.sum()
}

fn mistake(cause: Cause, text: &str, statement: &str, limits: WrittenLimits) -> Mistake {
    let error = match cause {
        Cause::Failed(error) => error,
        Cause::TimedOut => {
            let message = format!(
                "an answer within {} seconds is required, got none: ask about a layer or a neuron, or in polysema's shell, \
                 which waits",
                limits.time.as_secs()
            );
            return Mistake {
                trouble: Trouble::new(StatusCode::GATEWAY_TIMEOUT, message),
                place: None,
            };
        }
    };
    let (message, place) = located(&error);
    let mut trouble = Trouble::from(error);
    trouble.message = Policy::nothing().shown(message);
    // Both are parts of the same text.
    let before = &text[..statement.as_ptr() as usize - text.as_ptr() as usize];
    let (lines, column) = (
        before.matches('\n').count(),
        before.rsplit('\n').next().unwrap_or_default(),
    );
    let shift = column.chars().count();
    let place = place.map(|place| StatementPlace {
        line: place.line + lines,
        column: place.column + if place.line == 1 { shift } else { 0 },
    });
    Mistake { trouble, place }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Engine, EngineOptions};

    async fn asked(text: &str, limits: WrittenLimits) -> Result<WrittenAnswer, Mistake> {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(&EngineOptions {
            store: folder.path().join("s"),
            memory_limit: None,
            loaded_limit: None,
        });
        let session = engine.unwrap().session(policy()).unwrap();
        run(&session, text, limits).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_is_cut_where_a_limit_is_reached_and_says_so() {
        let many = "SELECT value FROM generate_series(1, 100000)";
        let few = WrittenLimits {
            rows: 100,
            ..LIMITS
        };
        let cut = asked(many, few).await.ok().unwrap();
        assert_eq!(cut.answered.rows.num_rows(), 100);
        assert_eq!(
            cut.stopped.as_deref(),
            Some("after 100 rows the statement was stopped")
        );
        let whole = asked("SELECT value FROM generate_series(1, 100)", few)
            .await
            .ok()
            .unwrap();
        assert!(whole.stopped.is_none());
        let small = WrittenLimits {
            bytes: 1 << 10,
            rows: 1 << 20,
            ..LIMITS
        };
        let cut = asked(many, small).await.ok().unwrap();
        assert!(cut.answered.rows.num_rows() < 100_000);
        assert!(cut.stopped.unwrap().contains("MiB of rows"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_takes_too_long_is_stopped() {
        let soon = WrittenLimits {
            time: Duration::from_millis(200),
            ..LIMITS
        };
        let long = "SELECT count(*) FROM generate_series(1, 300000) a, generate_series(1, 300000) b WHERE a.value = b.value + 1 OR a.value * b.value = 7";
        let mistake = asked(long, soon).await.err().unwrap();
        assert_eq!(mistake.trouble.status, StatusCode::GATEWAY_TIMEOUT);
        // What was asked before counts, too.
        let mistake = asked(&format!("{long}; SELECT 1"), soon)
            .await
            .err()
            .unwrap();
        assert_eq!(mistake.trouble.status, StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mistake_has_its_place_in_the_whole_text() {
        for (text, line, column) in [
            ("SELECT x FROM (SELECT 1 AS a)", 1, 8),
            ("SELECT 1;\n SELECT\n  nope FROM (SELECT 1 AS a)", 3, 3),
            ("SELECT 1; SELECT nope FROM (SELECT 1 AS a)", 1, 18),
            ("SELECT 1; SELEC 2", 1, 11),
        ] {
            let mistake = asked(text, LIMITS).await.err().unwrap();
            assert_eq!(
                mistake.place,
                Some(StatementPlace { line, column }),
                "{text}"
            );
            assert!(
                !mistake.trouble.message.contains("Line:"),
                "{}",
                mistake.trouble.message
            );
        }
        let none = asked(" -- nothing", LIMITS).await.err().unwrap();
        assert_eq!(none.trouble.message, "a statement is required, got none");
    }
}
