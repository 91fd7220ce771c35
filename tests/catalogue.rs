//! What the catalogue says is so: every example runs, and the pages' tables are those of the catalogue.
//! `UPDATE_README=1` writes the tables into the pages instead.

use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use polysema::options::markdown;
use polysema::runs::INGEST;
use polysema::session::{Session, SessionOptions};
use polysema::store::Store;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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

/// A page with the text between two markers replaced.
fn with_section(page: &str, name: &str, text: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let Some((before, rest)) = page.split_once(&open) else {
        panic!("a page must have a line '{}'", open.trim_end());
    };
    let Some((_, after)) = rest.split_once(&close) else {
        panic!(
            "a page must have a line '{close}' after '{}'",
            open.trim_end()
        );
    };
    format!("{before}{open}\n{text}\n{close}{after}")
}

/// The page has this text between its two markers; with `UPDATE_README` it gets it.
fn check_section(page: &str, name: &str, text: &str) {
    let path = root().join(page);
    let found = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{page} is required at the workspace root, got {error}"));
    let expected = with_section(&found, name, text);
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, expected).expect("a writable page");
        return;
    }
    assert!(
        found == expected,
        "{page} must show the catalogue's tables, got others; write them with UPDATE_README=1 cargo test --test catalogue"
    );
}

#[test]
fn the_pages_show_the_catalogue() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("empty.store")).expect("an empty store");
    let mut functions = polysema_udfs::catalog::functions();
    functions.extend(polysema::functions::functions(&Arc::new(store)));
    let table = polysema_udfs::catalog::markdown(&functions);
    check_section("README.md", "functions", &table);
    check_section("docs/ingest.md", "ingest options", &markdown(&INGEST));
}
