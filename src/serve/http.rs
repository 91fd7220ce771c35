//! HTTP beside PostgreSQL's protocol: `POST /sql` with the same users and limits, `/healthz` and `/metrics`. Above 400 lines,
//! since it is one conversation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant as Clock, timeout, timeout_at};

use super::errors::{sql_state, state};
use super::forms::{Form, Writer};
use super::metrics::Ending;
use super::server::{MESSAGE, Member, Server};
use super::statements::split;
use super::users::Role;
use crate::session::Session;
use crate::text::describe;

/// Time to send the head of a request, and to be idle between two.
const HEAD: Duration = Duration::from_secs(30);
/// Time to agree on encryption.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Answers until the server closes.
pub(super) async fn serve(server: Arc<Server>, listener: TcpListener) {
    let router = Router::new()
        .route("/sql", post(sql))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&server));
    let slots = Arc::new(Semaphore::new(server.limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.closing() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "accept");
                tokio::time::sleep(super::LOOK).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let (server, router) = (Arc::clone(&server), router.clone());
        tokio::spawn(async move {
            match encrypted(&server, stream).await {
                Ok(stream) => speak(&server, router, stream).await,
                Err(error) => tracing::info!(%peer, %error, "lost"),
            }
            drop(slot);
        });
    }
    let all = u32::try_from(server.limits.connections).unwrap_or(u32::MAX);
    let _ = slots.acquire_many(all).await;
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

/// Speaks HTTP with one client; what it has asked is answered when the server closes, until it ends.
async fn speak(server: &Server, router: Router, stream: Box<dyn Wire>) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // That a client has gone is no error of the server.
        _ = &mut connection => return,
        () = server.closing() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = server.ending() => {}
    }
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

/// What is asked as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    #[serde(default)]
    parameters: Parameters,
    run: Option<String>,
}

/// Values by position, or by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Parameters {
    Positions(Vec<serde_json::Value>),
    Names(std::collections::HashMap<String, serde_json::Value>),
}

impl Default for Parameters {
    fn default() -> Self {
        Self::Positions(vec![])
    }
}

/// A request that is refused.
struct Refusal {
    status: StatusCode,
    state: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, state: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            state,
            message: message.into(),
        }
    }

    fn ending(&self) -> Ending {
        match self.state {
            state::QUERY_CANCELED => Ending::TimedOut,
            _ => Ending::Failed,
        }
    }

    fn into_response(self) -> Response {
        let body = serde_json::json!({"error": self.message, "state": self.state});
        let mut response = answer(
            self.status,
            "application/json",
            Body::from(format!("{body}\n")),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            let asked = HeaderValue::from_static("Basic realm=\"polysema\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, asked);
        }
        response
    }
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        let state = sql_state(&error);
        let status = match state {
            state::INSUFFICIENT_PRIVILEGE => StatusCode::FORBIDDEN,
            state::OUT_OF_MEMORY => StatusCode::SERVICE_UNAVAILABLE,
            state::INTERNAL => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, state, describe(&error))
    }
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}

async fn sql(State(server): State<Arc<Server>>, request: Request) -> Response {
    let began = Instant::now();
    let asked = ask(&server, request, began).await;
    asked.unwrap_or_else(|refusal| {
        ended(&server, refusal.ending(), refusal.state, began);
        refusal.into_response()
    })
}

fn ended(server: &Server, outcome: Ending, state: &str, began: Instant) {
    server.metrics.statement(outcome, began.elapsed());
    let milliseconds = began.elapsed().as_millis() as u64;
    tracing::info!(outcome = outcome.name(), state, milliseconds, "request");
}

async fn ask(
    server: &Arc<Server>,
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
    let member = member(server, &head.headers)?;
    let body = to_bytes(body, MESSAGE).await.map_err(|error| {
        let message = format!("a whole body of at most {MESSAGE} bytes is required, got {error}");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, state::PROGRAM_LIMIT, message)
    })?;
    let asked = read(&head.headers, &body)?;
    let until = server
        .limits
        .statement_timeout
        .map(|limit| Clock::now() + limit);
    let rows = within(until, rows(server, &member, asked)).await;
    let rows = rows.unwrap_or_else(|| Err(timed_out()))?;
    let stream = SentRows {
        server: Arc::clone(server),
        writer: form.writer(&rows.1.schema())?,
        rows: rows.1,
        _session: rows.0,
        _member: member,
        until,
        began,
        sent: 0,
    };
    Ok(answer(
        StatusCode::OK,
        form.kind(),
        Body::from_stream(stream.bytes()),
    ))
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

/// Who asks. Where nobody says who they are, no page of a browser may: it can reach this machine, too.
fn member(server: &Server, headers: &HeaderMap) -> std::result::Result<Member, Refusal> {
    let (user, role) = match server.role_of_all {
        Some(role) => {
            require_no_page(headers)?;
            ("http".to_string(), role)
        }
        None => known(server, headers)?,
    };
    server.member(&user, role).map_err(|message| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            state::CONNECTION_LIMIT,
            message,
        )
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn require_no_page(headers: &HeaderMap) -> std::result::Result<(), Refusal> {
    let host = text(headers, &HOST).unwrap_or_default();
    let without_port = host
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok());
    let name = without_port.map_or(host, |(name, _)| name);
    let is_here = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    match headers.contains_key(ORIGIN) || !is_here {
        true => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            state::INVALID_AUTHORIZATION,
            "a program of this machine is required, got a page of a browser or another name of the host: a file of \
             users lets others ask",
        )),
        false => Ok(()),
    }
}

fn known(server: &Server, headers: &HeaderMap) -> std::result::Result<(String, Role), Refusal> {
    let wrong = || {
        server.metrics.refused();
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            state::INVALID_PASSWORD,
            "a user and their password are required (HTTP Basic), got none that are known",
        )
    };
    let given = text(headers, &AUTHORIZATION);
    let given = given.and_then(|value| value.strip_prefix("Basic "));
    let decoded = given.and_then(|text| STANDARD.decode(text.trim()).ok());
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(wrong)?;
    let (user, password) = text.split_once(':').ok_or_else(wrong)?;
    let login = server.login(user).ok_or_else(wrong)?;
    let role = login.with_password(password).ok_or_else(wrong)?;
    Ok((user.to_string(), role))
}

fn read(headers: &HeaderMap, body: &[u8]) -> std::result::Result<Asked, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, state::SYNTAX_ERROR, message);
    let kind = text(headers, &CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return serde_json::from_slice(body).map_err(|error| {
            bad(format!(
                "{{\"sql\": ..., \"parameters\": ..., \"run\": ...}} is required, got {error}"
            ))
        });
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(Asked {
            sql: text.to_string(),
            parameters: Parameters::default(),
            run: None,
        }),
        Err(error) => Err(bad(format!(
            "statements as UTF-8 are required, got {error}"
        ))),
    }
}

/// Runs the statements in a session of their own; the rows are those of the last one.
async fn rows(
    server: &Server,
    member: &Member,
    asked: Asked,
) -> std::result::Result<(Session, SendableRecordBatchStream), Refusal> {
    let session = server.open_session(member)?;
    if let Some(run) = &asked.run {
        session.select_run(run).await?;
    }
    let mut statements = split(&asked.sql);
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

impl Parameters {
    fn values(self) -> std::result::Result<ParamValues, Refusal> {
        Ok(match self {
            Self::Positions(values) => {
                let values = values.into_iter().map(scalar);
                ParamValues::from(values.collect::<std::result::Result<Vec<_>, _>>()?)
            }
            Self::Names(values) => {
                let values = values
                    .into_iter()
                    .map(|(name, value)| Ok((name, scalar(value)?)));
                ParamValues::from(values.collect::<std::result::Result<Vec<_>, Refusal>>()?)
            }
        })
    }
}

fn scalar(value: serde_json::Value) -> std::result::Result<ScalarValue, Refusal> {
    use serde_json::Value;
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => value.into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, number) => ScalarValue::Float64(number),
        },
        other => {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                state::INVALID_PARAMETER,
                format!(
                    "a number, text, true, false or null is required as a parameter, got {other}"
                ),
            ));
        }
    })
}

/// An answer while it is sent. An error in the midst of it breaks the connection off: what has come is not all.
struct SentRows {
    server: Arc<Server>,
    writer: Writer,
    rows: SendableRecordBatchStream,
    _session: Session,
    _member: Member,
    until: Option<Clock>,
    began: Instant,
    sent: usize,
}

impl SentRows {
    fn bytes(self) -> impl Stream<Item = std::result::Result<Bytes, String>> + Send {
        futures::stream::unfold(Some(self), |rows| async {
            let mut rows = rows?;
            match rows.next().await {
                Ok((bytes, true)) => Some((Ok(bytes), Some(rows))),
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
