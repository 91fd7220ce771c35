//! The messages of PostgreSQL's protocol as they come: each is whole, and what it says of its own parts is so, before anything
//! else reads it. The codec underneath believes both: it reads on in the next message, and panics at a part that is missing.

use bytes::{Buf, BytesMut};
use pgwire::error::PgWireError;
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::errors::{fatal, state};
use super::pace::Pace;

/// Bytes that are asked for at a time.
const BLOCK: usize = 8 << 10;
/// The length that a message begins with, itself among it.
const LENGTH: usize = 4;

/// What a client may send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Its name and settings, or that a statement of another connection is to end.
    Startup,
    /// A message of a letter.
    Message(ProtocolVersion),
}

/// The bytes of one client that have come and are in no message yet.
#[derive(Debug)]
pub(super) struct Frames {
    came: BytesMut,
    /// Since when they come; none while a client says nothing, which it may for as long as it likes.
    pace: Option<Pace>,
}

impl Frames {
    /// Goes on after what has come already.
    pub(super) fn after(first: BytesMut) -> Self {
        Self {
            came: first,
            pace: None,
        }
    }

    /// The next message, none where the client has left. Who stops waiting for it loses nothing.
    ///
    /// Errors: it would have more than `most` bytes; it is cut short, or none of the protocol.
    pub(super) async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        expected: Expected,
        most: usize,
    ) -> Result<Option<PgWireFrontendMessage>, PgWireError> {
        loop {
            if let Some(length) = length(&self.came, expected, most)?
                && self.came.len() >= length
            {
                let frame = self.came.split_to(length);
                if self.came.is_empty() {
                    // Else the room of the longest message stays for as long as the connection.
                    self.came = BytesMut::new();
                }
                self.pace = None;
                return message(frame, expected).map(Some);
            }
            let before = self.came.len();
            self.came.reserve(BLOCK);
            let read = stream.read_buf(&mut self.came);
            let read = match before {
                0 => read.await,
                before => {
                    let pace = self.pace.get_or_insert_with(Pace::begin);
                    let read = pace.within(before, read).await;
                    read.map_err(|slow| fatal(state::PROTOCOL_VIOLATION, slow))?
                }
            };
            match (read?, before) {
                (0, 0) => return Ok(None),
                (0, before) => {
                    return Err(broken(format!(
                        "one that was cut short after {before} bytes"
                    )));
                }
                _ => {}
            }
        }
    }
}

/// Bytes of the message that begins, once they are known.
fn length(bytes: &[u8], expected: Expected, most: usize) -> Result<Option<usize>, PgWireError> {
    let before = match expected {
        Expected::Startup => 0,
        Expected::Message(_) => 1,
    };
    if let (Expected::Message(_), Some(&kind)) = (expected, bytes.first())
        && parts(kind).is_none()
    {
        return Err(unknown(kind));
    }
    let Some(mut said) = bytes.get(before..before + LENGTH) else {
        return Ok(None);
    };
    let said = said.get_u32() as usize;
    match said {
        0..LENGTH => Err(broken(format!("a length of {said}"))),
        said if said > most => Err(fatal(
            state::PROTOCOL_VIOLATION,
            format!("a message of at most {most} bytes is required, got {said}"),
        )),
        said => Ok(Some(before + said)),
    }
}

fn message(mut frame: BytesMut, expected: Expected) -> Result<PgWireFrontendMessage, PgWireError> {
    let mut context = DecodeContext::default();
    context.awaiting_frontend_ssl = false;
    match expected {
        Expected::Startup => {
            require(&frame[LENGTH..], &[MessagePart::Word], "a code")?;
        }
        Expected::Message(version) => {
            context.awaiting_frontend_startup = false;
            context.protocol_version = version;
            let (kind, body) = (frame[0], &frame[1 + LENGTH..]);
            whole(kind, body)?;
        }
    }
    let decoded = PgWireFrontendMessage::decode(&mut frame, &context);
    let decoded = decoded.map_err(|error| broken(error.to_string()))?;
    match decoded {
        Some(message) => Ok(message),
        None => Err(broken("one that was cut short".to_string())),
    }
}

/// A part of a message.
enum MessagePart {
    /// A byte of these.
    One(&'static [u8]),
    /// Text with a zero at its end.
    Text,
    /// Four bytes.
    Word,
    /// A number, and as many parts of so many bytes.
    Counted(usize),
    /// A number, and as many values with their lengths; one without a value has the length -1.
    Values,
    /// Whatever is left.
    Rest,
}

/// The parts of a message, and its name, by the letter that it begins with; none where no message of a client does.
fn parts(kind: u8) -> Option<(&'static [MessagePart], &'static str)> {
    use MessagePart::{Counted, One, Rest, Text, Values, Word};
    Some(match kind {
        b'Q' => (&[Text], "Query"),
        b'P' => (&[Text, Text, Counted(4)], "Parse"),
        b'B' => (&[Text, Text, Counted(2), Values, Counted(2)], "Bind"),
        b'C' => (&[One(b"SP"), Text], "Close"),
        b'D' => (&[One(b"SP"), Text], "Describe"),
        b'E' => (&[Text, Word], "Execute"),
        b'f' => (&[Text], "CopyFail"),
        b'd' => (&[Rest], "CopyData"),
        // What a password message is, its place in the exchange says.
        b'p' => (&[Rest], "password"),
        b'H' => (&[], "Flush"),
        b'S' => (&[], "Sync"),
        b'X' => (&[], "Terminate"),
        b'c' => (&[], "CopyDone"),
        _ => return None,
    })
}

/// Whether the body of a message has the parts that its letter says, and nothing after them.
fn whole(kind: u8, body: &[u8]) -> Result<(), PgWireError> {
    let Some((parts, name)) = parts(kind) else {
        return Err(unknown(kind));
    };
    let left = require(body, parts, name)?;
    match left {
        [] => Ok(()),
        left => Err(broken(format!("{name} with {} bytes more", left.len()))),
    }
}

/// What is left after the parts of a message.
fn require<'a>(
    mut body: &'a [u8],
    parts: &[MessagePart],
    name: &str,
) -> Result<&'a [u8], PgWireError> {
    for part in parts {
        let left = after(body, part);
        body = left.ok_or_else(|| broken(format!("{name} with a part that is missing")))?;
    }
    Ok(body)
}

fn after<'a>(body: &'a [u8], part: &MessagePart) -> Option<&'a [u8]> {
    match part {
        MessagePart::One(of) => body
            .first()
            .filter(|byte| of.contains(byte))
            .map(|_| &body[1..]),
        MessagePart::Text => {
            let end = body.iter().position(|byte| *byte == 0)?;
            str::from_utf8(&body[..end]).ok()?;
            Some(&body[end + 1..])
        }
        MessagePart::Word => body.get(4..),
        MessagePart::Counted(bytes) => {
            let (count, rest) = number(body)?;
            rest.get(count * bytes..)
        }
        MessagePart::Values => {
            let (count, mut rest) = number(body)?;
            for _ in 0..count {
                let (length, values) = rest.split_at_checked(4)?;
                let length = i32::from_be_bytes(length.try_into().ok()?);
                rest = match length {
                    -1 => values,
                    length => values.get(usize::try_from(length).ok()?..)?,
                };
            }
            Some(rest)
        }
        MessagePart::Rest => Some(&[]),
    }
}

fn number(body: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = body.split_at_checked(2)?;
    Some((
        usize::from(u16::from_be_bytes(count.try_into().ok()?)),
        rest,
    ))
}

/// The name of the method by which a client proves who they are, and its first message in that.
///
/// Errors: it is cut short.
pub(super) fn first_proof(body: &[u8]) -> Result<(String, Vec<u8>), PgWireError> {
    let short = || broken("a first proof that was cut short".to_string());
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(short)?;
    let method = String::from_utf8_lossy(&body[..end]).into_owned();
    let (length, data) = body[end + 1..].split_at_checked(4).ok_or_else(short)?;
    let length = length.try_into().map_or(0, i32::from_be_bytes);
    match usize::try_from(length) {
        // -1 stands for none.
        Err(_) => Ok((method, vec![])),
        Ok(length) if length == data.len() => Ok((method, data.to_vec())),
        Ok(_) => Err(short()),
    }
}

/// A message that cannot be read: nothing after it can be, either.
fn unknown(kind: u8) -> PgWireError {
    broken(format!("one that begins with byte {kind}"))
}

fn broken(got: String) -> PgWireError {
    let message = format!("a message of PostgreSQL's protocol is required, got {got}");
    fatal(state::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1 << 10;
    const MESSAGE: Expected = Expected::Message(ProtocolVersion::PROTOCOL3_0);

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (LENGTH + body.len()) as u32;
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(work)
    }

    fn read(bytes: &[u8], expected: Expected) -> Result<Option<PgWireFrontendMessage>, String> {
        let mut frames = Frames::after(BytesMut::new());
        let mut stream = bytes;
        let next = run(frames.next(&mut stream, expected, MOST));
        next.map_err(|error| error.to_string())
    }

    #[test]
    fn each_message_ends_where_it_says() {
        // The query has no end of its own, and one that reads on would find another's.
        let short = [framed(b'Q', b"SELECT 1"), framed(b'Q', b"DROP\0")].concat();
        let error = read(&short, MESSAGE).unwrap_err();
        assert!(
            error.contains("Query with a part that is missing"),
            "{error}"
        );
        let long = framed(b'Q', b"SELECT 1\0more");
        let error = read(&long, MESSAGE).unwrap_err();
        assert!(error.contains("Query with 4 bytes more"), "{error}");
        let two = [framed(b'Q', b"SELECT 1\0"), framed(b'S', b"")].concat();
        let mut frames = Frames::after(BytesMut::new());
        let mut stream = two.as_slice();
        let mut next = || run(frames.next(&mut stream, MESSAGE, MOST)).unwrap();
        assert!(
            matches!(next(), Some(PgWireFrontendMessage::Query(query)) if query.query == "SELECT 1")
        );
        assert!(matches!(next(), Some(PgWireFrontendMessage::Sync(_))));
        assert!(next().is_none());
    }

    #[test]
    fn lengths_are_those_that_may_be() {
        for (length, words) in [
            (0_u32, "a length of 0"),
            (3, "a length of 3"),
            (MOST as u32 + 1, "at most 1024 bytes is required, got 1025"),
            (u32::MAX, "at most 1024 bytes"),
        ] {
            let bytes = [b"Q".as_slice(), &length.to_be_bytes()].concat();
            let error = read(&bytes, MESSAGE).unwrap_err();
            assert!(error.contains(words), "{error}");
            let error = read(&length.to_be_bytes(), Expected::Startup).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let error = read(b"Z\0\0\0\x04", MESSAGE).unwrap_err();
        assert!(error.contains("begins with byte 90"), "{error}");
        let error = read(b"Q\0\0\0\x09SEL", MESSAGE).unwrap_err();
        assert!(error.contains("cut short after 8 bytes"), "{error}");
    }

    /// Every message cut at every byte and with every count and length changed is refused or read, and ends no task.
    #[test]
    fn no_message_makes_the_codec_panic() {
        let bind = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\x01";
        let whole: [(u8, &[u8]); 9] = [
            (b'Q', b"SELECT 1\0"),
            (b'P', b"s\0SELECT $1\0\0\x02\0\0\0\x17\0\0\0\x17"),
            (b'B', bind),
            (b'C', b"Ss\0"),
            (b'D', b"Pp\0"),
            (b'E', b"p\0\0\0\0\x05"),
            (b'f', b"why\0"),
            (b'd', b"1\t2\n"),
            (b'S', b""),
        ];
        for (kind, body) in whole {
            assert!(
                read(&framed(kind, body), MESSAGE).is_ok(),
                "{}",
                kind as char
            );
            for at in 0..body.len() {
                let _ = read(&framed(kind, &body[..at]), MESSAGE);
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut other = body.to_vec();
                    other[at] = byte;
                    let _ = read(&framed(kind, &other), MESSAGE);
                }
            }
            for other in 0..=u8::MAX {
                let _ = read(&framed(other, body), MESSAGE);
            }
        }
        for length in 0..40_usize {
            for code in [196_608_u32, 80_877_102, 80_877_103, 80_877_104, 0, u32::MAX] {
                let mut bytes = ((8 + length) as u32).to_be_bytes().to_vec();
                bytes.extend(code.to_be_bytes());
                bytes.extend((0..length).map(|at| b"user\0"[at % 5]));
                let _ = read(&bytes, Expected::Startup);
            }
        }
    }

    #[test]
    fn a_first_proof_has_its_length() {
        let proof = |length: i32, data: &[u8]| {
            first_proof(&[b"SCRAM\0".as_slice(), &length.to_be_bytes(), data].concat())
        };
        assert_eq!(
            proof(3, b"abc").unwrap(),
            ("SCRAM".to_string(), b"abc".to_vec())
        );
        assert_eq!(proof(-1, b"").unwrap().1, b"");
        assert!(proof(4, b"abc").is_err() && proof(i32::MAX, b"abc").is_err());
        assert!(first_proof(b"SCRAM").is_err() && first_proof(b"SCRAM\0\0").is_err());
    }
}
