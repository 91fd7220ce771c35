//! What the catalogue says is so: every example runs.

use futures::TryStreamExt;
use polysema::session::{Session, SessionOptions};

async fn rows(session: &Session, sql: &str) -> usize {
    let stream = session
        .query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let batches: Vec<_> = stream
        .try_collect()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    batches.iter().map(|batch| batch.num_rows()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_on_the_demo() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = SessionOptions {
        store: folder.path().join("demo.store"),
        memory_limit: None,
    };
    let session = Session::open(options).await.expect("an empty store");
    let demo =
        "SELECT * FROM ingest('demo', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl')";
    rows(&session, demo).await;
    rows(&session, "SET polysema.run = 'demo'").await;
    let functions = polysema_udfs::catalog::functions()
        .into_iter()
        .chain(polysema::functions::functions(session.store()));
    for function in functions {
        let n = rows(&session, function.doc.example).await;
        assert!(n > 0, "{}: the example gives rows", function.doc.name);
    }
}
