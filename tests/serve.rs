//! `polysema serve` as its clients meet it: a PostgreSQL client and bytes on a socket, against a server of the demo's model.
//! Above 400 lines, since each test is a conversation.

mod catalogue;
pub mod process;
pub mod server;

use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use polysema::serve::users::{self, Role};
use polysema::serve::{Listening, ServeLimits, ServeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use server::{ENDLESS, RUNTIME, connect, conversation, options, refusal, state_of, texts};

#[test]
fn a_setting_of_one_connection_is_not_anothers() {
    conversation(options(), |server| async move {
        let (one, other) = (server.connect().await, server.connect().await);
        one.batch_execute("SET polysema.threshold = 0.2; SET application_name = 'x'")
            .await
            .unwrap();
        let show = "SHOW polysema.threshold";
        let shown = |rows: Vec<Vec<String>>| rows[0].last().unwrap().clone();
        assert_eq!(shown(texts(one.simple_query(show).await.unwrap())), "0.2");
        assert_eq!(shown(texts(other.simple_query(show).await.unwrap())), "0.5");
        let (state, message) = refusal(one.batch_execute("SET polysema.threshold = 'x'").await);
        assert_eq!(state, SqlState::from_code("42000"));
        assert!(message.contains("must be a number, got 'x'"), "{message}");
        let (state, _) = refusal(one.batch_execute("SET client_encoding = 'LATIN1'").await);
        assert_eq!(state, SqlState::INVALID_PARAMETER_VALUE);
        // Tables of a session are its own, too.
        one.batch_execute("CREATE TEMP TABLE mine AS SELECT 1 AS a")
            .await
            .unwrap();
        assert!(other.simple_query("SELECT * FROM mine").await.is_err());
    });
}

#[test]
fn prepared_statements_have_typed_parameters_and_arrays_of_floats() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let statement = client
            .prepare("SELECT layer, neuron, activation FROM feature_clusters($1, $2) ORDER BY activation DESC")
            .await
            .unwrap();
        let rows = client.query(&statement, &[&3_i32, &417_i32]).await.unwrap();
        let keys = |row: &tokio_postgres::Row| (row.get::<_, i32>(0), row.get::<_, i32>(1));
        assert!(!rows.is_empty());
        assert!(rows.iter().all(|row| keys(row) == (3, 417)));
        let activations: Vec<f32> = rows.iter().map(|row| row.get(2)).collect();
        assert!(activations.is_sorted_by(|a, b| a >= b));
        let weights = "SELECT w_in, b_in FROM demo.neurons WHERE layer = $1 AND neuron = $2";
        let row = client
            .query_one(weights, &[&3_i32, &417_i32])
            .await
            .unwrap();
        let vector: Vec<f32> = row.get(0);
        let text = texts(
            client
                .simple_query(&weights.replace("$1", "3").replace("$2", "417"))
                .await
                .unwrap(),
        );
        let same: Vec<f32> = text[0][0]
            .trim_matches(['{', '}'])
            .split(',')
            .map(|value| value.parse().unwrap())
            .collect();
        assert_eq!(vector, same);
        let any = "SELECT count(*) FROM demo.layers WHERE layer = ANY($1)";
        let row = client.query_one(any, &[&vec![0_i32, 1, 77]]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 2);
    });
}

#[test]
fn a_cancelled_statement_ends_and_its_connection_goes_on() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let token = client.cancel_token();
        let ask = client.simple_query(ENDLESS);
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (asked, ()) = tokio::join!(ask, cancel);
        assert_eq!(state_of(&asked.unwrap_err()), SqlState::QUERY_CANCELED);
        let prepared = client.query(ENDLESS, &[]);
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (asked, ()) = tokio::join!(prepared, cancel);
        assert_eq!(state_of(&asked.unwrap_err()), SqlState::QUERY_CANCELED);
        assert_eq!(
            texts(client.simple_query("SELECT 7").await.unwrap()),
            [["7"]]
        );
    });
}

#[test]
fn a_timeout_covers_the_rows_of_a_statement() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        client
            .batch_execute("SET statement_timeout = '400ms'")
            .await
            .unwrap();
        let (state, message) = refusal(client.simple_query(ENDLESS).await);
        assert_eq!(state, SqlState::QUERY_CANCELED);
        assert_eq!(message, "canceling statement due to statement timeout");
        // Of this one there is always another row.
        client
            .batch_execute("SET statement_timeout = '3s'")
            .await
            .unwrap();
        let endless = "SELECT value FROM generate_series(1, 1000000000000)";
        let rows = client
            .query_raw(endless, Vec::<String>::new())
            .await
            .unwrap();
        let mut rows = std::pin::pin!(rows);
        rows.next().await.unwrap().unwrap();
        let last = loop {
            match rows.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(state_of(&last), SqlState::QUERY_CANCELED);
        client
            .batch_execute("RESET statement_timeout")
            .await
            .unwrap();
    });
}

#[test]
fn the_statement_of_a_client_who_left_ends() {
    conversation(options(), |server| async move {
        let (client, connection) = server.config("ana").connect(NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let asked = tokio::spawn(async move { client.simple_query(ENDLESS).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        connection.abort();
        asked.abort();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        loop {
            let (_, metrics) = server.http(request).await;
            if metrics.contains("polysema_connections 0\n") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn a_failed_transaction_waits_for_its_end() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        client.batch_execute("BEGIN; SAVEPOINT a").await.unwrap();
        let (state, message) = refusal(client.simple_query("SELECT nothing FROM nowhere").await);
        assert_eq!(state, SqlState::UNDEFINED_TABLE);
        assert!(message.contains("got 'nowhere'"), "{message}");
        let (state, _) = refusal(client.simple_query("SELECT 1").await);
        assert_eq!(state, SqlState::IN_FAILED_SQL_TRANSACTION);
        client.batch_execute("ROLLBACK TO a").await.unwrap();
        assert_eq!(
            texts(client.simple_query("SELECT 1").await.unwrap()),
            [["1"]]
        );
        client.batch_execute("COMMIT").await.unwrap();
        // Statements of one text end at the first error; what was before it is done.
        let (_, message) = refusal(
            client
                .batch_execute("CREATE TABLE t AS SELECT 1 AS a; SELECT x; DROP TABLE t")
                .await,
        );
        assert!(message.contains('x'), "{message}");
        assert_eq!(
            texts(client.simple_query("SELECT a FROM t").await.unwrap()),
            [["1"]]
        );
        client
            .batch_execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            .await
            .unwrap();
        let (state, _) = refusal(client.batch_execute("DROP TABLE t").await);
        assert_eq!(state, SqlState::READ_ONLY_SQL_TRANSACTION);
    });
}

#[test]
fn rows_are_copied_in_each_form_and_fetched_piece_by_piece() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let copy = async |statement: &str| {
            let bytes = client.copy_out(statement).await.unwrap();
            let bytes: Vec<_> = bytes.try_collect().await.unwrap();
            bytes.concat()
        };
        let query = "(SELECT 1 AS a, 'x,\"y' AS \"b c\", NULL AS n)";
        let csv = copy(&format!("COPY {query} TO STDOUT (FORMAT csv, HEADER)")).await;
        assert_eq!(String::from_utf8(csv).unwrap(), "a,b c,n\n1,\"x,\"\"y\",\n");
        let text = copy(&format!("COPY {query} TO STDOUT")).await;
        assert_eq!(String::from_utf8(text).unwrap(), "1\tx,\"y\t\\N\n");
        let head = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        let binary = copy("COPY (SELECT CAST(5 AS INT) AS a) TO STDOUT (FORMAT binary)").await;
        assert_eq!(
            binary,
            [head.as_slice(), &[0, 1, 0, 0, 0, 4, 0, 0, 0, 5, 0xff, 0xff]].concat()
        );
        let none =
            copy("COPY (SELECT layer FROM demo.layers WHERE layer < 0) TO STDOUT (FORMAT binary)")
                .await;
        assert_eq!(none, [head.as_slice(), &[0xff, 0xff]].concat());
        client
            .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT layer FROM demo.layers ORDER BY 1")
            .await
            .unwrap();
        assert_eq!(
            texts(client.simple_query("FETCH 2 FROM c").await.unwrap()),
            [["0"], ["1"]]
        );
        assert_eq!(
            texts(client.simple_query("FETCH c").await.unwrap()),
            [["2"]]
        );
        client.batch_execute("COMMIT").await.unwrap();
        let (state, _) = refusal(client.simple_query("FETCH c").await);
        assert_eq!(state, SqlState::INVALID_CURSOR_NAME);
    });
}

#[test]
fn users_prove_themselves_and_do_what_their_role_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    for role in Role::ALL {
        users::add(&path, role.name(), role, "päss word").unwrap();
    }
    let options = ServeOptions {
        users: Some(path.clone()),
        ..options()
    };
    conversation(options, |server| async move {
        let known = |user: &str| {
            let mut config = server.config(user);
            config.password("päss word");
            config
        };
        let mut wrong = server.config("reader");
        wrong.password("password");
        let mut unknown = server.config("nobody");
        unknown.password("päss word");
        for (config, user) in [(wrong, "reader"), (unknown, "nobody")] {
            let (state, message) = refusal(connect(&config).await.map(|_| ()));
            assert_eq!(state, SqlState::INVALID_PASSWORD);
            assert_eq!(
                message,
                format!("password authentication failed for user \"{user}\"")
            );
        }
        let made = "CREATE TABLE t AS SELECT 1 AS a";
        let others = [
            "SELECT * FROM 'Cargo.toml'",
            "COPY (SELECT 1) TO 'x.csv'",
            "CREATE EXTERNAL TABLE e STORED AS csv LOCATION 'Cargo.toml'",
            "CALL ingest('r', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl')",
            "SET datafusion.execution.target_partitions = 1",
            "DROP SCHEMA demo",
        ];
        let reader = connect(&known("reader")).await.unwrap();
        let analyst = connect(&known("analyst")).await.unwrap();
        let (state, _) = refusal(reader.batch_execute(made).await);
        assert_eq!(state, SqlState::INSUFFICIENT_PRIVILEGE);
        analyst.batch_execute(made).await.unwrap();
        for statement in others {
            for client in [&reader, &analyst] {
                let (_, message) = refusal(client.batch_execute(statement).await);
                assert!(message.contains("may"), "{statement}: {message}");
            }
        }
        let owner = connect(&known("owner")).await.unwrap();
        assert!(
            owner
                .simple_query("SELECT * FROM 'tests/data/demo/corpus.jsonl' LIMIT 1")
                .await
                .is_ok()
        );
        // Who is added may log in at once.
        users::add(&path, "late", Role::Reader, "päss word").unwrap();
        assert!(connect(&known("late")).await.is_ok());
        let (status, _) = server.post("", "SELECT 1").await;
        assert_eq!(status, 401);
        // reader:päss word
        let basic = "Authorization: Basic cmVhZGVyOnDDpHNzIHdvcmQ=\r\n";
        let (status, body) = server.post(basic, made).await;
        assert_eq!(status, 403, "{body}");
        let (status, _) = server.post(basic, "SELECT 1").await;
        assert_eq!(status, 200);
    });
}

#[test]
fn a_door_to_a_network_is_opened_to_users_and_encrypted_only() {
    RUNTIME.block_on(async {
        let open: SocketAddr = ([0, 0, 0, 0], 0).into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        users::add(&path, "ana", Role::Reader, "a").unwrap();
        let refused =
            async |options: ServeOptions, words: &str| match Listening::open(options).await {
                Ok(_) => panic!("a refusal with '{words}' is required"),
                Err(error) => assert!(error.to_string().contains(words), "{error}"),
            };
        let no_users = ServeOptions {
            listen: open,
            plaintext: true,
            ..options()
        };
        refused(no_users, "users").await;
        let no_tls = ServeOptions {
            http: Some(open),
            users: Some(path.clone()),
            ..options()
        };
        refused(no_tls.clone(), "--tls-cert").await;
        let bad = folder.path().join("bad.pem");
        std::fs::write(&bad, "no certificate").unwrap();
        let bad_tls = ServeOptions {
            tls: Some((bad.clone(), bad)),
            ..no_tls.clone()
        };
        refused(bad_tls, "certificates as PEM are required, got none").await;
        let behind_a_proxy = ServeOptions {
            plaintext: true,
            ..no_tls
        };
        assert!(Listening::open(behind_a_proxy).await.is_ok());
    });
}

#[test]
fn limits_are_told() {
    let options = ServeOptions {
        limits: ServeLimits {
            connections: 2,
            user_connections: Some(1),
            max_rows: Some(10),
            statement_timeout: Some(Duration::from_secs(200)),
            user_memory: Some(64 << 10),
        },
        ..options()
    };
    conversation(options, |server| async move {
        let client = server.connect().await;
        let (state, message) = refusal(client.simple_query("SELECT * FROM demo.tokens").await);
        assert_eq!(state, SqlState::PROGRAM_LIMIT_EXCEEDED);
        assert!(message.contains("at most 10 rows"), "{message}");
        let sorted = "SELECT a.token FROM demo.tokens a, demo.tokens b ORDER BY a.token, b.token LIMIT 3000000";
        let (state, message) = refusal(client.simple_query(sorted).await);
        assert_eq!(state, SqlState::OUT_OF_MEMORY, "{message}");
        let (state, _) = refusal(connect(&server.config("ana")).await.map(|_| ()));
        assert_eq!(state, SqlState::TOO_MANY_CONNECTIONS);
        // The one who was refused has a moment to go.
        let _other = loop {
            if let Ok(other) = connect(&server.config("bo")).await {
                break other;
            }
        };
        let (state, _) = refusal(connect(&server.config("cy")).await.map(|_| ()));
        assert_eq!(state, SqlState::TOO_MANY_CONNECTIONS);
    });
}

#[test]
fn http_gives_each_form_and_refuses_pages() {
    conversation(options(), |server| async move {
        let query = "SET polysema.threshold = 0.4; SELECT layer, 'a,b' AS text FROM demo.layers ORDER BY 1 LIMIT 2";
        let chunks = |body: &str| -> String {
            // Chunks: a size in a line, then as many bytes.
            body.split("\r\n").skip(1).step_by(2).collect()
        };
        let (status, body) = server.post("", query).await;
        assert_eq!(status, 200);
        let rows: serde_json::Value = serde_json::from_str(&chunks(&body)).unwrap();
        assert_eq!(rows[1], serde_json::json!({"layer": 1, "text": "a,b"}));
        let (_, body) = server.post("Accept: text/csv\r\n", query).await;
        assert_eq!(chunks(&body), "layer,text\n0,\"a,b\"\n1,\"a,b\"\n");
        let json = "Content-Type: application/json\r\nAccept: application/x-ndjson\r\n";
        let asked = r#"{"sql": "SELECT count(*) > 0 AS any FROM feature_clusters($layer, $neuron)",
                        "parameters": {"layer": 3, "neuron": 417}, "run": "demo"}"#;
        let (_, body) = server.post(json, asked).await;
        assert_eq!(chunks(&body), "{\"any\":true}\n");
        let (status, body) = server.post("", "SELECT * FROM nowhere").await;
        assert_eq!(status, 400);
        assert!(body.contains("\"state\":\"42P01\""), "{body}");
        let (status, _) = server.post("Accept: image/png\r\n", "SELECT 1").await;
        assert_eq!(status, 406);
        // Any page may send such a request to this machine.
        let (status, _) = server
            .post("Origin: http://example.com\r\n", "SELECT 1")
            .await;
        assert_eq!(status, 403);
        let request = "POST /sql HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nContent-Length: 8\r\n\r\nSELECT 1";
        assert_eq!(server.http(request).await.0, 403);
        let health = "GET /healthz HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
        assert_eq!(server.http(health).await, (200, "ok\n".to_string()));
    });
}

#[test]
fn broken_messages_leave_the_server_answering() {
    conversation(options(), |server| async move {
        let startup = |length: u32, code: u32| [length.to_be_bytes(), code.to_be_bytes()].concat();
        let mut broken = vec![
            vec![],
            vec![0; 64],
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            startup(8, 196_608),
            startup(u32::MAX, 196_608),
            startup(4, 0),
            startup(9, 99 << 16),
            startup(16, 80_877_102),
        ];
        let mut seed = 1_u64;
        for length in 0..200 {
            let mut bytes = startup(8 + length, 196_608);
            bytes.extend((0..length).map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            }));
            broken.push(bytes);
        }
        let healthy = server.connect().await;
        for bytes in broken {
            let mut stream = TcpStream::connect(server.postgres).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = vec![];
            let _ = stream.read_to_end(&mut answer).await;
        }
        // A message that is larger than any may be, of a client who is known.
        let mut stream = TcpStream::connect(server.postgres).await.unwrap();
        let mut hello = b"user\0ana\0database\0demo\0\0".to_vec();
        hello.splice(0..0, startup(8 + hello.len() as u32, 196_608));
        stream.write_all(&hello).await.unwrap();
        let huge = [b"Q".as_slice(), &((1_u32 << 30) - 8).to_be_bytes()].concat();
        stream.write_all(&huge).await.unwrap();
        let block = vec![b' '; 1 << 20];
        let mut sent = 0;
        while stream.write_all(&block).await.is_ok() {
            sent += 1;
            assert!(sent < 200, "a server that stops reading is required");
        }
        assert_eq!(
            texts(healthy.simple_query("SELECT 1").await.unwrap()),
            [["1"]]
        );
        assert_eq!(
            texts(
                server
                    .connect()
                    .await
                    .simple_query("SELECT 2")
                    .await
                    .unwrap()
            ),
            [["2"]]
        );
    });
}

#[test]
fn a_server_that_ends_lets_statements_end_and_tells_who_waits() {
    conversation(options(), |server| async move {
        let (idle, busy) = (server.connect().await, server.connect().await);
        let short = "SELECT count(*) FROM neuron_polysemanticity()";
        let asked = tokio::spawn(async move { busy.simple_query(short).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.stop().await;
        let counted = texts(asked.await.unwrap().unwrap());
        assert_eq!(counted.len(), 1);
        assert!(idle.simple_query("SELECT 1").await.is_err());
    });
}

#[test]
fn clients_find_tables_columns_and_types() {
    conversation(options(), |server| async move {
        let client = server.connect().await;
        let tables = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
                      LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                      WHERE c.relkind IN ('r', 'v') AND n.nspname = 'demo' AND pg_catalog.pg_table_is_visible(c.oid)";
        let found = texts(client.simple_query(tables).await.unwrap());
        assert!(
            found.contains(&["demo", "neurons"].map(str::to_string).to_vec()),
            "{found:?}"
        );
        let columns = "SELECT column_name, data_type FROM information_schema.columns \
                       WHERE table_schema = 'demo' AND table_name = 'neurons' ORDER BY ordinal_position LIMIT 2";
        let found = texts(client.simple_query(columns).await.unwrap());
        assert_eq!(found[0][0], "layer");
        let one =
            async |query: &str| texts(client.simple_query(query).await.unwrap())[0][0].clone();
        assert!(one("SELECT version()").await.starts_with("PostgreSQL 17"));
        assert_eq!(one("SELECT current_database()").await, "polysema");
        assert_eq!(
            one("SELECT current_setting('server_version')").await,
            "17.6"
        );
        assert_eq!(one("SELECT set_config('jit', 'off', false)").await, "off");
        assert_eq!(
            one("SHOW transaction isolation level").await,
            "read committed"
        );
        client
            .batch_execute("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;")
            .await
            .unwrap();
        client.batch_execute("DISCARD ALL").await.unwrap();
        let mut elsewhere = server.config("ana");
        elsewhere.dbname("nowhere");
        let (state, _) = refusal(connect(&elsewhere).await.map(|_| ()));
        assert_eq!(state, SqlState::INVALID_CATALOG_NAME);
    });
}
