//! The server as a process that is killed in the midst of a job: what was committed is there when it comes back, and what was
//! not is not half there.

use std::time::Duration;

use polysema::serve::users::Role;
use tokio_postgres::{Client, Config};

use super::place::Place;
use super::process::Process;
use super::server::{RUNTIME, connect, texts};

const ROUNDS: u32 = 5;

/// A process that serves the store of a place to owners of this machine.
fn serving(place: &Place) -> Process {
    Process::start(&place.path("store"), &["--role", Role::Owner.name()])
}

impl Process {
    async fn connect(&self) -> Client {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("ana")
            .dbname("demo");
        connect(&config).await.expect("a connection")
    }

    fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }
}

/// What was committed, as a client sees it.
async fn committed(client: &Client) -> Vec<Vec<Vec<String>>> {
    let mut found = vec![];
    // Layer 4 is the autoencoder `old`; that of `new`, where its training came to an end before the kill, comes after it.
    for statement in [
        "SELECT run, problem FROM info.runs WHERE run <> 'new' ORDER BY run",
        "SELECT count(*), sum(doc_id), sum(pos), max(activation) FROM demo.examples WHERE layer <= 4",
        "SELECT count(*), sum(max_activation) FROM demo.neurons WHERE layer <= 4",
        "SELECT count(*), sum(v) FROM notes.kept",
        "SELECT \"table\", rows, problem FROM info.tables ORDER BY 1",
        "SELECT name, d_sae, steps, mse FROM info.saes WHERE name <> 'new' ORDER BY 1",
    ] {
        let rows = client.simple_query(statement).await;
        found.push(texts(
            rows.unwrap_or_else(|error| panic!("{statement}: {error}")),
        ));
    }
    found
}

#[test]
fn what_was_committed_outlives_a_server_that_is_killed() {
    let place = Place::new();
    RUNTIME.block_on(async {
        let mut server = serving(&place);
        let client = server.connect().await;
        let made = "CREATE TABLE notes.kept AS SELECT v FROM generate_series(1, 100000) t(v); \
                    CALL train_sae('old', 0, {d_sae: 8, epochs: 1})";
        client.batch_execute(made).await.expect("a table and an autoencoder");
        let before = committed(&client).await;
        // It is killed with this session open.
        server.kill();
        for round in 0..ROUNDS {
            let mut server = serving(&place);
            let client = server.connect().await;
            assert_eq!(committed(&client).await, before, "round {round}");
            let jobs = [
                "CALL ingest('new', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 24, replace: true, detach: true})",
                "CALL train_sae('new', 0, {d_sae: 64, batch_size: 32, epochs: 200, replace: true, detach: true})",
            ];
            for job in jobs {
                client.batch_execute(job).await.expect("a job that begins");
            }
            let other = server.connect().await;
            let writes = tokio::spawn(async move {
                let replace = "CREATE OR REPLACE TABLE notes.kept AS SELECT v FROM generate_series(1, 100000) t(v)";
                while other.batch_execute(replace).await.is_ok() {}
            });
            tokio::time::sleep(Duration::from_millis(u64::from(200 + 700 * round))).await;
            server.kill();
            writes.await.expect("a task");
        }
        let server = serving(&place);
        let client = server.connect().await;
        assert_eq!(committed(&client).await, before);
        let lost = "SELECT count(*) FROM info.jobs WHERE state = 'running'";
        let running = texts(client.simple_query(lost).await.expect("rows"));
        assert_eq!(running, [["0"]], "a job of a process that is gone is not said to run");
        // The names that the killed jobs held are free again.
        let again = "CALL ingest('new', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 4, replace: true}); \
                     CALL train_sae('new', 0, {d_sae: 8, epochs: 1, replace: true, resume: false})";
        client.batch_execute(again).await.expect("both jobs");
        assert_eq!(committed(&client).await, before);
    });
}
