//! What ends a statement before it has ended.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Between two looks at whether a client is still there.
const LOOK: Duration = Duration::from_millis(250);

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The client asked.
    Cancelled,
    /// It took longer than it may.
    TimedOut,
    /// The client has gone.
    Gone,
    /// The server ends.
    ShutDown,
}

/// The way to the statement that a connection is at; while it is at none, nothing happens.
#[derive(Debug, Default)]
pub(super) struct Interrupt(Mutex<Option<oneshot::Sender<()>>>);

impl Interrupt {
    /// A statement begins: what it waits for beside its own end.
    pub(super) fn begin(&self) -> oneshot::Receiver<()> {
        let (send, receive) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(send);
        receive
    }

    /// It has ended.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends the statement, if there is one.
    pub(super) fn cancel(&self) {
        let statement = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(statement) = statement {
            // It may have ended in this moment.
            let _ = statement.send(());
        }
    }
}

/// A second handle of a socket, by which it is seen that the client has gone while the first is busy.
#[derive(Debug)]
pub(super) struct ClientWatch(TcpStream);

impl ClientWatch {
    pub(super) fn new(stream: &TcpStream) -> std::io::Result<Self> {
        #[cfg(unix)]
        let own = std::os::fd::AsFd::as_fd(stream).try_clone_to_owned()?;
        #[cfg(windows)]
        let own = std::os::windows::io::AsSocket::as_socket(stream).try_clone_to_owned()?;
        let own = std::net::TcpStream::from(own);
        Ok(Self(TcpStream::from_std(own)?))
    }

    /// Waits until the client has closed its side.
    pub(super) async fn gone(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.0.ready(Interest::READABLE).await {
                Ok(ready) if ready.is_read_closed() => return,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}
