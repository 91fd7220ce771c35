//! What the connections of a server share: the engine, who is connected, what they may take, and how far its end is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicI32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::error::Result;
use pgwire::error::PgWireError;
use pgwire::messages::startup::SecretKey;
use pgwire::tokio::tokio_rustls::TlsAcceptor;
use tokio::sync::{Semaphore, watch};

use super::catalogue::Catalogue;
use super::errors::{fatal, state};
use super::guesses::Guesses;
use super::interrupt::Interrupt;
use super::metrics::ServerMetrics;
use super::users::{Login, Role, Users};
use crate::session::{Account, Engine, Session};
use crate::text::describe;

/// The most that a message or a request may have: statements with their parameters.
pub(super) const MESSAGE: usize = 64 << 20;

/// What a client is told whose statement has panicked.
pub(super) const PANICKED: &str = "a statement that this server can answer is required, got one that it fails at: the \
                                   connection ends, and the server's log says where it failed";

/// What clients may take.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Connections that are open at once.
    pub connections: usize,
    /// Of them, those of one user; no limit of its own when absent.
    pub user_connections: Option<usize>,
    /// Rows of a statement; unlimited when absent. COPY has no such limit.
    pub max_rows: Option<usize>,
    /// The most time a statement may take; a client may set less.
    pub statement_timeout: Option<Duration>,
    /// Bytes that the statements of one user may hold together; the engine's limit when absent.
    pub user_memory: Option<usize>,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 100,
            user_connections: None,
            max_rows: None,
            statement_timeout: None,
            user_memory: None,
        }
    }
}

impl ServeLimits {
    /// Why a statement that has so many rows is refused, if it is.
    pub(super) fn too_many_rows(&self, sent: usize) -> Option<String> {
        let limit = self.max_rows.filter(|limit| sent > *limit)?;
        Some(format!(
            "at most {limit} rows of a statement are required, got more: LIMIT takes a part of them"
        ))
    }
}

/// How far the end of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Nothing new begins.
    Closing,
    /// What has begun is cancelled.
    Ending,
}

/// What the sessions of one user share.
#[derive(Debug)]
pub(super) struct UserState {
    account: Option<Arc<Account>>,
    open: Mutex<usize>,
}

impl UserState {
    /// Whether nobody of the name is connected, and nothing that they began holds memory on their account.
    fn is_over(&self) -> bool {
        let open = *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let account = self.account.as_ref();
        open == 0 && account.is_none_or(|account| Arc::strong_count(account) == 1)
    }
}

/// A user while they are connected.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    pub(super) role: Role,
    state: Arc<UserState>,
}

impl Member {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut open = self
            .state
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(1);
    }
}

/// What all connections of a server share.
pub(super) struct Server {
    pub(super) engine: Arc<Engine>,
    pub(super) catalogue: Catalogue,
    pub(super) users: Option<PathBuf>,
    /// The role of everybody; none where users say who they are.
    pub(super) role_of_all: Option<Role>,
    pub(super) tls: Option<[TlsAcceptor; 2]>,
    pub(super) limits: ServeLimits,
    pub(super) metrics: ServerMetrics,
    /// A permit a connection of PostgreSQL's protocol.
    pub(super) slots: Arc<Semaphore>,
    /// Those who are connected by their names.
    members: Mutex<HashMap<String, Arc<UserState>>>,
    pub(super) guesses: Guesses,
    statements: Mutex<HashMap<i32, (SecretKey, Arc<Interrupt>)>>,
    pub(super) next: AtomicI32,
    pub(super) phase: watch::Sender<Phase>,
}

impl Server {
    pub(super) fn new(
        engine: Arc<Engine>,
        users: Option<PathBuf>,
        role: Role,
        tls: Option<[TlsAcceptor; 2]>,
        limits: ServeLimits,
    ) -> Result<Self> {
        Ok(Self {
            engine,
            catalogue: Catalogue::new()?,
            role_of_all: users.is_none().then_some(role),
            users,
            tls,
            slots: Arc::new(Semaphore::new(limits.connections)),
            limits,
            metrics: ServerMetrics::default(),
            members: Mutex::default(),
            guesses: Guesses::default(),
            statements: Mutex::default(),
            next: AtomicI32::new(1),
            phase: watch::Sender::new(Phase::Serving),
        })
    }

    /// What is asked of somebody who says this name, as the file of users has it now: who is added may connect at once.
    /// None where the file cannot be read, which is the log's matter.
    pub(super) fn login(&self, name: &str) -> Option<Login> {
        match Users::read(self.users.as_ref()?) {
            Ok(users) => Some(users.login(name)),
            Err(error) => {
                tracing::error!(error = %describe(&error), "users");
                None
            }
        }
    }

    /// One more connection of a user.
    pub(super) fn member(&self, name: &str, role: Role) -> std::result::Result<Member, String> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        // Where nobody proves who they are, a name may be any.
        members.retain(|_, state| !state.is_over());
        let state = members.entry(name.to_string()).or_insert_with(|| {
            let account = self
                .limits
                .user_memory
                .map(|limit| self.engine.account(limit));
            Arc::new(UserState {
                account,
                open: Mutex::default(),
            })
        });
        let mut open = state.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self
            .limits
            .user_connections
            .is_some_and(|limit| *open >= limit)
        {
            return Err(format!(
                "at most {open} connections of user \"{name}\" are required, got one more"
            ));
        }
        *open += 1;
        drop(open);
        Ok(Member {
            name: name.to_string(),
            role,
            state: Arc::clone(state),
        })
    }

    pub(super) fn open_session(&self, member: &Member) -> Result<Session> {
        let policy = member.role.policy();
        match &member.state.account {
            Some(account) => self.engine.session_on(policy, Arc::clone(account)),
            None => self.engine.session(policy),
        }
    }

    pub(super) fn remember(&self, id: i32, secret: SecretKey, interrupt: &Arc<Interrupt>) {
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        statements.insert(id, (secret, Arc::clone(interrupt)));
    }

    pub(super) fn forget(&self, id: i32) {
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        statements.remove(&id);
    }

    /// Ends the statement of a connection whose secret is known.
    pub(super) fn cancel(&self, id: i32, secret: &SecretKey) {
        let statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match statements.get(&id) {
            Some((own, interrupt)) if own.eq_value(secret) => interrupt.cancel(),
            _ => tracing::warn!(connection = id, "a request to cancel without the secret"),
        }
    }

    /// A message in which the store has its name, and not its place on the server's disk.
    pub(super) fn without_place(&self, message: String) -> String {
        let root = self.engine.store().root();
        let name = root.file_name().and_then(|name| name.to_str());
        match (root.to_str(), name) {
            (Some(root), Some(name)) if root.len() > name.len() => message.replace(root, name),
            _ => message,
        }
    }

    /// Writes down and counts that the work for a connection has panicked, and what its client is told. Where it was, the
    /// program's own log says; what it was about, nobody.
    pub(super) fn panicked(&self, id: i32) -> PgWireError {
        self.metrics.panicked();
        tracing::error!(connection = id, "the work for a client has panicked");
        fatal(state::INTERNAL, PANICKED)
    }

    /// Connections of PostgreSQL's protocol that are open.
    pub(super) fn connections(&self) -> usize {
        self.limits.connections - self.slots.available_permits()
    }

    async fn phase(&self, phase: Phase) {
        let mut now = self.phase.subscribe();
        // The sender lives as long as the server.
        let _ = now.wait_for(|now| *now >= phase).await;
    }

    /// Waits until nothing new may begin.
    pub(super) async fn closing(&self) {
        self.phase(Phase::Closing).await;
    }

    /// Waits until what has begun is cancelled.
    pub(super) async fn ending(&self) {
        self.phase(Phase::Ending).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::EngineOptions;

    fn server(folder: &tempfile::TempDir, limits: ServeLimits) -> Server {
        let options = EngineOptions {
            store: folder.path().join("s"),
            memory_limit: Some(1 << 30),
            loaded_limit: None,
        };
        let engine = Engine::open(&options).unwrap();
        Server::new(engine, None, Role::Reader, None, limits).unwrap()
    }

    #[tokio::test]
    async fn names_that_come_and_go_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let limits = ServeLimits {
            user_memory: Some(1 << 20),
            ..ServeLimits::default()
        };
        let server = server(&folder, limits);
        let kept = || server.members.lock().unwrap().len();
        let stays = server.member("stays", Role::Reader).unwrap();
        for n in 0..1000 {
            drop(server.member(&format!("user{n}"), Role::Reader).unwrap());
        }
        assert!(kept() <= 2, "{}", kept());
        // Whose session still holds the account, as a job without a reader does, keeps the same one.
        let session = server.open_session(&stays).unwrap();
        drop(stays);
        drop(server.member("another", Role::Reader).unwrap());
        assert!(server.members.lock().unwrap().contains_key("stays"));
        drop(session);
        drop(server.member("another", Role::Reader).unwrap());
        assert!(!server.members.lock().unwrap().contains_key("stays"));
    }

    #[test]
    fn a_panic_is_counted_and_told_without_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(&folder, ServeLimits::default());
        let PgWireError::UserError(told) = server.panicked(7) else {
            panic!("an error that is told is required");
        };
        assert_eq!(
            (told.severity.as_str(), told.code.as_str()),
            ("FATAL", "XX000")
        );
        assert!(
            told.message.contains("the connection ends"),
            "{}",
            told.message
        );
        let metrics = server.metrics.text(0, 0, 0);
        assert!(metrics.contains("polysema_panics_total 1\n"), "{metrics}");
    }
}
