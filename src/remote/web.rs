//! A server of HTTP that gives the files of a store: what it is asked, and what its answers mean.

use std::io::Read;
use std::ops::Range;
use std::time::Duration;

use datafusion::common::{exec_err, plan_datafusion_err};
use datafusion::error::Result;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};
use url::Url;

use super::server::FileServer;
use crate::hub::web_agent;

/// Most bytes of a file that is read whole, as manifests are.
const MOST_WHOLE: u64 = 1 << 30;
/// Pauses before a question is asked again.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

#[derive(Debug)]
pub(super) struct WebServer {
    agent: Agent,
    /// Ends in a slash.
    address: Url,
}

/// An answer that does not help.
enum Failed {
    /// Asking again may.
    Now(String),
    Always(String),
}

impl WebServer {
    pub(super) fn new(mut address: Url) -> Result<Self> {
        if !address.path().ends_with('/') {
            address.set_path(&format!("{}/", address.path()));
        }
        Ok(Self {
            agent: web_agent()?,
            address,
        })
    }

    fn url(&self, path: &str) -> Result<Url> {
        let joined = self.address.join(path);
        joined.map_err(|e| {
            plan_datafusion_err!("a path of {} is required, got {path} ({e})", self.address)
        })
    }

    fn ask(
        &self,
        path: &str,
        range: Option<&str>,
        read: &dyn Fn(Response<Body>) -> std::result::Result<Vec<u8>, Failed>,
    ) -> Result<Option<Vec<u8>>> {
        let url = self.url(path)?;
        let mut pauses = PAUSES.iter();
        loop {
            // The ranges are those of the content.
            let mut request = self
                .agent
                .get(url.as_str())
                .header("accept-encoding", "identity");
            if let Some(range) = range {
                request = request.header("range", range);
            }
            let answer = match request.call() {
                Ok(response) if is_nothing(response.status()) => return Ok(None),
                Ok(response) => read(response),
                Err(error) => Err(Failed::Now(format!("no connection ({error})"))),
            };
            match (answer, pauses.next()) {
                (Ok(bytes), _) => return Ok(Some(bytes)),
                (Err(Failed::Now(_)), Some(pause)) => std::thread::sleep(*pause),
                (Err(Failed::Now(why) | Failed::Always(why)), _) => {
                    let part = range.map_or(String::new(), |range| format!("{range} of "));
                    return exec_err!("{part}{url} is required, got {why}");
                }
            }
        }
    }
}

impl FileServer for WebServer {
    fn address(&self) -> &Url {
        &self.address
    }

    fn whole(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.ask(path, None, &|response| match response.status() {
            StatusCode::OK => body(response, MOST_WHOLE),
            other => Err(status(other)),
        })
    }

    fn part(&self, path: &str, part: &Range<usize>, size: usize) -> Result<Option<Vec<u8>>> {
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        self.ask(path, Some(&range), &|response| match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let bytes = body(response, part.len() as u64)?;
                match bytes.len() == part.len() {
                    true => Ok(bytes),
                    false => Err(Failed::Now(format!("{} bytes", bytes.len()))),
                }
            }
            StatusCode::OK if part.len() == size => body(response, size as u64),
            StatusCode::OK => Err(Failed::Always(
                "the whole file: a server that gives parts of files is required (Accept-Ranges: bytes)".to_string(),
            )),
            other => Err(status(other)),
        })
    }

    fn size(&self, path: &str) -> Result<Option<u64>> {
        let url = self.url(path)?;
        let response = self
            .agent
            .head(url.as_str())
            .header("accept-encoding", "identity")
            .call();
        let response = match response {
            Ok(response) => response,
            Err(error) => return exec_err!("{url} is required, got no connection ({error})"),
        };
        let length = response.headers().get("content-length");
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        match (response.status(), length) {
            (StatusCode::OK, Some(length)) => Ok(Some(length)),
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => Ok(None),
            (other, _) => exec_err!("the size of {url} is required, got {other}"),
        }
    }
}

fn is_nothing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

fn status(status: StatusCode) -> Failed {
    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    match again {
        true => Failed::Now(status.to_string()),
        false => Failed::Always(status.to_string()),
    }
}

/// The bytes of an answer, at most so many.
fn body(response: Response<Body>, most: u64) -> std::result::Result<Vec<u8>, Failed> {
    let mut bytes = vec![];
    let mut reader = response.into_body().into_reader().take(most + 1);
    match reader.read_to_end(&mut bytes) {
        Err(error) => Err(Failed::Now(format!("a connection that ended ({error})"))),
        Ok(n) if n as u64 > most => Err(Failed::Always(format!("more than {most} bytes"))),
        Ok(_) => Ok(bytes),
    }
}
