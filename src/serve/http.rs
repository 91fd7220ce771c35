//! HTTP beside PostgreSQL's protocol: `POST /sql` with the same users and limits, `/healthz` and `/metrics`.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant as Clock, sleep_until, timeout, timeout_at};

use super::errors::state;
use super::metrics::Ending;
use super::requests::{Posted, Refusal, answer, member, read, whole};
use super::server::{Member, PANICKED, Server};
use crate::session::Session;
use crate::text::statements;
use crate::web::forms::{Form, Writer};
use crate::web::hosts::text;

/// Time to agree on encryption.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time for a client who is slow to read to take what there is of an answer whose time is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The client at the other end of a connection.
#[derive(Debug, Clone)]
struct Caller {
    address: IpAddr,
    /// Ends the connection: the client does not read an answer whose time is over.
    overdue: Arc<Notify>,
}

/// Answers until the server closes.
pub(super) async fn serve(server: Arc<Server>, listener: TcpListener) {
    let router = Router::new()
        .route("/sql", post(sql))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&server));
    let most = server.limits.connections;
    crate::web::accept(listener, most, server.closing(), |stream, peer| {
        let (server, router) = (Arc::clone(&server), router.clone());
        async move {
            let caller = Caller {
                address: peer.ip(),
                overdue: Arc::default(),
            };
            match encrypted(&server, stream).await {
                Ok(stream) => speak(&server, router, stream, caller).await,
                Err(error) => tracing::info!(%peer, %error, "lost"),
            }
        }
    })
    .await;
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

async fn encrypted(server: &Server, stream: TcpStream) -> std::io::Result<Box<dyn Wire>> {
    stream.set_nodelay(true)?;
    match &server.tls {
        None => Ok(Box::new(stream)),
        Some([_, http]) => match timeout(HANDSHAKE, http.accept(stream)).await {
            Ok(encrypted) => Ok(Box::new(encrypted?)),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        },
    }
}

async fn speak(server: &Server, router: Router, stream: Box<dyn Wire>, caller: Caller) {
    let overdue = Arc::clone(&caller.overdue);
    let router = router.layer(Extension(caller));
    let (closing, ending) = (server.closing(), server.ending());
    crate::web::converse(stream, router, overdue.notified(), closing, ending).await;
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let engine = &server.engine;
    let text = server.metrics.text(
        server.connections(),
        engine.reserved(),
        engine.jobs().detached().len(),
    );
    answer(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        Body::from(text),
    )
}

async fn sql(
    State(server): State<Arc<Server>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let began = Instant::now();
    let asked = AssertUnwindSafe(ask(&server, &caller, request, began));
    let asked = asked.catch_unwind().await;
    let asked = asked.unwrap_or_else(|_| Err(panicked(&server)));
    asked.unwrap_or_else(|mut refusal| {
        ended(&server, refusal.ending(), refusal.state, began);
        refusal.message = server.without_place(refusal.message);
        refusal.into_response()
    })
}

/// The answer to a request whose work has panicked.
fn panicked(server: &Server) -> Refusal {
    // HTTP's connections have no number.
    let _ = server.panicked(0);
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, state::INTERNAL, PANICKED)
}

fn ended(server: &Server, outcome: Ending, state: &str, began: Instant) {
    server.metrics.statement(outcome, began.elapsed());
    let milliseconds = began.elapsed().as_millis() as u64;
    tracing::info!(outcome = outcome.name(), state, milliseconds, "request");
}

async fn ask(
    server: &Arc<Server>,
    caller: &Caller,
    request: Request,
    began: Instant,
) -> std::result::Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let accept = text(&head.headers, &ACCEPT).unwrap_or("*/*");
    let form = Form::accepted(accept).ok_or_else(|| {
        let kinds = Form::ALL.map(Form::kind).join(", ");
        let message = format!("Accept: {kinds} is required, got {accept}");
        Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            state::FEATURE_NOT_SUPPORTED,
            message,
        )
    })?;
    let member = member(server, &head.headers, caller.address).await?;
    let body = whole(body).await?;
    let asked = read(&head.headers, &body)?;
    let until = server
        .limits
        .statement_timeout
        .map(|limit| Clock::now() + limit);
    let rows = within(until, rows(server, &member, asked)).await;
    let rows = rows.unwrap_or_else(|| Err(timed_out()))?;
    let overdue = until.map(|until| {
        let overdue = Arc::clone(&caller.overdue);
        let watch = async move {
            sleep_until(until + LAST_WORDS).await;
            overdue.notify_one();
        };
        SpawnedTask::spawn(watch)
    });
    let mut stream = SentRows {
        server: Arc::clone(server),
        _overdue: overdue,
        writer: form.writer(&rows.1.schema())?,
        rows: rows.1,
        _session: rows.0,
        _member: member,
        until,
        began,
        sent: 0,
    };
    // What fails before a row has come is told with its status.
    let first = stream.next_caught().await?;
    let body = Body::from_stream(stream.bytes(first));
    Ok(answer(StatusCode::OK, form.kind(), body))
}

fn timed_out() -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        state::QUERY_CANCELED,
        "canceling statement due to statement timeout",
    )
}

async fn within<T>(until: Option<Clock>, work: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until, work).await.ok(),
        None => Some(work.await),
    }
}

/// Runs the statements in a session of their own; the rows are those of the last one.
async fn rows(
    server: &Server,
    member: &Member,
    asked: Posted,
) -> std::result::Result<(Session, SendableRecordBatchStream), Refusal> {
    let session = server.open_session(member)?;
    if let Some(run) = &asked.run {
        session.select_run(run).await?;
    }
    let mut statements = statements(&asked.sql);
    let Some(last) = statements.pop() else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            state::SYNTAX_ERROR,
            "a statement is required, got none",
        ));
    };
    for statement in statements {
        exhaust(session.query(statement).await?).await?;
    }
    let plan = session.plan(last).await?;
    let rows = session.answer(plan, asked.parameters.values()?).await?.rows;
    Ok((session, rows))
}

async fn exhaust(mut rows: SendableRecordBatchStream) -> Result<()> {
    while let Some(batch) = rows.next().await {
        batch?;
    }
    Ok(())
}

/// An answer while it is sent. An error in the midst of it breaks the connection off: what has come is not all.
struct SentRows {
    server: Arc<Server>,
    /// Whoever does not read is not asked for what comes next, so that nothing here would notice.
    _overdue: Option<SpawnedTask<()>>,
    writer: Writer,
    rows: SendableRecordBatchStream,
    _session: Session,
    _member: Member,
    until: Option<Clock>,
    began: Instant,
    sent: usize,
}

impl SentRows {
    /// What follows the first bytes, and those.
    fn bytes(
        self,
        first: (Bytes, bool),
    ) -> impl Stream<Item = std::result::Result<Bytes, String>> + Send {
        futures::stream::unfold(Some((self, Some(first))), |state| async {
            let (mut rows, first) = state?;
            let next = match first {
                Some(first) => Ok(first),
                None => rows.next_caught().await,
            };
            match next {
                Ok((bytes, true)) => Some((Ok(bytes), Some((rows, None)))),
                Ok((bytes, false)) => {
                    ended(&rows.server, Ending::Done, "00000", rows.began);
                    Some((Ok(bytes), None))
                }
                Err(refusal) => {
                    ended(&rows.server, refusal.ending(), refusal.state, rows.began);
                    Some((Err(refusal.message), None))
                }
            }
        })
    }

    async fn next_caught(&mut self) -> std::result::Result<(Bytes, bool), Refusal> {
        let next = AssertUnwindSafe(self.next()).catch_unwind().await;
        next.unwrap_or_else(|_| Err(panicked(&self.server)))
    }

    /// The next bytes, and whether more come.
    async fn next(&mut self) -> std::result::Result<(Bytes, bool), Refusal> {
        let next = within(self.until, self.rows.next()).await;
        let Some(next) = next else {
            return Err(timed_out());
        };
        let Some(batch) = next.transpose()? else {
            return Ok((self.writer.finish()?.into(), false));
        };
        self.sent += batch.num_rows();
        if let Some(message) = self.server.limits.too_many_rows(self.sent) {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                state::PROGRAM_LIMIT,
                message,
            ));
        }
        self.server.metrics.rows(batch.num_rows());
        Ok((self.writer.write(&batch)?.into(), true))
    }
}
