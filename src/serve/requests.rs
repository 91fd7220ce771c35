//! A request over HTTP before it is answered: who asks, what is asked, and how it is refused.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use futures::StreamExt;
use serde::Deserialize;

use super::errors::{sql_state, state};
use super::guesses::too_many;
use super::metrics::Ending;
use super::pace::Pace;
use super::server::{MESSAGE, Member, Server};
use super::users::Role;
use crate::text::describe;
use crate::web::hosts::{is_here, is_of, parted, text};

/// What is asked as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Posted {
    pub(super) sql: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
    pub(super) run: Option<String>,
}

/// Values by position, or by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Parameters {
    Positions(Vec<serde_json::Value>),
    Names(std::collections::HashMap<String, serde_json::Value>),
}

impl Default for Parameters {
    fn default() -> Self {
        Self::Positions(vec![])
    }
}

/// A request that is refused.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) state: &'static str,
    pub(super) message: String,
    /// When it may be asked again.
    wait: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, state: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            state,
            message: message.into(),
            wait: None,
        }
    }

    pub(super) fn ending(&self) -> Ending {
        match self.state {
            state::QUERY_CANCELED => Ending::TimedOut,
            _ => Ending::Failed,
        }
    }

    pub(super) fn into_response(self) -> Response {
        let body = serde_json::json!({"error": self.message, "state": self.state});
        let body = Body::from(format!("{body}\n"));
        let mut response = answer(self.status, "application/json", body);
        if self.status == StatusCode::UNAUTHORIZED {
            let asked = HeaderValue::from_static("Basic realm=\"polysema\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, asked);
        }
        if let Some(wait) = self.wait {
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            response.headers_mut().insert(RETRY_AFTER, seconds);
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

pub(super) fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response {
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

/// Who asks. Where nobody says who they are, no page of a browser may: it can reach this machine, too.
pub(super) async fn member(
    server: &Arc<Server>,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<Member, Refusal> {
    let (user, role) = match server.role_of_all {
        Some(role) => {
            require_no_page(headers)?;
            ("http".to_string(), role)
        }
        None => {
            require_own_page(headers)?;
            known(server, headers, peer).await?
        }
    };
    server.member(&user, role).map_err(|message| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            state::CONNECTION_LIMIT,
            message,
        )
    })
}

fn require_no_page(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = text(headers, &HOST).unwrap_or_default();
    let (name, _) = parted(host);
    match headers.contains_key(ORIGIN) || !is_here(name) {
        true => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            state::INVALID_AUTHORIZATION,
            "a program of this machine is required, got a page of a browser or another name of the host: a file of \
             users lets others ask",
        )),
        false => Ok(()),
    }
}

/// A browser sends the password that it knows with whatever any page asks: only those of this server's own name may.
fn require_own_page(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    match is_of(origin, text(headers, &HOST)) {
        true => Ok(()),
        false => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            state::INVALID_AUTHORIZATION,
            "a page of this server or a program is required, got a page of another",
        )),
    }
}

async fn known(
    server: &Arc<Server>,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<(String, Role), Refusal> {
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
    let turn = server.guesses.turn(peer, user).await;
    turn.map_err(|wait| {
        server.metrics.refused();
        tracing::warn!(%peer, "refused: too many failed log-ins");
        let status = StatusCode::TOO_MANY_REQUESTS;
        Refusal {
            wait: Some(wait),
            ..Refusal::new(status, state::INVALID_AUTHORIZATION, too_many(wait))
        }
    })?;
    let (of, name, password) = (Arc::clone(server), user.to_string(), password.to_string());
    // Thousands of rounds of a hash.
    let role = tokio::task::spawn_blocking(move || of.login(&name)?.with_password(&password));
    let role = role.await.ok().flatten();
    server.guesses.ended(peer, user, role.is_some());
    Ok((user.to_string(), role.ok_or_else(wrong)?))
}

/// The whole body of a request, which must come fast enough.
pub(super) async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let mut chunks = body.into_data_stream();
    let mut pace = Pace::begin();
    let mut bytes = BytesMut::new();
    loop {
        let next = pace.within(bytes.len(), chunks.next()).await;
        let chunk = match next {
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() <= MESSAGE => chunk,
            Ok(Some(Ok(_))) => {
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    state::PROGRAM_LIMIT,
                    format!("a body of at most {MESSAGE} bytes is required, got more"),
                ));
            }
            Ok(Some(Err(error))) => {
                let message = format!("a whole body is required, got {error}");
                let status = StatusCode::BAD_REQUEST;
                return Err(Refusal::new(status, state::PROTOCOL_VIOLATION, message));
            }
            Err(slow) => {
                let status = StatusCode::REQUEST_TIMEOUT;
                return Err(Refusal::new(status, state::PROTOCOL_VIOLATION, slow));
            }
        };
        bytes.extend_from_slice(&chunk);
    }
}

pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Posted, Refusal> {
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
        Ok(text) => Ok(Posted {
            sql: text.to_string(),
            parameters: Parameters::default(),
            run: None,
        }),
        Err(error) => Err(bad(format!(
            "statements as UTF-8 are required, got {error}"
        ))),
    }
}

impl Parameters {
    pub(super) fn values(self) -> Result<ParamValues, Refusal> {
        Ok(match self {
            Self::Positions(values) => {
                let values = values.into_iter().map(scalar);
                ParamValues::from(values.collect::<Result<Vec<_>, _>>()?)
            }
            Self::Names(values) => {
                let values = values
                    .into_iter()
                    .map(|(name, value)| Ok((name, scalar(value)?)));
                ParamValues::from(values.collect::<Result<Vec<_>, Refusal>>()?)
            }
        })
    }
}

fn scalar(value: serde_json::Value) -> Result<ScalarValue, Refusal> {
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
