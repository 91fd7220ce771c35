//! One question over HTTP and its answer, which comes from a thread of its own, so that whoever waits is told and can end
//! the work. The token goes to the hub alone: redirects are followed here, one by one.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use datafusion::error::Result;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};
use url::Url;

/// Between two looks at whether the work is still wanted.
const TICK: Duration = Duration::from_millis(100);
const MOST_REDIRECTS: usize = 8;
/// Bytes of a piece, and pieces that wait to be written.
const PIECE: usize = 1 << 18;
const WAITING: usize = 8;

/// The beginning of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    headers: HeaderMap,
}

impl AnswerHead {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

enum Message {
    Head(AnswerHead),
    Piece(Vec<u8>),
}

/// An answer as it comes in. Dropping it ends its connection at the next piece.
pub(super) struct Answer {
    messages: Receiver<std::result::Result<Message, String>>,
    pub(super) head: AnswerHead,
}

/// The next of an answer.
pub(super) enum Next {
    Piece(Vec<u8>),
    End,
    /// Why no more came.
    Cut(String),
}

impl Answer {
    /// The next piece; ends the work with an error where it is not wanted any more.
    pub(super) fn next(&mut self, watch: &mut dyn FnMut() -> Result<()>) -> Result<Next> {
        loop {
            watch()?;
            match self.messages.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
                Ok(Ok(Message::Piece(piece))) => return Ok(Next::Piece(piece)),
                Ok(Ok(Message::Head(_))) => {}
                Ok(Err(why)) => return Ok(Next::Cut(why)),
            }
        }
    }
}

/// One question.
pub(super) struct Request {
    pub(super) agent: Agent,
    pub(super) method: &'static str,
    /// Who gets the token.
    pub(super) origin: url::Origin,
    pub(super) token: Option<String>,
    pub(super) range: Option<String>,
}

impl Request {
    /// Asks until the head of the answer is there, or says why there is none.
    pub(super) fn ask(
        self,
        url: &Url,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<std::result::Result<Answer, String>> {
        let (tell, messages) = sync_channel(WAITING);
        let target = url.clone();
        // It ends with the connection, or when nobody takes its messages.
        std::thread::spawn(move || self.answer(target, &tell));
        loop {
            watch()?;
            match messages.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Ok(Message::Head(head))) => return Ok(Ok(Answer { messages, head })),
                Ok(Err(why)) => return Ok(Err(why)),
                Ok(Ok(Message::Piece(_))) | Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Err("none".to_string()));
                }
            }
        }
    }

    /// Sends the head and the pieces of the answer until nobody takes them.
    fn answer(&self, url: Url, tell: &SyncSender<std::result::Result<Message, String>>) {
        let response = match self.follow(url) {
            Ok(response) => response,
            Err(why) => return drop(tell.send(Err(why))),
        };
        let (parts, body) = response.into_parts();
        let head = AnswerHead {
            status: parts.status,
            headers: parts.headers,
        };
        if tell.send(Ok(Message::Head(head))).is_err() || self.method == "HEAD" {
            return;
        }
        let mut body = body.into_reader();
        loop {
            let mut piece = vec![0; PIECE];
            let told = match body.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    tell.send(Ok(Message::Piece(piece)))
                }
                Err(error) => {
                    return drop(tell.send(Err(format!("a connection that ended ({error})"))));
                }
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// The answer behind the redirects; of a head, the last that the endpoint itself gives.
    fn follow(&self, mut url: Url) -> std::result::Result<Response<Body>, String> {
        for _ in 0..MOST_REDIRECTS {
            let response = self.send(&url)?;
            let location = response
                .headers()
                .get("location")
                .filter(|_| response.status().is_redirection());
            let Some(location) = location.and_then(|location| location.to_str().ok()) else {
                return Ok(response);
            };
            let next = url
                .join(location)
                .map_err(|e| format!("a redirect to no address ({e})"))?;
            let says_all = response.headers().contains_key("x-linked-etag");
            if self.method == "HEAD" && (says_all || next.origin() != self.origin) {
                return Ok(response);
            }
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(format!("a redirect from https to {}", next.scheme()));
            }
            url = next;
        }
        Err(format!("more than {MOST_REDIRECTS} redirects"))
    }

    fn send(&self, url: &Url) -> std::result::Result<Response<Body>, String> {
        let mut request = match self.method {
            "HEAD" => self.agent.head(url.as_str()),
            _ => self.agent.get(url.as_str()),
        };
        // The sizes and ranges are those of the content.
        request = request.header("accept-encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.origin) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(range) = &self.range {
            request = request.header("range", range);
        }
        request
            .call()
            .map_err(|error| format!("no connection ({error})"))
    }
}
