//! One connection of PostgreSQL's protocol, from its first byte to its last: a session of its own, and statements that end
//! when the client asks, leaves, or has waited long enough, whatever they are at.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::FutureExt;
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{
    MaybeTls, PgWireMessageServerCodec, negotiate_tls, process_error, process_message,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant as Clock, sleep_until, timeout};
use tokio_util::codec::Framed;

use super::asked::Statement;
use super::connection::Connection;
use super::errors::{fatal, refused, state};
use super::frames::{Expected, Frames};
use super::interrupt::{ClientWatch, Reason};
use super::metrics::Ending;
use super::queries::Queries;
use super::server::{MESSAGE, Server};

/// The most that a client who has not said who they are may send in one message.
const FIRST_MESSAGES: usize = 32 << 10;
/// Time to say who one is.
const STARTUP: Duration = Duration::from_secs(20);
/// Time for a client to take the error that ends its statement.
const LAST_WORDS: Duration = Duration::from_secs(5);

type Socket = Framed<MaybeTls, PgWireMessageServerCodec<Statement>>;

/// Serves a client until it leaves.
pub(super) async fn serve(server: Arc<Server>, stream: TcpStream, id: i32) -> std::io::Result<()> {
    let peer = stream.peer_addr()?;
    let watch = ClientWatch::new(&stream)?;
    let until = Clock::now() + STARTUP;
    let tls = server.tls.as_ref().map(|[postgres, _]| postgres.clone());
    let Ok(negotiated) = timeout(STARTUP, negotiate_tls::<Statement>(stream, tls)).await else {
        return Ok(());
    };
    let Some(mut socket) = negotiated? else {
        return Ok(());
    };
    let first = std::mem::take(socket.read_buffer_mut());
    if socket.is_secure() && !first.is_empty() {
        // Whoever sits between may have sent it, and it would be taken for the client's.
        let error = fatal(
            state::PROTOCOL_VIOLATION,
            "an encrypted message is required after the request to encrypt, got one in the clear",
        );
        return say(&mut socket, error, false).await;
    }
    let mut frames = Frames::after(first);
    let handler = Arc::new(Queries(Arc::new(Connection::new(server, id, peer.ip()))));
    messages(&handler, &mut socket, &mut frames, &watch, until).await
}

/// Tells a client that there are too many.
pub(super) async fn refuse(mut stream: TcpStream, limit: usize) {
    let message = format!("at most {limit} connections are required, got one more");
    let info = ErrorInfo::from(fatal(state::CONNECTION_LIMIT, message));
    let mut bytes = BytesMut::new();
    let error = PgWireBackendMessage::ErrorResponse(info.into());
    if error.encode(&mut bytes).is_ok() {
        // It reads the refusal whatever it has asked, as PostgreSQL's clients do.
        let _ = timeout(LAST_WORDS, stream.write_all(&bytes)).await;
    }
}

async fn messages(
    handler: &Arc<Queries>,
    socket: &mut Socket,
    frames: &mut Frames,
    watch: &ClientWatch,
    startup: Clock,
) -> std::io::Result<()> {
    let connection = &handler.0;
    let server = &connection.server;
    loop {
        let is_known = connection.opened.get().is_some();
        let most = if is_known { MESSAGE } else { FIRST_MESSAGES };
        let expected = match socket.state() {
            PgWireConnectionState::AwaitingStartup => Expected::Startup,
            _ => Expected::Message(socket.protocol_version()),
        };
        let message = tokio::select! {
            message = frames.next(socket.get_mut(), expected, most) => message,
            () = sleep_until(startup), if !is_known => return Ok(()),
            () = server.closing() => {
                let error = fatal(state::ADMIN_SHUTDOWN, "a running server is required, got one that ends");
                return say(socket, error, false).await;
            }
        };
        let message = match message {
            Ok(None | Some(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Ok(Some(message)) => message,
            Err(PgWireError::IoError(error)) => return Err(error),
            Err(error) => {
                server.metrics.refused();
                return say(socket, error, false).await;
            }
        };
        if let PgWireFrontendMessage::CancelRequest(request) = &message {
            server.cancel(request.pid, &request.secret_key);
            return Ok(());
        }
        let extended = match socket.state() {
            PgWireConnectionState::CopyInProgress(extended) => extended,
            _ => message.is_extended_query(),
        };
        let is_work = matches!(
            message,
            PgWireFrontendMessage::Query(_) | PgWireFrontendMessage::Execute(_)
        );
        let began = Instant::now();
        let ended = process(handler, socket, watch, message).await;
        let (outcome, error) = match ended {
            Ok(Ok(())) => (Ending::Done, None),
            Ok(Err(error)) => (Ending::Failed, Some(error)),
            Err(Reason::Gone) => {
                connection.log(Ending::Cancelled, "the client left", began);
                return Ok(());
            }
            Err(reason) => {
                let outcome = match reason {
                    Reason::TimedOut => Ending::TimedOut,
                    _ => Ending::Cancelled,
                };
                (outcome, Some(interrupted(reason)))
            }
        };
        if is_work {
            server.metrics.statement(outcome, began.elapsed());
        }
        if let Some(error) = error {
            let mut info = ErrorInfo::from(error);
            info.message = server.without_place(info.message);
            connection.log(outcome, &info.code, began);
            let is_last = !is_known || info.is_fatal();
            if is_last {
                server.metrics.refused();
            }
            say(socket, PgWireError::UserError(Box::new(info)), extended).await?;
            if is_last {
                return Ok(());
            }
        } else if is_work {
            connection.log(outcome, "00000", began);
        }
    }
}

/// Works on one message until it is done or something ends it.
async fn process(
    handler: &Arc<Queries>,
    socket: &mut Socket,
    watch: &ClientWatch,
    message: PgWireFrontendMessage,
) -> Result<Result<(), PgWireError>, Reason> {
    let connection = &handler.0;
    let asked = connection.interrupt.begin();
    let limit = match connection.opened.get().is_some() {
        true => {
            let own = connection.settings().statement_timeout();
            let limits = [own, connection.server.limits.statement_timeout];
            limits.into_iter().flatten().min()
        }
        false => Some(STARTUP),
    };
    let until = Clock::now() + limit.unwrap_or_default();
    let handler = || Arc::clone(handler);
    let work = process_message(
        message,
        socket,
        handler(),
        handler(),
        handler(),
        handler(),
        handler(),
    );
    // Work that always has another row uses up what a task may do at a time, and what ends it must be looked at even so.
    let reason = tokio::task::unconstrained(async {
        tokio::select! {
            Ok(()) = asked => Reason::Cancelled,
            () = sleep_until(until), if limit.is_some() => Reason::TimedOut,
            () = watch.gone() => Reason::Gone,
            () = connection.server.ending() => Reason::ShutDown,
        }
    });
    // What the work holds is dropped with it, and the connection ends after its last words.
    let work = AssertUnwindSafe(work).catch_unwind();
    let ended = tokio::select! {
        biased;
        reason = reason => Err(reason),
        ended = work => Ok(ended.unwrap_or_else(|_| Err(connection.server.panicked(connection.id)))),
    };
    connection.interrupt.end();
    ended
}

/// Tells a client of an error, who may not be listening.
async fn say(socket: &mut Socket, error: PgWireError, extended: bool) -> std::io::Result<()> {
    let told = timeout(LAST_WORDS, process_error(socket, error, extended)).await;
    told.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn interrupted(reason: Reason) -> PgWireError {
    match reason {
        Reason::TimedOut => refused(
            state::QUERY_CANCELED,
            "canceling statement due to statement timeout",
        ),
        Reason::ShutDown => fatal(
            state::CRASH_SHUTDOWN,
            "a running server is required, got one that ends: the statement is cancelled",
        ),
        Reason::Cancelled | Reason::Gone => refused(
            state::QUERY_CANCELED,
            "canceling statement due to user request",
        ),
    }
}
