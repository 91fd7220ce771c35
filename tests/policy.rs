//! What a session may do is fixed by who opens it: under a policy that forbids everything no statement and no function
//! reads, makes or changes a file, and no SET changes that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fixture;
use datafusion::error::Result;
use futures::TryStreamExt;
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions, Session};

/// Every file below a folder, with its bytes and the time of its last change.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let changed = fs::metadata(&path)
            .and_then(|data| data.modified())
            .expect("a time");
        if path.is_dir() {
            found.insert(path.clone(), (vec![], changed));
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), (fs::read(&path).expect("a file"), changed));
        }
    }
    found
}

async fn run(session: &Session, sql: &str) -> Result<usize> {
    let batches: Vec<_> = session.query(sql).await?.try_collect().await?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

/// A folder with a store, a model, a corpus and a table, and the engine over the store.
fn workplace() -> (tempfile::TempDir, Arc<Engine>) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo");
    fs::create_dir(folder.path().join("model")).expect("writable");
    for name in [
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "corpus.jsonl",
    ] {
        fs::copy(root.join(name), folder.path().join(name)).expect("a copy");
    }
    fs::write(folder.path().join("t.csv"), "x\n1\n").expect("writable");
    fs::create_dir(folder.path().join("table")).expect("writable");
    fs::write(folder.path().join("table/t.csv"), "x\n1\n").expect("writable");
    let store = folder.path().join("store");
    fixture::ingest(
        &polysema::store::Store::open(&store).expect("a store"),
        "demo",
        false,
        0.0,
    )
    .expect("a run");
    let options = EngineOptions {
        store,
        memory_limit: None,
        loaded_limit: None,
    };
    let engine = Engine::open(&options).expect("a store");
    (folder, engine)
}

const REFUSED: &str = "a session that may";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_made_or_changed() {
    let (folder, engine) = workplace();
    let session = engine.session(Policy::nothing()).expect("a session");
    let everything = engine.session(Policy::everything()).expect("a session");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (model, corpus, csv, table) = (at("model"), at("corpus.jsonl"), at("t.csv"), at("table/"));
    let rows = "(SELECT pre_mlp FROM examples)";
    // What belongs to the engine is made before.
    run(&everything, "SELECT count(*) FROM neurons")
        .await
        .expect("rows");
    let before = files(folder.path());
    let refused = [
        format!("SELECT * FROM ingest('new', '{model}', '{corpus}')"),
        format!("CALL ingest('new', '{model}', '{corpus}')"),
        format!("SELECT * FROM activations('{model}', '{corpus}', 'blocks.0.mlp.out')"),
        format!("SELECT * FROM import_run('new', '{table}')"),
        format!("SELECT * FROM train_mlp('new', '{table}')"),
        "SELECT * FROM train_sae('new', 0)".to_string(),
        format!("SELECT * FROM train_sae('new', {rows})"),
        format!(
            "SELECT * FROM train_sae('new', (SELECT vector FROM activations('{model}', '{corpus}', 'blocks.0.mlp.out')))"
        ),
        format!("SELECT * FROM import_sae('new', '{table}', {rows})"),
        format!("SELECT * FROM export_sae('s', '{}')", at("exported")),
        "SELECT * FROM sae_metrics('s')".to_string(),
        format!(
            "SELECT * FROM sae_metrics('s', {{corpus: '{corpus}', model: '{model}', hook: 'blocks.0.mlp.out'}})"
        ),
        format!("SELECT * FROM '{csv}'"),
        format!("SELECT * FROM '{table}'"),
        "SELECT * FROM 'none.csv'".to_string(),
        format!("DESCRIBE '{csv}'"),
        format!("COPY neurons TO '{}'", at("new.parquet")),
        format!("COPY (SELECT 1) TO '{csv}'"),
        format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{csv}'"),
        format!("COPY neurons TO '{table}' STORED AS CSV PARTITIONED BY (layer)"),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{csv}'"),
        format!(
            "CREATE EXTERNAL TABLE t (x INT) STORED AS CSV LOCATION '{}'",
            at("made/")
        ),
        "CREATE TABLE t AS SELECT 1".to_string(),
        "CREATE VIEW v AS SELECT 1".to_string(),
        "CREATE SCHEMA s".to_string(),
        "CREATE DATABASE d".to_string(),
        "DROP TABLE neurons".to_string(),
        "DROP VIEW dead_neurons".to_string(),
        "DROP SCHEMA demo CASCADE".to_string(),
        "SELECT * FROM drop_run('demo')".to_string(),
        "SELECT * FROM drop_sae('s')".to_string(),
        "SELECT * FROM drop_model('m')".to_string(),
        "PREPARE p AS SELECT * FROM train_sae('new', 0)".to_string(),
    ];
    for sql in &refused {
        // A statement is prepared with what it may not do, and refused when it is executed.
        let outcome = match sql.starts_with("PREPARE") {
            true => {
                run(&session, sql).await.expect("prepared");
                run(&session, "EXECUTE p").await
            }
            false => run(&session, sql).await,
        };
        let error = outcome.expect_err(sql).strip_backtrace();
        assert!(error.contains(REFUSED), "{sql}: {error}");
        assert_eq!(files(folder.path()), before, "{sql}");
    }
    for sql in [
        "SET polysema.allow_jobs = true",
        "SET datafusion.runtime.memory_limit = '1G'",
        "SET datafusion.runtime.temp_directory = '/tmp'",
        "SET polysema.threshold = 0.1",
        "RESET polysema.threshold",
        "RESET datafusion.execution.batch_size",
    ] {
        let error = run(&session, sql).await.expect_err(sql).strip_backtrace();
        assert!(
            error.contains("a setting that this session may change is required"),
            "{sql}: {error}"
        );
    }
    // The store is read, and nothing is kept beside it.
    for sql in [
        "SELECT count(*) FROM neurons",
        "SELECT count(*) FROM dead_neurons",
        "SELECT count(*) FROM feature_clusters()",
        "SELECT count(*) FROM similar_features(0, 1, 0)",
        "SELECT count(*) FROM info.runs",
        "EXPLAIN SELECT * FROM cluster_sizes",
    ] {
        run(&session, sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(files(folder.path()), before);
}

/// Every function of the catalogue: its example either reads the store alone or is refused.
#[tokio::test(flavor = "multi_thread")]
async fn every_function_obeys() {
    let (folder, engine) = workplace();
    let session = engine.session(Policy::nothing()).expect("a session");
    let before = files(folder.path());
    let mut refused = vec![];
    let functions = polysema_udfs::catalog::functions()
        .into_iter()
        .chain(polysema::functions::functions(engine.store()));
    for function in functions {
        let example = function.doc.example.trim_start_matches("EXPLAIN ");
        if let Err(error) = run(&session, example).await
            && error.strip_backtrace().contains(REFUSED)
        {
            refused.push(function.doc.name);
        }
        assert_eq!(files(folder.path()), before, "{example}");
    }
    for name in [
        "ingest",
        "import_run",
        "activations",
        "train_mlp",
        "train_sae",
        "import_sae",
        "export_sae",
    ] {
        assert!(refused.contains(&name), "{name} is not among {refused:?}");
    }
}

/// Those who take the context underneath cannot do more.
#[tokio::test(flavor = "multi_thread")]
async fn the_context_underneath_obeys() {
    let (folder, engine) = workplace();
    let session = engine.session(Policy::nothing()).expect("a session");
    let before = files(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    for sql in [
        format!("COPY (SELECT 1) TO '{}'", at("t.csv")),
        format!(
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{}'",
            at("t.csv")
        ),
        "CREATE TABLE t AS SELECT 1".to_string(),
        "SELECT * FROM train_sae('new', 0)".to_string(),
        format!(
            "SELECT * FROM ingest('new', '{}', '{}')",
            at("model"),
            at("corpus.jsonl")
        ),
    ] {
        let outcome = match session.context().sql(&sql).await {
            Ok(rows) => rows.collect().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = outcome.expect_err(&sql).strip_backtrace();
        assert!(error.contains(REFUSED), "{sql}: {error}");
        assert_eq!(files(folder.path()), before, "{sql}");
    }
}

/// Those of DataFusion open their file by themselves, to read it and to write it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_tables_without_an_end() {
    let (folder, engine) = workplace();
    let analyst = Policy {
        create_tables: true,
        settings: vec!["polysema.".to_string()],
        ..Policy::nothing()
    };
    let before = files(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (csv, new) = (at("t.csv"), at("new.json"));
    let unbounded = [
        format!("CREATE UNBOUNDED EXTERNAL TABLE t (x VARCHAR) STORED AS CSV LOCATION '{csv}'"),
        format!("CREATE UNBOUNDED EXTERNAL TABLE t (x VARCHAR) STORED AS JSON LOCATION '{new}'"),
        format!(
            "CREATE EXTERNAL TABLE t (x VARCHAR) STORED AS CSV LOCATION '{csv}' OPTIONS ('unbounded' 'true')"
        ),
    ];
    let bounded = format!("CREATE EXTERNAL TABLE t (x VARCHAR) STORED AS CSV LOCATION '{csv}'");
    for policy in [analyst, Policy::everything()] {
        let may_read = policy.read_files;
        let session = engine.session(policy).expect("a session");
        for sql in unbounded.iter().chain((!may_read).then_some(&bounded)) {
            let below = match session.context().sql(sql).await {
                Ok(rows) => rows.collect().await.map(|_| 0),
                Err(error) => Err(error),
            };
            for outcome in [run(&session, sql).await, below] {
                let error = outcome.expect_err(sql).strip_backtrace();
                let expected = match may_read {
                    false => "a session that may read files is required",
                    true if sql.contains("OPTIONS") => "unbounded",
                    true => "files that end are required, got an UNBOUNDED table",
                };
                assert!(error.contains(expected), "{sql}: {error}");
            }
            assert!(run(&session, "SELECT * FROM public.t").await.is_err());
            let insert = "INSERT INTO public.t VALUES ('x')";
            assert!(run(&session, insert).await.is_err());
        }
    }
    assert_eq!(files(folder.path()), before);
}

/// A table made by who may is written by nobody who may not.
#[tokio::test(flavor = "multi_thread")]
async fn each_permission_stands_alone() {
    let (folder, engine) = workplace();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let reads = Policy {
        read_files: true,
        create_tables: true,
        settings: vec!["polysema.".to_string()],
        ..Policy::nothing()
    };
    let session = engine.session(reads).expect("a session");
    let create = format!(
        "CREATE EXTERNAL TABLE t (x INT) STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true')",
        at("table/")
    );
    let before = files(folder.path());
    run(&session, &create).await.expect("a table");
    assert_eq!(run(&session, "SELECT * FROM t").await.expect("rows"), 1);
    run(&session, "SET polysema.threshold = 0.1")
        .await
        .expect("a setting");
    for sql in [
        "INSERT INTO t VALUES (1)".to_string(),
        format!("COPY t TO '{}'", at("t.csv")),
    ] {
        let error = run(&session, &sql).await.expect_err(&sql).strip_backtrace();
        assert!(
            error.contains("a session that may write files is required"),
            "{sql}: {error}"
        );
    }
    // What a user forbids itself it may allow itself again; what the policy forbids it may not.
    for set in ["false", "true"] {
        run(&session, &format!("SET polysema.allow_jobs = {set}"))
            .await
            .expect("a setting");
        let ingest = format!(
            "SELECT * FROM ingest('new', '{}', '{}')",
            at("model"),
            at("corpus.jsonl")
        );
        let error = run(&session, &ingest)
            .await
            .expect_err("forbidden")
            .strip_backtrace();
        assert!(
            error.contains("a session that may run jobs is required"),
            "{error}"
        );
    }
    assert_eq!(files(folder.path()), before);
    let writes = Policy {
        write_files: true,
        ..Policy::nothing()
    };
    let session = engine.session(writes).expect("a session");
    run(
        &session,
        &format!("COPY (SELECT 1 AS x) TO '{}'", at("new.csv")),
    )
    .await
    .expect("a file");
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{}'",
        at("new.csv")
    );
    let error = run(&session, &create)
        .await
        .expect_err("forbidden")
        .strip_backtrace();
    assert!(error.contains(REFUSED), "{error}");
}
