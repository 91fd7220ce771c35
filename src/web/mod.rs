//! What servers of HTTP share: the loop that accepts and talks, the forms of rows, the names of this machine.

pub(crate) mod forms;
pub(crate) mod hosts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Time to send the head of a request, and to be idle between two.
const HEAD: Duration = Duration::from_secs(30);
/// Between two attempts where the system gives no connection.
const LOOK: Duration = Duration::from_millis(50);

/// Accepts until `closing` is ready, so many connections at once, and then waits until all have ended.
pub(crate) async fn accept<S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    connections: usize,
    closing: impl Future<Output = ()>,
    speak: impl Fn(TcpStream, SocketAddr) -> S,
) {
    let slots = Arc::new(Semaphore::new(connections));
    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut closing => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "accept");
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let spoken = speak(stream, peer);
        tokio::spawn(async move {
            spoken.await;
            drop(slot);
        });
    }
    drop(listener);
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    let _ = slots.acquire_many(all).await;
}

/// Speaks HTTP with one client until they leave or `broken` is ready. When `closing` is, what they have asked is still
/// answered, until `ending` is ready too.
pub(crate) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    router: Router,
    broken: impl Future<Output = ()>,
    closing: impl Future<Output = ()>,
    ending: impl Future<Output = ()>,
) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let mut broken = std::pin::pin!(broken);
    tokio::select! {
        // That a client has gone is no error of the server.
        _ = &mut connection => return,
        () = &mut broken => return,
        () = closing => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = broken => {}
        () = ending => {}
    }
}
