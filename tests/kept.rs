//! Tables that last, over sessions and processes: found after a restart, changed by many at once, whole whatever ends a
//! statement, and only for who may change the store.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::database::Db;
use polysema::policy::Policy;

const ENDLESS: &str =
    "SELECT a.v AS n FROM generate_series(1, 1000000) a(v), generate_series(1, 100000) b(v)";

/// Names of what lies below a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        found.push(path.display().to_string());
        found.extend(names(&path));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Db::open(folder.path()).await;
    first.query("CREATE SCHEMA empty").await;
    first
        .query("CREATE TABLE notes.labels AS SELECT v AS neuron, 'l' || v AS label FROM generate_series(1, 20000) t(v)")
        .await;
    first.query("CREATE TABLE gone AS SELECT 1 AS a").await;
    drop(first);
    let (one, two) = (Db::open(folder.path()).await, Db::open(folder.path()).await);
    let count = "SELECT count(*) FROM notes.labels WHERE label = 'l' || neuron";
    assert_eq!(one.integer(count).await, 20000);
    // What one session commits the other sees with its next statement.
    two.query("INSERT INTO notes.labels VALUES (0, 'l0')").await;
    assert_eq!(one.integer(count).await, 20001);
    one.query("DELETE FROM notes.labels WHERE neuron > 0").await;
    assert_eq!(two.integer(count).await, 1);
    let schemas =
        "SELECT count(*) FROM information_schema.schemata WHERE schema_name IN ('empty', 'notes')";
    assert_eq!(two.integer(schemas).await, 2);
    assert!(two.refused("SELECT * FROM gone").await.contains("'gone'"));
    two.query("DROP SCHEMA notes CASCADE").await;
    assert!(one.refused(count).await.contains("notes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_add_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(folder.path()).await;
    db.query("CREATE TABLE notes.t (who BIGINT, n BIGINT)")
        .await;
    let sessions = (0..4).map(|who| {
        let folder = folder.path().to_path_buf();
        tokio::spawn(async move {
            let db = Db::open(&folder).await;
            for n in 0..5 {
                db.query(&format!("INSERT INTO notes.t VALUES ({who}, {n})"))
                    .await;
            }
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        session.await.expect("all rows");
    }
    let all = "SELECT count(*) FROM (SELECT DISTINCT who, n FROM notes.t)";
    assert_eq!(db.integer(all).await, 20);
    assert_eq!(db.integer("SELECT count(*) FROM notes.t").await, 20);
}

/// However it ends and when, nothing of it is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_statement_leaves_what_was_there() {
    let db = Db::new().await;
    db.query("CREATE TABLE notes.t AS SELECT 7 AS n").await;
    let tables = db.session.store().root().join("tables");
    let before = names(&tables);
    let statements = [
        format!("CREATE OR REPLACE TABLE notes.t AS {ENDLESS}"),
        format!("CREATE TABLE fresh.t AS {ENDLESS}"),
        format!("INSERT INTO notes.t {ENDLESS}"),
        format!("INSERT OVERWRITE notes.t {ENDLESS}"),
    ];
    for milliseconds in [0, 3, 30, 300] {
        for statement in &statements {
            let running = db.try_query(statement);
            let running = tokio::time::timeout(Duration::from_millis(milliseconds), running).await;
            assert!(running.is_err(), "it is still running");
            assert_eq!(
                settled(&tables, &before).await,
                before,
                "{statement} after {milliseconds} ms"
            );
            assert_eq!(db.integer("SELECT sum(n) FROM notes.t").await, 7);
        }
    }
    // A writer that was given up before it began may have made its folder since.
    assert_eq!(settled(&tables, &before).await, before);
}

/// The names in a folder, once they are those expected or two seconds have gone by.
async fn settled(folder: &Path, expected: &[String]) -> Vec<String> {
    for _ in 0..100 {
        let found = names(folder);
        if found == expected {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    names(folder)
}

/// A DROP that waits for another and is given up drops nothing later.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_drop_drops_nothing() {
    let db = std::sync::Arc::new(Db::new().await);
    db.query("CREATE TABLE notes.t AS SELECT 7 AS n").await;
    let writing = std::sync::Arc::clone(&db);
    let statement = format!("INSERT INTO notes.t {ENDLESS}");
    let writing = tokio::spawn(async move { writing.try_query(&statement).await.map(|_| ()) });
    let generations = db.session.store().root().join("tables/notes/t");
    while names(&generations).len() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let dropping = db.try_query("DROP TABLE notes.t");
    let dropping = tokio::time::timeout(Duration::from_millis(100), dropping).await;
    assert!(dropping.is_err(), "it waits");
    let message = db.refused("DROP SCHEMA notes CASCADE").await;
    assert!(message.contains("tables that nobody changes are required, got notes.t"));
    writing.abort();
    assert!(writing.await.is_err(), "it was given up");
    // Who comes next waits for its end, and so did the DROP.
    db.query("INSERT INTO notes.t VALUES (1)").await;
    assert_eq!(db.integer("SELECT sum(n) FROM notes.t").await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_names_itself_and_no_other_is_lost() {
    let db = Db::new().await;
    db.query("CREATE TABLE notes.good AS SELECT 1 AS n").await;
    db.query("CREATE TABLE notes.bad AS SELECT 1 AS n").await;
    let folder = db.session.store().root().join("tables/notes/bad");
    let part = names(&folder)
        .into_iter()
        .find(|name| name.ends_with("part-0.arrow"));
    let part = part.expect("a part");
    fs::write(&part, b"no Arrow file").expect("writable");
    for statement in [
        "SELECT * FROM notes.bad",
        "INSERT INTO notes.bad VALUES (1)",
        "SELECT problem FROM (SELECT * FROM notes.bad)",
    ] {
        let message = db.refused(statement).await;
        assert!(message.contains(&part), "{statement}: {message}");
    }
    let problem = "SELECT count(*) FROM info.tables WHERE \"table\" = 'bad' AND problem LIKE '%part-0.arrow%'";
    assert_eq!(db.integer(problem).await, 1);
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'notes'";
    assert_eq!(db.integer(columns).await, 1);
    db.query("DROP TABLE notes.bad").await;
    assert_eq!(db.integer("SELECT n FROM notes.good").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_change_the_store_keeps_nothing() {
    let db = Db::new().await;
    db.query("CREATE TABLE notes.t AS SELECT 7 AS n").await;
    let tables = db.session.store().root().join("tables");
    let before = names(&tables);
    let statements = [
        "CREATE SCHEMA others",
        "CREATE TABLE others.t AS SELECT 1 AS n",
        "CREATE OR REPLACE TABLE notes.t AS SELECT 1 AS n",
        "INSERT INTO notes.t VALUES (1)",
        "INSERT OVERWRITE notes.t VALUES (1)",
        "UPDATE notes.t SET n = 1",
        "DELETE FROM notes.t",
        "DROP TABLE notes.t",
        "DROP SCHEMA notes CASCADE",
    ];
    let own = Policy {
        create_tables: true,
        ..Policy::nothing()
    };
    let jobs = Policy {
        run_jobs: true,
        ..Policy::nothing()
    };
    for (policy, may) in [(Policy::nothing(), false), (own, true), (jobs, false)] {
        let is_jobs = policy.run_jobs;
        let session = db.session.engine().session(policy).expect("a session");
        for statement in statements {
            if is_jobs && statement.starts_with("DROP SCHEMA") {
                continue;
            }
            let done = session.query(statement).await;
            let error = done.err().expect(statement).strip_backtrace();
            assert!(error.contains("a session that may"), "{statement}: {error}");
        }
        // The context underneath has the same policy.
        for statement in &statements[3..4] {
            let done = session.context().sql(statement).await;
            let done = match done {
                Ok(rows) => rows.collect().await.map(|_| ()),
                Err(error) => Err(error),
            };
            assert!(done.is_err(), "{statement}");
        }
        let own = session.query("CREATE TABLE own AS SELECT 1 AS n").await;
        assert_eq!(own.is_ok(), may);
        assert_eq!(names(&tables), before);
    }
}

/// The catalog has no rows to wait for: it makes and drops nothing, and says who does.
#[tokio::test(flavor = "multi_thread")]
async fn the_context_underneath_loses_no_table() {
    let db = Db::new().await;
    db.query("CREATE TABLE notes.t AS SELECT 7 AS n").await;
    let context = db.session.context();
    for statement in [
        "CREATE TABLE notes.u AS SELECT 1 AS n",
        "CREATE OR REPLACE TABLE notes.t AS SELECT 1 AS n",
        "DROP TABLE notes.t",
        "DELETE FROM notes.t",
        "UPDATE notes.t SET n = 1",
    ] {
        let done = match context.sql(statement).await {
            Ok(rows) => rows.collect().await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(done.is_err(), "{statement}");
        assert_eq!(db.integer("SELECT sum(n) FROM notes.t").await, 7);
    }
    let rows = context.sql("INSERT INTO notes.t VALUES (1)").await;
    rows.expect("a plan").collect().await.expect("written");
    assert_eq!(db.integer("SELECT sum(n) FROM notes.t").await, 8);
}
