//! One engine, many sessions: settings and runs of their own, one memory limit, one state of a run per statement, views
//! of any run.

use std::path::Path;
use std::sync::Arc;

use crate::fixture;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use futures::TryStreamExt;
use futures::future::try_join_all;
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions, Session};
use polysema::store::Store;

fn engine(store: &Path, memory_limit: Option<usize>) -> Arc<Engine> {
    let options = EngineOptions {
        store: store.to_path_buf(),
        memory_limit,
        loaded_limit: None,
    };
    Engine::open(&options).expect("a store")
}

fn session(engine: &Arc<Engine>) -> Session {
    engine.session(Policy::everything()).expect("a session")
}

/// A store of the fixture's run under each of these names, its numbers shifted by the place of the name.
fn store(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("an empty store");
    for (i, name) in names.iter().enumerate() {
        fixture::ingest(&store, name, false, -60.0 * i as f32).expect("a run");
    }
    folder
}

async fn rows(session: &Session, sql: &str) -> Result<Vec<RecordBatch>> {
    session.query(sql).await?.try_collect().await
}

async fn text(session: &Session, sql: &str) -> Result<String> {
    let batches = rows(session, sql).await?;
    Ok(datafusion::arrow::util::pretty::pretty_format_batches(&batches)?.to_string())
}

async fn refused(session: &Session, sql: &str) -> String {
    let error = text(session, sql).await.expect_err(sql);
    error.strip_backtrace()
}

async fn number(session: &Session, sql: &str) -> Result<i64> {
    let batches = rows(session, sql).await?;
    Ok(batches[0].column(0).as_primitive::<Int64Type>().value(0))
}

const MERGES: &str = "SELECT neuron, step, dissimilarity FROM linkage(0) ORDER BY neuron, step";
const TOP: &str =
    "SELECT layer, neuron, example, pre_mlp[1] FROM examples WHERE layer = 0 ORDER BY 2, 3";

/// The right answer of each session is that of a session alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_sessions_at_once() -> Result<()> {
    let names = ["a", "b", "c", "d"];
    let folder = store(&names);
    let shared = engine(folder.path(), None);
    let asks = (0..20).map(|i| {
        let run = names[i % 4];
        let threshold = 0.0001 * (1 + i % 7) as f64;
        let sql = [MERGES, TOP, "SELECT count(*) FROM cluster_sizes"][i % 3];
        (run, threshold, sql)
    });
    let ask = |session: Session, run: &'static str, threshold: f64, sql: &'static str| async move {
        text(&session, &format!("SET polysema.run = '{run}'")).await?;
        text(&session, &format!("SET polysema.threshold = {threshold}")).await?;
        let mut answers = vec![];
        for _ in 0..3 {
            answers.push(text(&session, sql).await?);
        }
        Ok::<_, datafusion::error::DataFusionError>(answers)
    };
    let mut alone = vec![];
    for (run, threshold, sql) in asks.clone() {
        let own = session(&engine(folder.path(), None));
        alone.push(ask(own, run, threshold, sql).await?);
    }
    let tasks = asks.map(|(run, threshold, sql)| {
        let session = session(&shared);
        tokio::spawn(ask(session, run, threshold, sql))
    });
    let together = try_join_all(tasks).await.expect("no panic");
    for ((ask, alone), together) in asks_shown(&names).zip(&alone).zip(together) {
        assert_eq!(alone, &together?, "{ask}");
    }
    assert_ne!(alone[1], alone[4], "other runs give other rows");
    Ok(())
}

fn asks_shown<'a>(names: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    (0..20).map(|i| format!("session {i} of run {}", names[i % 4]))
}

/// What one session holds is not there for another.
#[tokio::test(flavor = "multi_thread")]
async fn one_memory_limit_for_all() -> Result<()> {
    let folder = store(&["a"]);
    let engine = engine(folder.path(), Some(32 << 20));
    let (first, second) = (session(&engine), session(&engine));
    let join = "SELECT a.v FROM generate_series(1, 1000000) a(v) JOIN generate_series(1, 1000000) b(v) ON a.v = b.v";
    // Its rows are read by nobody, so that the join keeps its table.
    let mut held = first.query(join).await?;
    assert!(held.try_next().await?.is_some());
    let reserved = second.context().runtime_env().memory_pool.reserved();
    assert!(
        reserved > 16 << 20,
        "one session sees what another holds: {reserved}"
    );
    let error = refused(&second, join).await;
    assert!(error.contains("Resources exhausted"), "{error}");
    drop(held);
    assert_eq!(
        number(&second, &format!("SELECT count(*) FROM ({join})")).await?,
        1_000_000
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_of_a_session() -> Result<()> {
    let folder = store(&["a", "b"]);
    let engine = engine(folder.path(), None);
    let (first, second) = (session(&engine), session(&engine));
    text(&first, "SET polysema.run = 'a'").await?;
    text(&first, "CREATE TABLE mine AS SELECT 1 AS x").await?;
    assert_eq!(number(&first, "SELECT count(*) FROM mine").await?, 1);
    let error = refused(&second, "SELECT * FROM mine").await;
    assert!(
        error.contains("a table of public is required, got 'mine'"),
        "{error}"
    );
    let error = refused(&second, TOP).await;
    assert!(error.contains("requires a selected run"), "{error}");
    Ok(())
}

/// A view of a run is the same whichever run is selected, and whichever was.
#[tokio::test(flavor = "multi_thread")]
async fn views_of_any_run() -> Result<()> {
    let folder = store(&["a", "b"]);
    let engine = engine(folder.path(), None);
    for view in [
        "dead_neurons",
        "cluster_sizes",
        "layer_summary",
        "polysemantic_neurons",
    ] {
        let order = "ORDER BY 1, 2, 3";
        let asker = session(&engine);
        let qualified = text(&asker, &format!("SELECT * FROM b.{view} {order}")).await?;
        text(&asker, "SET polysema.run = 'b'").await?;
        assert_eq!(
            qualified,
            text(&asker, &format!("SELECT * FROM {view} {order}")).await?
        );
        text(&asker, "SET polysema.run = 'a'").await?;
        assert_eq!(
            qualified,
            text(&asker, &format!("SELECT * FROM b.{view} {order}")).await?
        );
        // Settings are those of the statement.
        text(&asker, "SET polysema.threshold = 0.00001").await?;
        let narrow = text(&asker, &format!("SELECT * FROM b.{view} {order}")).await?;
        assert_eq!(narrow == qualified, view == "dead_neurons", "{view}");
    }
    // Two runs in one statement are not taken for one.
    let asker = session(&engine);
    let both = "SELECT (SELECT max(mean_distance) FROM a.layer_summary) = (SELECT max(mean_distance) FROM b.layer_summary)";
    let same = "SELECT (SELECT max(mean_distance) FROM a.layer_summary) = (SELECT max(mean_distance) FROM a.layer_summary)";
    assert!(text(&asker, same).await?.contains("true"));
    assert!(text(&asker, both).await?.contains("false"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_run_is_called_damaged() -> Result<()> {
    let folder = store(&["a", "b"]);
    let engine = engine(folder.path(), None);
    let asker = session(&engine);
    text(&asker, "SET polysema.run = 'a'").await?;
    std::fs::write(folder.path().join("runs/a/manifest.json"), b"{ no").expect("writable");
    for sql in [
        "SELECT * FROM dead_neurons",
        "SELECT * FROM neurons",
        "SELECT * FROM feature_clusters(0)",
        "SELECT * FROM train_sae('s', 0)",
        "SELECT * FROM b.neurons JOIN a.dead_neurons USING (layer)",
    ] {
        let error = refused(&asker, sql).await;
        assert!(error.contains("manifest.json"), "{sql}: {error}");
    }
    assert_eq!(number(&asker, "SELECT count(*) FROM b.layers").await?, 3);
    Ok(())
}

/// A replacement between the planning of two tables, and between planning and running.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_sees_one_state_of_a_run() -> Result<()> {
    let folder = store(&["a"]);
    let engine = engine(folder.path(), None);
    let asker = session(&engine);
    let states = "SELECT max(pre_mlp[1]) AS x FROM examples UNION ALL SELECT max(w_in[1]) FROM neurons \
                  UNION ALL SELECT max(dissimilarity) FROM linkage() ORDER BY x";
    let before = text(&asker, states).await?;
    let plan = asker.plan(states).await?;
    fixture::ingest(engine.store(), "a", true, -60.0)?;
    let stream = asker.execute(plan, vec![]).await?;
    let batches: Vec<_> = stream.try_collect().await?;
    let planned = datafusion::arrow::util::pretty::pretty_format_batches(&batches)?.to_string();
    assert_eq!(planned, before);
    assert_ne!(text(&asker, states).await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_described_before_it_runs() -> Result<()> {
    let folder = store(&["a", "b"]);
    let engine = engine(folder.path(), None);
    let asker = session(&engine);
    text(&asker, "SET polysema.run = 'a'").await?;
    let plan = asker
        .plan("SELECT neuron, cluster FROM feature_clusters(0, $1) WHERE example < $2 ORDER BY example")
        .await?;
    let columns: Vec<_> = plan
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    assert_eq!(columns, ["neuron", "cluster"]);
    let types = plan.get_parameter_types()?;
    assert_eq!(types["$1"], Some(DataType::Int32));
    assert_eq!(types["$2"], Some(DataType::Int32));
    let values = [1, 5].map(|v| ScalarValue::Int32(Some(v))).to_vec();
    let stream = asker.execute(plan, values).await?;
    let batches: Vec<_> = stream.try_collect().await?;
    let prepared = datafusion::arrow::util::pretty::pretty_format_batches(&batches)?.to_string();
    let direct =
        "SELECT neuron, cluster FROM feature_clusters(0, 1) WHERE example < 5 ORDER BY example";
    assert_eq!(prepared, text(&asker, direct).await?);
    // A plan means the run that was selected when it was made.
    let plan = asker.plan(MERGES).await?;
    let of_a = text(&asker, MERGES).await?;
    text(&asker, "SET polysema.run = 'b'").await?;
    let batches: Vec<_> = asker.execute(plan, vec![]).await?.try_collect().await?;
    let planned = datafusion::arrow::util::pretty::pretty_format_batches(&batches)?.to_string();
    assert_eq!(planned, of_a);
    assert_ne!(planned, text(&asker, MERGES).await?);
    Ok(())
}

/// Somebody who takes the context alone has the run selected, the views and the functions.
#[tokio::test(flavor = "multi_thread")]
async fn the_context_underneath_knows_the_run() -> Result<()> {
    let folder = store(&["a", "b"]);
    let engine = engine(folder.path(), None);
    let asker = session(&engine);
    let context = asker.context();
    let direct = |sql: &'static str| async move {
        let batches = context.sql(sql).await?.collect().await?;
        Ok::<_, datafusion::error::DataFusionError>(
            datafusion::arrow::util::pretty::pretty_format_batches(&batches)?.to_string(),
        )
    };
    for (set, run) in [
        ("SET polysema.run = 'a'", "a"),
        ("SET polysema.run = 'b'", "b"),
    ] {
        direct(set).await?;
        let own = session(&engine);
        text(&own, &format!("SET polysema.run = '{run}'")).await?;
        for sql in [TOP, MERGES, "SELECT * FROM cluster_sizes ORDER BY 1, 2, 3"] {
            assert_eq!(direct(sql).await?, text(&own, sql).await?, "{sql}");
        }
    }
    Ok(())
}

/// The only run stays a session's run when somebody else makes another.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_run_stays() -> Result<()> {
    let folder = store(&["a"]);
    let engine = engine(folder.path(), None);
    let asker = session(&engine);
    let of_a = text(&asker, TOP).await?;
    fixture::ingest(engine.store(), "b", false, -60.0)?;
    assert_eq!(text(&asker, TOP).await?, of_a);
    // A new session has to choose; so has this one, once it has chosen and taken it back.
    assert!(
        refused(&session(&engine), TOP)
            .await
            .contains("requires a selected run")
    );
    text(&asker, "SET polysema.run = 'b'").await?;
    assert_ne!(text(&asker, TOP).await?, of_a);
    text(&asker, "RESET polysema.run").await?;
    assert!(
        refused(&asker, TOP)
            .await
            .contains("requires a selected run")
    );
    Ok(())
}

/// The deepest statements that are taken, on threads with the usual stack of 2 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn deep_statements_need_no_large_stack() -> Result<()> {
    let folder = store(&["a"]);
    let engine = engine(folder.path(), None);
    let chain = |what: &str, n: usize, by: &str| vec![what; n].join(by);
    for sql in [
        format!(
            "SELECT {} AS n FROM (VALUES (CAST(1 AS BIGINT))) t(x)",
            chain("x", 290, " + ")
        ),
        format!(
            "SELECT count(*) FROM neurons WHERE {}",
            chain("neuron = 1.5", 290, " OR ")
        ),
        format!(
            "SELECT count(*) FROM ({})",
            chain("SELECT 1 AS x", 290, " UNION ALL ")
        ),
        format!(
            "SELECT count(*) FROM ({})",
            chain("SELECT 1 AS x", 290, " UNION ")
        ),
        format!(
            "SELECT CAST({} 1 {} AS BIGINT)",
            "(".repeat(40),
            ")".repeat(40)
        ),
        format!(
            "SELECT CAST({} 7 {} AS BIGINT)",
            "CASE WHEN true THEN ".repeat(40),
            "END ".repeat(40)
        ),
    ] {
        let session = session(&engine);
        let task = tokio::spawn(async move { rows(&session, &sql).await });
        let batches = task.await.expect("no panic")?;
        assert_eq!(
            batches.iter().map(|batch| batch.num_rows()).sum::<usize>(),
            1
        );
    }
    Ok(())
}

/// What the parser tries one way and then another has large frames, and is refused or not on the stack of any thread.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_often_needs_no_large_stack() -> Result<()> {
    let folder = store(&["a"]);
    let engine = engine(folder.path(), None);
    for (what, n) in [("INTERVAL (f(", 12), ("INTERVAL ", 5000), ("a.b.", 5000)] {
        let (session, sql) = (session(&engine), format!("SELECT {}1", what.repeat(n)));
        let task = tokio::spawn(async move { rows(&session, &sql).await });
        assert!(task.await.expect("no panic").is_err());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_reads_one_state() -> Result<()> {
    let folder = store(&["a", "b"]);
    let engine = engine(folder.path(), None);
    let session = session(&engine);
    rows(&session, "SET polysema.run = 'a'").await?;
    let both = "SELECT (SELECT max(pre_mlp[1]) FROM examples) AS of_table, \
                (SELECT max(dissimilarity) FROM linkage($1)) AS of_call";
    rows(&session, &format!("PREPARE q AS {both}")).await?;
    let execute = "EXECUTE q(0)";
    let before = text(&session, execute).await?;
    rows(&session, "SET polysema.run = 'b'").await?;
    assert_eq!(text(&session, execute).await?, before, "the run of PREPARE");
    fixture::ingest(engine.store(), "a", true, -30.0)?;
    assert_eq!(
        text(&session, execute).await?,
        before,
        "its state of PREPARE"
    );
    rows(&session, "DEALLOCATE q").await?;
    rows(&session, "SET polysema.run = 'a'").await?;
    rows(&session, &format!("PREPARE q AS {both}")).await?;
    assert_ne!(text(&session, execute).await?, before);
    Ok(())
}
