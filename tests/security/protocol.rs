//! Messages that are none, of clients who are known and of those who are not: the server answers a good client afterwards, and
//! keeps nothing of a bad one. Above 400 lines, since each test is a conversation.

use std::time::Duration;

use pgwire::tokio::tokio_rustls::TlsConnector;
use pgwire::tokio::tokio_rustls::rustls::crypto::ring::default_provider;
use pgwire::tokio::tokio_rustls::rustls::pki_types::pem::PemObject;
use pgwire::tokio::tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use pgwire::tokio::tokio_rustls::rustls::{ClientConfig, RootCertStore};
use polysema::serve::ServeOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::server::{Running, conversation, options, texts};
use super::wire::{METRICS, frame, greeted, letters, message, startup};

/// Conversations with random messages after the startup, those before it, and messages in each of them.
const ROUNDS: usize = 600;
const STARTUPS: usize = 1200;
const MESSAGES: usize = 6;

/// Numbers that are the same at each run: Knuth's generator, of which the high bits are taken.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most.max(1)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    fn of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }

    /// A message that is nearly one: of a known kind, cut, lengthened, with a byte changed or a length that is not its own.
    fn message(&mut self) -> Vec<u8> {
        let parse: &[u8] =
            b"s\0SELECT $1::int[], $2::text, $3::timestamp, $4::numeric\0\0\x01\0\0\0\x17";
        let bind: &[u8] = b"p\0s\0\0\x01\0\x01\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x02\0\x01\0\x01\0\x01";
        let kinds: &[(u8, &[u8])] = &[
            (b'Q', b"SELECT 1\0"),
            (b'Q', b"COPY (SELECT 1) TO STDOUT\0"),
            (b'Q', b"BEGIN; FETCH 1 FROM c; DISCARD ALL\0"),
            (b'P', parse),
            (
                b'P',
                b"\0SELECT count(*) FROM demo.layers WHERE layer = $1\0\0\0",
            ),
            (b'B', bind),
            (
                b'B',
                b"\0\0\0\x02\0\0\0\x01\0\x01\0\0\0\x011\0\x03\0\0\0\x01\0\0",
            ),
            (b'D', b"Ss\0"),
            (b'D', b"P\0"),
            (b'E', b"\0\0\0\0\x01"),
            (b'E', b"p\0\xff\xff\xff\xff"),
            (b'C', b"Ss\0"),
            (b'S', b""),
            (b'H', b""),
            (b'd', b"1\t2\n"),
            (b'c', b""),
            (b'f', b"no\0"),
            (b'p', b"SCRAM-SHA-256\0\0\0\0\x05n,,n="),
            (b'F', b"\0\0\0\x01\0\0\0\0\0\0"),
        ];
        let (kind, body) = *self.of(kinds);
        let mut body = body.to_vec();
        match self.below(8) {
            0 => body.truncate(self.below(body.len() + 1)),
            1 => {
                let count = self.below(64);
                body.extend(self.bytes(count));
            }
            2 | 3 if !body.is_empty() => {
                let at = self.below(body.len());
                body[at] = *self.of(&[0, 1, 2, 0x7f, 0x80, 0xff]);
            }
            4 => {
                let count = self.below(300);
                body = self.bytes(count);
            }
            _ => {}
        }
        let mut message = frame(kind, &body);
        match self.below(16) {
            0 => message[0] = self.below(256) as u8,
            1 => {
                let length = *self.of(&[0, 1, 3, 4, 5, 1 << 16, 1 << 26, 1 << 30, u32::MAX]);
                message[1..5].copy_from_slice(&length.to_be_bytes());
            }
            _ => {}
        }
        message
    }
}

async fn metric(server: &Running, line: &str) -> bool {
    server.http(METRICS).await.1.contains(line)
}

/// Nothing is left of those who have gone, and nothing has panicked.
async fn is_whole(server: &Running) {
    let client = server.connect().await;
    let answer = client.simple_query("SELECT 7").await.expect("rows");
    assert_eq!(texts(answer), [["7"]]);
    drop(client);
    for _ in 0..200 {
        if metric(server, "polysema_connections 0\n").await {
            assert!(metric(server, "polysema_panics_total 0\n").await);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("connections are left: {}", server.http(METRICS).await.1);
}

#[test]
fn random_messages_after_the_startup_leave_the_server_answering() {
    conversation(options(), |server| async move {
        let mut numbers = Numbers(1);
        let mut refused = 0;
        for round in 0..ROUNDS {
            let mut stream = greeted(&server).await;
            for _ in 0..MESSAGES {
                if stream.write_all(&numbers.message()).await.is_err() {
                    break;
                }
            }
            // A third leave in the midst, a third say that they have said all, a third wait for an end of theirs.
            match round % 3 {
                0 => {}
                1 => drop(stream.shutdown().await),
                _ => {
                    let _ = stream.write_all(&frame(b'S', b"")).await;
                    let _ = stream.shutdown().await;
                    let mut all = vec![];
                    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
                    assert!(
                        read.is_ok(),
                        "round {round}: the server waits for a client that has gone"
                    );
                    refused += usize::from(all.contains(&b'E'));
                }
            }
        }
        assert!(refused > ROUNDS / 10, "{refused}");
        is_whole(&server).await;
        server.stop().await;
    });
}

#[test]
fn random_messages_before_the_startup_leave_the_server_answering() {
    conversation(options(), |server| async move {
        let mut numbers = Numbers(2);
        for round in 0..STARTUPS {
            let mut stream = TcpStream::connect(server.postgres).await.expect("a server");
            let code = *numbers.of(&[
                196_608,
                196_610,
                80_877_102,
                80_877_103,
                80_877_104,
                0,
                u32::MAX,
            ]);
            let count = numbers.below(80);
            let body = numbers.bytes(count);
            let length = match numbers.below(4) {
                0 => *numbers.of(&[0, 4, 7, 8, 9, 15, 16, 10_000, 1 << 20, u32::MAX]),
                _ => 8 + count as u32,
            };
            let packet = [&length.to_be_bytes()[..], &code.to_be_bytes(), &body].concat();
            let _ = stream.write_all(&packet).await;
            if round % 2 == 0 {
                let _ = stream.write_all(&numbers.message()).await;
            }
            let _ = stream.shutdown().await;
            let mut all = vec![];
            let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
            assert!(read.is_ok(), "round {round}");
        }
        is_whole(&server).await;
        server.stop().await;
    });
}

/// A message ends where it says it does: what follows is another one, or the end.
#[test]
fn messages_with_missing_or_other_parts_are_refused() {
    conversation(options(), |server| async move {
        let refused: &[(&str, Vec<u8>)] = &[
            ("a query without its end", frame(b'Q', b"SELECT 1")),
            ("a query with more", frame(b'Q', b"SELECT 1\0SELECT 2\0")),
            ("a query that is no text", frame(b'Q', b"SELECT '\xff'\0")),
            ("Parse without a count", frame(b'P', b"s\0SELECT 1\0")),
            (
                "Parse with a count too high",
                frame(b'P', b"s\0SELECT 1\0\xff\xff"),
            ),
            ("Bind without values", frame(b'B', b"p\0s\0\0\0\0\x05")),
            (
                "Bind with a value too long",
                frame(b'B', b"p\0s\0\0\0\0\x01\x7f\xff\xff\xffa\0\0"),
            ),
            ("Execute without a count", frame(b'E', b"p\0\0")),
            ("Describe of nothing", frame(b'D', b"")),
            ("a message of no kind", frame(b'Z', b"")),
            (
                "a length below its own",
                [b"Q".as_slice(), &3_u32.to_be_bytes()].concat(),
            ),
            (
                "a length beyond all",
                [b"Q".as_slice(), &(1_u32 << 30).to_be_bytes()].concat(),
            ),
        ];
        for (what, bytes) in refused {
            let mut stream = greeted(&server).await;
            stream.write_all(bytes).await.expect("a server that reads");
            let (kind, body) = message(&mut stream).await.expect(what);
            let told = String::from_utf8_lossy(&body);
            assert!(
                kind == b'E' && told.contains("FATAL") && told.contains("08P01"),
                "{what}: {told}"
            );
            let mut left = vec![];
            let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut left)).await;
            assert!(end.is_ok(), "{what}: the connection is left open");
        }
        // Rows to copy that no COPY has asked for are passed over, as PostgreSQL does.
        let mut stream = greeted(&server).await;
        let out_of_place = [
            frame(b'd', b"1\t2\n"),
            frame(b'c', b""),
            frame(b'f', b"no\0"),
            frame(b'Q', b"SELECT 1\0"),
        ];
        stream
            .write_all(&out_of_place.concat())
            .await
            .expect("a server that reads");
        assert_eq!(letters(&mut stream, 1).await, "TDCZ");
        drop(stream);
        // Formats for other columns than there are, and a statement that was never prepared.
        for (parse, bind) in [
            (
                b"\0SELECT 1, 2, 3\0\0\0".as_slice(),
                b"\0\0\0\0\0\0\0\x02\0\x01\0\x01".as_slice(),
            ),
            (
                b"\0SELECT $1::int\0\0\0",
                b"\0\0\0\x03\0\x01\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x01\0\0",
            ),
            (b"\0SHOW ALL\0\0\0", b"\0\0\0\0\0\0\0\x03\0\x01\0\x01\0\x01"),
            (b"\0SELECT 1\0\0\0", b"\0nowhere\0\0\0\0\0\0\0"),
            (b"\0SELECT $1::int\0\0\0", b"\0\0\0\0\0\0\0\0"),
            (
                b"\0SELECT $1::int[]\0\0\0",
                b"\0\0\0\x01\0\x01\0\x01\0\0\0\x05\0\0\0\x01\xff\0\0",
            ),
        ] {
            let mut stream = greeted(&server).await;
            let messages = [
                frame(b'P', parse),
                frame(b'B', bind),
                frame(b'D', b"P\0"),
                frame(b'E', b"\0\0\0\0\0"),
                frame(b'S', b""),
                frame(b'Q', b"SELECT 1\0"),
            ];
            stream
                .write_all(&messages.concat())
                .await
                .expect("a server that reads");
            let told = letters(&mut stream, 2).await;
            assert!(told.contains('E') && told.ends_with("ZTDCZ"), "{told}");
        }
        is_whole(&server).await;
        server.stop().await;
    });
}

/// Clients who say half of a message, or nothing, or read nothing, do not keep others from being answered.
#[test]
fn half_open_connections_and_slow_readers_leave_the_server_answering() {
    conversation(options(), |server| async move {
        let mut held = vec![];
        for _ in 0..20 {
            held.push(TcpStream::connect(server.postgres).await.expect("a server"));
            let mut half = greeted(&server).await;
            half.write_all(b"Q\0\0\x10\0SELECT")
                .await
                .expect("a server that reads");
            held.push(half);
            // It never reads the rows of an answer without an end.
            let mut slow = greeted(&server).await;
            let endless = b"SELECT value, repeat('x', 1000) FROM generate_series(1, 1000000000)\0";
            slow.write_all(&frame(b'Q', endless))
                .await
                .expect("a server that reads");
            held.push(slow);
        }
        for _ in 0..5 {
            let client = server.connect().await;
            let rows = client
                .simple_query("SELECT count(*) FROM demo.layers")
                .await;
            assert_eq!(texts(rows.expect("rows")).len(), 1);
        }
        drop(held);
        is_whole(&server).await;
        server.stop().await;
    });
}

/// What somebody between sends in the clear, after the client has asked to encrypt, is not taken for the client's.
#[test]
fn what_comes_in_the_clear_before_encryption_is_refused() {
    let tls = std::path::Path::new("tests/data/tls");
    let options = ServeOptions {
        tls: Some((tls.join("server.pem"), tls.join("server.key"))),
        ..options()
    };
    let mut roots = RootCertStore::empty();
    let vouches = CertificateDer::from_pem_file(tls.join("ca.pem")).expect("a certificate");
    roots.add(vouches).expect("a certificate");
    let config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    conversation(options, |server| async move {
        let request = [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
        let hello = startup(&[("user", "mallory"), ("database", "demo")]);
        for injected in [vec![], hello] {
            let mut stream = TcpStream::connect(server.postgres).await.expect("a server");
            let both = [request.clone(), injected.clone()].concat();
            stream.write_all(&both).await.expect("a server that reads");
            assert_eq!(stream.read_u8().await.expect("an answer"), b'S');
            let name = ServerName::try_from("localhost").expect("a name");
            let mut stream = connector.connect(name, stream).await.expect("encryption");
            let own = startup(&[("user", "ana"), ("database", "demo")]);
            let _ = stream.write_all(&own).await;
            let mut answer = vec![0; 64];
            let read = timeout(Duration::from_secs(10), stream.read(&mut answer)).await;
            let read = read.expect("an answer").unwrap_or(0);
            let told = String::from_utf8_lossy(&answer[..read]);
            match injected.is_empty() {
                true => assert!(told.starts_with('R'), "{told}"),
                false => assert!(told.is_empty() || told.starts_with('E'), "{told}"),
            }
        }
        server.stop().await;
    });
}

/// What was prepared is forgotten by those who ask for it, by whichever protocol it was.
#[test]
fn what_was_prepared_is_forgotten() {
    conversation(options(), |server| async move {
        for forgets in [
            "DISCARD ALL",
            "DEALLOCATE ALL",
            "DEALLOCATE s; DEALLOCATE P",
        ] {
            let mut stream = greeted(&server).await;
            let prepared = [
                frame(b'P', b"s\0SELECT 1\0\0\0"),
                frame(b'S', b""),
                frame(b'Q', b"PREPARE p AS SELECT 2; EXECUTE p\0"),
                frame(b'Q', [forgets.as_bytes(), b"\0"].concat().as_slice()),
            ];
            stream
                .write_all(&prepared.concat())
                .await
                .expect("a server that reads");
            let told = letters(&mut stream, 3).await;
            assert!(
                !told.contains('E') && told.starts_with("1ZCTDCZ"),
                "{forgets}: {told}"
            );
            for gone in [
                [frame(b'D', b"Ss\0"), frame(b'S', b"")].concat(),
                frame(b'Q', b"EXECUTE p\0"),
                frame(b'Q', b"DEALLOCATE s\0"),
                frame(b'Q', b"DEALLOCATE p\0"),
            ] {
                stream.write_all(&gone).await.expect("a server that reads");
                assert_eq!(letters(&mut stream, 1).await, "EZ", "{forgets}");
            }
            let again = frame(b'Q', b"PREPARE p AS SELECT 3; EXECUTE p\0");
            stream.write_all(&again).await.expect("a server that reads");
            assert_eq!(letters(&mut stream, 1).await, "CTDCZ", "{forgets}");
        }
        server.stop().await;
    });
}

/// Statements at which the functions of DataFusion fail or would take all memory: whatever becomes of them, the client is told,
/// and the server answers on.
#[test]
fn statements_that_fail_badly_leave_the_server_answering() {
    conversation(options(), |server| async move {
        for statement in [
            "SELECT repeat(arrow_cast('x', 'LargeUtf8'), 1000000000000)",
            "SELECT array_resize([1, 2], 1000000000000000)",
            "SELECT range(0, 9223372036854775807)",
            "SELECT lpad('x', 2147483647), rpad('x', 2147483647)",
            "SELECT date_bin(interval '0 seconds', now(), now())",
            "SELECT to_char(now(), '%Q')",
            "SELECT to_char(arrow_cast(9223372036854775807, 'Timestamp(Second, None)'), '%Y')",
            "SELECT date_trunc('month', arrow_cast(9223372036854775807, 'Timestamp(Second, None)'))",
            "SELECT -9223372036854775808 / -1",
            "SELECT 1 % 0",
            "SELECT abs(-9223372036854775808)",
            "SELECT date '2000-01-01' - interval '2147483647 months'",
            "SELECT make_date(2147483647, 1, 1)",
            "SELECT array_slice([1, 2, 3], -9223372036854775808, 9223372036854775807, 0)",
            "SELECT decode('zz', 'hex')",
            "SELECT chr(1114112)",
            "SELECT factorial(50)",
            "SELECT gcd(0, -9223372036854775808)",
            "SELECT substr('abc', -9223372036854775808, 9223372036854775807)",
        ] {
            let client = server.connect().await;
            let asked = client.simple_query(statement).await;
            if let Err(error) = &asked {
                let told = error
                    .as_db_error()
                    .unwrap_or_else(|| panic!("{statement}: {error:?}"));
                assert!(!told.message().is_empty(), "{statement}");
            }
            let (status, body) = server.post("", statement).await;
            assert_eq!(status == 200, asked.is_ok(), "{statement}: {status} {body}");
        }
        let client = server.connect().await;
        let answer = client.simple_query("SELECT 7").await.expect("rows");
        assert_eq!(texts(answer), [["7"]]);
        server.stop().await;
    });
}
