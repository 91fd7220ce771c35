//! `polysema serve`: sessions of one engine over PostgreSQL's protocol, and over HTTP beside it.
//!
//! Each connection has a session of its own. Who a client is says the file of users, and what they may do their role;
//! without such a file everybody may connect who sits at this machine, and nobody else. What is refused is refused before
//! anything listens: a certificate that cannot be read, an open door to a network.

mod asked;
mod call;
mod catalogue;
mod commands;
mod connection;
mod copy;
mod cursors;
mod errors;
mod frames;
mod functions;
mod guesses;
mod http;
mod information_schema;
mod interrupt;
mod live;
mod metrics;
mod object_names;
mod objects;
mod opaque;
mod pace;
mod parameters;
mod pg_tables;
mod queries;
mod readable;
mod requests;
mod rewritten;
pub mod scram;
mod server;
mod settings;
mod socket;
mod startup;
mod statements;
mod tls;
pub mod users;
mod values;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use datafusion::common::plan_err;
use datafusion::error::Result;
use futures::FutureExt;
use tokio::net::TcpListener;

use crate::files;
use crate::session::{Engine, EngineOptions};
pub use server::ServeLimits;
use server::{Phase, Server};
use users::{Role, Users};

/// Time for statements to end when the server is to end.
const GRACE: Duration = Duration::from_secs(10);
/// Time for what was cancelled to notice.
const LAST: Duration = Duration::from_secs(5);
/// Between two looks at whether detached jobs have ended.
const LOOK: Duration = Duration::from_millis(50);

/// What a server is opened with.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The store and its memory.
    pub engine: EngineOptions,
    /// Where it listens for PostgreSQL's protocol.
    pub listen: SocketAddr,
    /// Where it listens for HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// The file of users, if there is one.
    pub users: Option<PathBuf>,
    /// The role of everybody where there is no file of users.
    pub role: Role,
    /// The chain of certificates and the private key, as PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether it may listen beyond this machine without encryption, as behind a proxy that encrypts.
    pub plaintext: bool,
    /// What clients may take.
    pub limits: ServeLimits,
}

/// A server that listens and does not answer yet.
pub struct Listening {
    server: Arc<Server>,
    postgres: TcpListener,
    http: Option<TcpListener>,
}

impl Listening {
    /// Opens the store and listens.
    ///
    /// Errors: the store cannot be opened; others than this machine could connect without saying who they are, or without
    /// encryption; a certificate or the users cannot be read; an address is taken.
    pub async fn open(options: ServeOptions) -> Result<Self> {
        let addresses = [Some(options.listen), options.http];
        let is_open = addresses.iter().flatten().any(|to| !to.ip().is_loopback());
        if is_open && options.users.is_none() {
            return plan_err!(
                "serve: users (polysema user add NAME) are required beyond this machine, got an address for others and no \
                 file of users"
            );
        }
        if is_open && options.tls.is_none() && !options.plaintext {
            return plan_err!(
                "serve: --tls-cert and --tls-key are required beyond this machine, got neither (--plaintext does without, \
                 behind a proxy that encrypts)"
            );
        }
        let tls = options.tls.as_ref();
        let tls = tls.map(|(certificate, key)| tls::acceptors(certificate, key));
        let tls = tls.transpose()?;
        if let Some(path) = &options.users {
            Users::read(path)?;
        }
        let engine = Engine::open(&options.engine)?;
        let server = Server::new(engine, options.users, options.role, tls, options.limits)?;
        Ok(Self {
            server: Arc::new(server),
            postgres: bind(options.listen).await?,
            http: match options.http {
                Some(address) => Some(bind(address).await?),
                None => None,
            },
        })
    }

    /// Where it listens for PostgreSQL's protocol.
    pub fn postgres(&self) -> std::io::Result<SocketAddr> {
        self.postgres.local_addr()
    }

    /// Where it listens for HTTP.
    pub fn http(&self) -> Option<std::io::Result<SocketAddr>> {
        self.http.as_ref().map(TcpListener::local_addr)
    }

    /// The role of everybody, where nobody says who they are.
    pub fn role_of_all(&self) -> Option<Role> {
        self.server.role_of_all
    }

    /// Answers until `end` is ready; then nothing new begins, what has begun has ten seconds to end, and is cancelled.
    pub async fn serve(self, end: impl Future<Output = ()>) -> Result<()> {
        let Self {
            server,
            postgres,
            http,
        } = self;
        let slots = Arc::clone(&server.slots);
        let web = http.map(|http| tokio::spawn(http::serve(Arc::clone(&server), http)));
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                accepted = postgres.accept() => match accepted {
                    Ok((stream, peer)) => accept(&server, stream, peer),
                    Err(error) => {
                        // Out of file descriptors, say: connections that end give some back.
                        tracing::error!(%error, "accept");
                        tokio::time::sleep(LOOK).await;
                    }
                },
            }
        }
        drop(postgres);
        tracing::info!("the server ends");
        server.phase.send_replace(Phase::Closing);
        let all = u32::try_from(server.limits.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(GRACE, slots.acquire_many(all))
            .await
            .is_err()
        {
            server.phase.send_replace(Phase::Ending);
            let _ = tokio::time::timeout(LAST, slots.acquire_many(all)).await;
        }
        server.phase.send_replace(Phase::Ending);
        if let Some(web) = web {
            let _ = tokio::time::timeout(LAST, web).await;
        }
        let jobs = server.engine.jobs();
        jobs.cancel_detached();
        let _ = tokio::time::timeout(LAST, async {
            while !jobs.detached().is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
        Ok(())
    }
}

/// One more connection, or a refusal where there are as many as may be.
fn accept(server: &Arc<Server>, stream: tokio::net::TcpStream, peer: SocketAddr) {
    let id = server.next.fetch_add(1, Ordering::Relaxed);
    let metrics = &server.metrics;
    let Ok(slot) = Arc::clone(&server.slots).try_acquire_owned() else {
        metrics.refused();
        tracing::warn!(connection = id, %peer, "refused: too many connections");
        tokio::spawn(socket::refuse(stream, server.limits.connections));
        return;
    };
    metrics.connections_total.fetch_add(1, Ordering::Relaxed);
    let server = Arc::clone(server);
    tokio::spawn(async move {
        let keep = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
        // A client whose machine has gone is noticed by the system.
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep);
        let serve = socket::serve(Arc::clone(&server), stream, id);
        match AssertUnwindSafe(serve).catch_unwind().await {
            Ok(Ok(())) => tracing::info!(connection = id, %peer, "left"),
            Ok(Err(error)) => tracing::info!(connection = id, %peer, %error, "lost"),
            Err(_) => drop(server.panicked(id)),
        }
        server.forget(id);
        drop(slot);
    });
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        files::invalid(format!(
            "serve: a free address is required, got {address}: {error}"
        ))
    })
}
