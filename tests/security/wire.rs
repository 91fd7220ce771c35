//! Messages of PostgreSQL's protocol by hand.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::server::Running;

pub const METRICS: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A startup packet with names and values.
pub fn startup(said: &[(&str, &str)]) -> Vec<u8> {
    let words = said.iter().flat_map(|(name, value)| [*name, *value]);
    let body: Vec<u8> = words
        .flat_map(|word| [word.as_bytes(), b"\0"].concat())
        .collect();
    let length = (9 + body.len()) as u32;
    [
        &length.to_be_bytes()[..],
        &196_608_u32.to_be_bytes(),
        &body,
        b"\0",
    ]
    .concat()
}

pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(4 + body.len() as u32).to_be_bytes(), body].concat()
}

/// One message of a server: its letter and its body.
pub async fn message(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut body = vec![0; length.checked_sub(4)? as usize];
    stream.read_exact(&mut body).await.ok()?;
    Some((head[0], body))
}

/// A connection whose client is known.
pub async fn greeted(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.postgres).await.expect("a server");
    let hello = startup(&[("user", "ana"), ("database", "demo")]);
    stream.write_all(&hello).await.expect("a server that reads");
    while message(&mut stream).await.expect("a greeting").0 != b'Z' {}
    stream
}

/// The letters of what the server says until it has waited so many times for the next statement, or has left.
pub async fn letters(stream: &mut TcpStream, waits: usize) -> String {
    let mut letters = String::new();
    while letters.matches('Z').count() < waits {
        let next = timeout(Duration::from_secs(60), message(stream)).await;
        match next.expect("an answer") {
            Some((kind, _)) => letters.push(char::from(kind)),
            None => break,
        }
    }
    letters
}
