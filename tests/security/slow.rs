//! Clients of HTTP who are slow on purpose, and of PostgreSQL's protocol in the midst of a message; and short statements that
//! would take years to parse or to plan.

use std::time::Duration;

use polysema::serve::{ServeLimits, ServeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::server::{conversation, options, texts};
use super::wire::{METRICS, frame, startup};

const HEAD: &str = "POST /sql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";

/// A byte now and then is no body: ten seconds are given, and then so much a second is asked.
#[test]
fn a_request_that_trickles_in_is_refused() {
    conversation(options(), |server| async move {
        let mut web = TcpStream::connect(server.http).await.expect("a server");
        let head = format!("{HEAD}Content-Length: 100000\r\n\r\nSELECT");
        web.write_all(head.as_bytes())
            .await
            .expect("a server that reads");
        let mut wire = TcpStream::connect(server.postgres).await.expect("a server");
        let hello = startup(&[("user", "ana"), ("database", "demo")]);
        wire.write_all(&hello).await.expect("a server that reads");
        let begins = frame(b'Q', &[b' '; 50_000]);
        wire.write_all(&begins[..100])
            .await
            .expect("a server that reads");
        let began = Instant::now();
        let (mut web_read, mut web_write) = web.into_split();
        let (mut wire_read, mut wire_write) = wire.into_split();
        let trickle = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let sent = web_write.write_all(b" ").await.is_ok();
                if !(wire_write.write_all(b" ").await.is_ok() || sent) {
                    break;
                }
            }
        });
        let (mut answer, mut messages) = (vec![], vec![]);
        let ends = async {
            let _ = tokio::join!(
                web_read.read_to_end(&mut answer),
                wire_read.read_to_end(&mut messages)
            );
        };
        timeout(Duration::from_secs(30), ends)
            .await
            .expect("an end of both");
        assert!(
            began.elapsed() >= Duration::from_secs(9),
            "{:?}",
            began.elapsed()
        );
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let messages = String::from_utf8_lossy(&messages);
        for told in [answer, messages] {
            assert!(
                told.contains("64 KiB a second are required after 10 seconds"),
                "{told}"
            );
        }
        trickle.abort();
        server.stop().await;
    });
}

/// A timeout ends the answer of a client who does not read it, too.
#[test]
fn an_answer_that_nobody_reads_ends_with_its_time() {
    let options = ServeOptions {
        limits: ServeLimits {
            connections: 2,
            statement_timeout: Some(Duration::from_secs(2)),
            ..ServeLimits::default()
        },
        ..options()
    };
    conversation(options, |server| async move {
        let endless = "SELECT value, repeat('x', 1000) FROM generate_series(1, 1000000000)";
        let mut held = vec![];
        for _ in 0..2 {
            let mut stream = TcpStream::connect(server.http).await.expect("a server");
            let request = format!("{HEAD}Content-Length: {}\r\n\r\n{endless}", endless.len());
            stream
                .write_all(request.as_bytes())
                .await
                .expect("a server that reads");
            held.push(stream);
        }
        // Both of two connections are held: the next one waits for their time to be over.
        let asked =
            server.http("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (status, _) = timeout(Duration::from_secs(30), asked)
            .await
            .expect("an answer");
        assert_eq!(status, 200);
        let (_, metrics) = server.http(METRICS).await;
        assert!(metrics.contains("polysema_panics_total 0\n"), "{metrics}");
        drop(held);
        server.stop().await;
    });
}

/// A body of more than may be, with and without a length that says so.
#[test]
fn a_body_of_any_size_is_refused_before_it_is_held() {
    conversation(options(), |server| async move {
        for head in [
            "Content-Length: 10000000000\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(server.http).await.expect("a server");
            stream
                .write_all(format!("{HEAD}{head}").as_bytes())
                .await
                .expect("a server that reads");
            let (mut read, mut write) = stream.into_split();
            let chunked = head.starts_with('T');
            let send = async {
                let block = vec![b' '; 1 << 20];
                for _ in 0..80 {
                    let sent = match chunked {
                        true => {
                            write
                                .write_all(&[b"100000\r\n".as_slice(), &block, b"\r\n"].concat())
                                .await
                        }
                        false => write.write_all(&block).await,
                    };
                    if sent.is_err() {
                        break;
                    }
                }
            };
            let mut answer = vec![];
            let (_, _) = tokio::join!(send, read.read_to_end(&mut answer));
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
                "{answer}"
            );
        }
        let (status, _) = server.post("", "SELECT 1").await;
        assert_eq!(status, 200);
        server.stop().await;
    });
}

/// Parsers and planners go through what is nested in these twice at each level: where one were not refused, this would not end.
#[test]
fn statements_that_would_be_read_for_years_are_refused() {
    let nested = |open: &str, close: &str| {
        let (open, close) = (open.repeat(40), close.repeat(40));
        [format!("SELECT {open}1{close}"), format!("SELECT {open}#")]
    };
    let refused = [
        nested("a.b.c[", "]"),
        nested("a.", ""),
        nested("CAST(", " AS INT)"),
        nested("POSITION(", " IN 1)"),
        nested("INTERVAL ", ""),
        nested("(SELECT ", ")"),
        nested("char_length(", ")"),
        nested("coalesce(1, ", ")"),
        nested("pg_typeof(CAST(", " AS INT))"),
    ];
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let required = "inside each other are required, got ";
        for statement in refused.as_flattened() {
            let error = client.simple_query(statement).await.expect_err(statement);
            let told = error.as_db_error().expect("what the server says");
            assert!(told.message().contains(required), "{statement}: {told}");
            let (status, body) = server.post("", statement).await;
            assert!(
                status == 400 && body.contains(required),
                "{statement}: {body}"
            );
        }
        // One parser takes it at once. What the engine does not know is asked of PostgreSQL's, which would not.
        let unknown = format!("SELECT {}nosuch{}", "abs(".repeat(30), ")".repeat(30));
        let error = client.simple_query(&unknown).await.expect_err("no column");
        let told = error.as_db_error().expect("what the server says");
        assert!(told.message().contains("nosuch"), "{told}");
        let answer = client.simple_query("SELECT 7").await.expect("rows");
        assert_eq!(texts(answer), [["7"]]);
        server.stop().await;
    });
}

#[test]
fn statements_that_would_be_planned_for_years_are_refused() {
    let named = |n: usize, twice: &str| {
        let names = (0..n).map(|i| {
            let twice = twice.replace('#', &format!("t{i}"));
            format!(", t{} AS (SELECT x.a FROM {twice})", i + 1)
        });
        let names: String = names.collect();
        format!("WITH t0 AS (SELECT 1 AS a){names} SELECT (SELECT max(a) FROM t{n})")
    };
    let chained = |n: usize, made: &str| {
        let made = |i: usize| made.replace('#', &format!("t{i}"));
        let names: String = (0..n)
            .map(|i| format!(", t{} AS ({})", i + 1, made(i)))
            .collect();
        format!("WITH t0 AS (SELECT 1 AS a){names} SELECT count(a) FROM t{n}")
    };
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let refused = async |statement: &str, required: &str| {
            let error = client.simple_query(statement).await.expect_err(statement);
            let told = error.as_db_error().expect("what the server says");
            assert!(told.message().contains(required), "{statement}: {told}");
        };
        let reads = "at most 1000 tables read are required";
        for twice in [
            "# x, # y",
            "# x UNION ALL SELECT a FROM #",
            "# x WHERE a IN (SELECT a FROM #)",
        ] {
            let statement = named(40, twice);
            refused(&statement, reads).await;
            refused(&format!("EXPLAIN {statement}"), reads).await;
            refused(&format!("PREPARE p AS {statement}"), reads).await;
            assert_eq!(server.post("", &statement).await.0, 400);
            let answer = client.simple_query(&named(4, twice)).await;
            assert_eq!(texts(answer.expect("few reads")), [["1"]]);
        }
        let deep = "SELECT DISTINCT a FROM (SELECT max(a) AS a, sum(a) OVER () FROM # WHERE a > 0 GROUP BY a HAVING max(a) > 0) \
                    WHERE a > 0 ORDER BY a LIMIT 9";
        refused(
            &chained(2000, deep),
            "at most 100 queries inside each other are required",
        )
        .await;
        let answer = client.simple_query(&chained(49, deep)).await;
        assert_eq!(texts(answer.expect("not too deep")), [["1"]]);
        let added = |times: usize| format!("SELECT a{} AS a FROM #", " + 1".repeat(times));
        refused(
            &chained(30, &added(250)),
            "at most 1000 operators inside each other are required",
        )
        .await;
        let answer = client.simple_query(&chained(95, &added(9))).await;
        assert_eq!(texts(answer.expect("not too deep")), [["1"]]);
        client
            .simple_query("CREATE TEMP VIEW v0 AS SELECT 1 AS a")
            .await
            .expect("a view");
        for i in 0..9 {
            let view = format!(
                "CREATE TEMP VIEW v{} AS SELECT x.a FROM v{i} x, v{i} y",
                i + 1
            );
            client.simple_query(&view).await.expect("a view");
        }
        let view = "CREATE TEMP VIEW v10 AS SELECT x.a FROM v9 x, v9 y";
        refused(view, reads).await;
        refused(
            "WITH w AS (SELECT * FROM v9) SELECT x.a FROM w x, w y",
            reads,
        )
        .await;
        let answer = client.simple_query("SELECT a FROM v5").await;
        assert_eq!(texts(answer.expect("few reads")), [["1"]]);
        server.stop().await;
    });
}
