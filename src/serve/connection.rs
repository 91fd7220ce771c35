//! What the handlers of one connection share: its session, its settings, and how far its client is.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use pgwire::error::PgWireError;

use super::errors::{fatal, state};
use super::interrupt::Interrupt;
use super::metrics::Ending;
use super::opaque::Opaque;
use super::server::{Member, Server};
use super::settings::PostgresSettings;
use super::users::LoginExchange;
use crate::session::Session;

/// How far a client is in saying who they are.
#[derive(Default)]
pub(super) enum Proof {
    #[default]
    Nobody,
    /// The name was said.
    Named(String),
    /// The password is being proven.
    Proving(String, LoginExchange),
    /// It is over.
    Over,
}

/// A query whose rows a client takes piece by piece.
pub(super) struct OpenCursor {
    pub(super) rows: SendableRecordBatchStream,
    /// What has come and was not taken.
    pub(super) left: Option<RecordBatch>,
    /// Whether it outlives its transaction.
    pub(super) hold: bool,
}

/// What a connection is once its client is known.
pub(super) struct OpenedSession {
    pub(super) session: Session,
    pub(super) member: Member,
}

/// What the handlers of one connection share.
pub(super) struct Connection {
    pub(super) server: Opaque<Arc<Server>>,
    pub(super) id: i32,
    pub(super) interrupt: Arc<Interrupt>,
    pub(super) settings: Arc<Mutex<PostgresSettings>>,
    pub(super) proof: Mutex<Proof>,
    pub(super) opened: OnceLock<Opaque<OpenedSession>>,
    pub(super) cursors: tokio::sync::Mutex<HashMap<String, OpenCursor>>,
    /// Whether the transaction has changed something.
    pub(super) changed: AtomicBool,
    /// The names of what the client has prepared by the extended protocol.
    pub(super) prepared: Mutex<BTreeSet<String>>,
    /// Where the client is.
    pub(super) peer: IpAddr,
}

impl Connection {
    /// One whose client has said nothing yet.
    pub(super) fn new(server: Arc<Server>, id: i32, peer: IpAddr) -> Self {
        Self {
            server: Opaque::new(server),
            id,
            interrupt: Arc::default(),
            settings: Arc::default(),
            proof: Mutex::default(),
            opened: OnceLock::new(),
            cursors: tokio::sync::Mutex::default(),
            changed: AtomicBool::new(false),
            prepared: Mutex::default(),
            peer,
        }
    }

    /// The session, once the client is known.
    pub(super) fn opened(&self) -> Result<&OpenedSession, PgWireError> {
        let opened = self.opened.get().map(|opened| &**opened);
        opened.ok_or_else(|| {
            fatal(
                state::PROTOCOL_VIOLATION,
                "a user is required first, got a statement",
            )
        })
    }

    pub(super) fn prepared(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> std::sync::MutexGuard<'_, PostgresSettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a statement has ended: its state, never its text.
    pub(super) fn log(&self, outcome: Ending, state: &str, began: Instant) {
        let user = self.opened.get().map(|opened| opened.member.name());
        tracing::info!(
            connection = self.id,
            user = user.unwrap_or_default(),
            outcome = outcome.name(),
            state,
            milliseconds = began.elapsed().as_millis() as u64,
            "statement"
        );
    }
}
