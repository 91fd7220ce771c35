//! What no setting may change: every per-neuron function gives the same rows for any number of partitions and any
//! batch size, over a run and over plain tables; and memory limits are kept.

#[path = "../benches/synthetic/mod.rs"]
mod synthetic;

use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use polysema::session::{Session, SessionOptions};

/// Functions with their options, on two layers of the demo's model.
const CALLS: &[&str] = &[
    "neuron_polysemanticity()",
    "neuron_polysemanticity(2, {embedding: 'pre_mlp', linkage: 'single'})",
    "feature_clusters(1)",
    "cluster_summary(3)",
    "cluster_centroids(2)",
    "token_search('the')",
    "dendrogram_svg(1, {max_leaves: 20})",
    "linkage(2, 17)",
    "pairwise_distances(0, 5)",
    "neuron_embeddings(1, 100)",
    "dataset_examples(1)",
];

async fn session(store: &Path, memory_limit: Option<usize>) -> Result<Session> {
    let store = store.to_path_buf();
    Session::open(SessionOptions {
        store,
        memory_limit,
    })
    .await
}

async fn query(session: &Session, sql: &str) -> Result<Vec<RecordBatch>> {
    session.query(sql).await?.try_collect().await
}

async fn ingest(store: &Path) -> Result<Session> {
    let session = session(store, None).await?;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo");
    let call = format!(
        "CALL ingest('demo', '{}', '{}', {{max_documents: 60, max_examples: 12}})",
        demo.join("model").display(),
        demo.join("corpus.jsonl").display()
    );
    query(&session, &call).await?;
    Ok(session)
}

/// The rows as text, in an order of their own: without ORDER BY, partitions may answer in any.
fn rows(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default();
    let mut rows = vec![];
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(values.join(" | "));
        }
    }
    rows.sort();
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_do_not_depend_on_partitions_or_batch_size() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let session = ingest(folder.path()).await?;
    let plain = folder.path().join("plain");
    for table in ["examples", "neurons"] {
        let target = plain.join(format!("{table}.parquet"));
        let copy = format!("COPY (SELECT * FROM {table}) TO '{}'", target.display());
        query(&session, &copy).await?;
    }
    let mut expected = vec![];
    for partitions in [1, 2, 8] {
        for batch_size in [8192, 100, 1] {
            for (name, value) in [
                ("target_partitions", partitions),
                ("batch_size", batch_size),
            ] {
                query(
                    &session,
                    &format!("SET datafusion.execution.{name} = {value}"),
                )
                .await?;
            }
            let config = SessionConfig::new()
                .with_target_partitions(partitions)
                .with_batch_size(batch_size);
            let tables = SessionContext::new_with_config(config);
            polysema_udfs::register_all(&tables)?;
            for table in ["examples", "neurons"] {
                let path = plain.join(format!("{table}.parquet"));
                let path = path.to_str().expect("a path in UTF-8");
                tables
                    .register_parquet(table, path, Default::default())
                    .await?;
            }
            for (i, call) in CALLS.iter().enumerate() {
                // Batches of one row cost a hundred times the rest: one layer shows as much as the model.
                if batch_size == 1 && call.ends_with("()") {
                    continue;
                }
                let sql = format!("SELECT * FROM {call}");
                let found = rows(&query(&session, &sql).await?)?;
                let case = format!("{call}, {partitions} partitions, batches of {batch_size}");
                if expected.len() == i {
                    assert!(!found.is_empty(), "{case}");
                    expected.push(found.clone());
                }
                assert!(found == expected[i], "{case}");
                if batch_size == 100 {
                    let found = rows(&tables.sql(&sql).await?.collect().await?)?;
                    assert!(found == expected[i], "plain tables, {case}");
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn memory_is_reserved_before_it_is_taken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    drop(ingest(folder.path()).await?);
    let small = session(folder.path(), Some(8_000)).await?;
    let error = query(&small, "SELECT * FROM neuron_polysemanticity(0)")
        .await
        .expect_err("12 examples of width 128 need more than 8,000 bytes");
    let error = error.find_root();
    assert!(
        matches!(error, DataFusionError::ResourcesExhausted(_)),
        "{error}"
    );
    let message = error.to_string();
    for part in [
        "neuron_polysemanticity: ",
        "bytes are needed for the",
        "got 8000 allowed",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let enough = session(folder.path(), Some(4 << 20)).await?;
    let found = query(&enough, "SELECT * FROM neuron_polysemanticity(0)").await?;
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 512);
    Ok(())
}

/// The bytes of the first number in a refusal.
fn bytes_needed(message: &str) -> usize {
    let before = message.split(" bytes are needed").next();
    let number = before.and_then(|text| text.rsplit(' ').next());
    number.and_then(|n| n.parse().ok()).expect("a number")
}

/// A limit that the neuron of most examples just fits into, so that no other fits beside it: all of them get their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn neurons_that_fit_alone_wait_for_each_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let unlimited = ingest(folder.path()).await?;
    let call = "SELECT * FROM neuron_polysemanticity()";
    let expected = rows(&query(&unlimited, call).await?)?;
    assert_eq!(expected.len(), 4 * 512);
    let mut limit = 1;
    let (limit, found) = loop {
        let limited = session(folder.path(), Some(limit)).await?;
        query(&limited, "SET datafusion.execution.target_partitions = 4").await?;
        let plan = rows(&query(&limited, &format!("EXPLAIN {call}")).await?)?;
        assert!(
            plan.iter().any(|line| line.contains("PerNeuronExec")),
            "{plan:?}"
        );
        match query(&limited, call).await {
            Ok(found) => break (limit, found),
            Err(error) => {
                let root = error.find_root();
                assert!(
                    matches!(root, DataFusionError::ResourcesExhausted(_)),
                    "{root}"
                );
                let needed = bytes_needed(&root.to_string());
                // Only what is too large alone is refused.
                assert!(needed > limit, "{root}");
                limit = needed;
            }
        }
    };
    assert_eq!(rows(&found)?, expected);
    let limited = session(folder.path(), Some(limit)).await?;
    for _ in 0..10 {
        assert_eq!(rows(&query(&limited, call).await?)?, expected);
    }
    assert_eq!(limited.context().runtime_env().memory_pool.reserved(), 0);
    // One byte less, and the largest is refused, whoever else computes.
    let small = session(folder.path(), Some(limit - 1)).await?;
    let error = query(&small, call).await.expect_err("too large alone");
    assert_eq!(bytes_needed(&error.find_root().to_string()), limit);
    Ok(())
}

/// The matrix of these distances is twice the limit: average linkage is made from means, and its answers are the same. A
/// linkage that needs the matrix is refused.
#[tokio::test]
async fn a_neuron_of_many_examples_is_clustered_alike_in_less_memory() -> Result<()> {
    let store = tempfile::tempdir()?;
    let shape = synthetic::Shape {
        layers: 1,
        neurons: 1,
        examples: 4000,
        d: 16,
        positions: 4000,
    };
    synthetic::write(store.path(), "made", shape)?;
    let unlimited = session(store.path(), None).await?;
    let limited = session(store.path(), Some(32 << 20)).await?;
    for sql in [
        "SELECT example, cluster, is_central FROM feature_clusters(0, 0)",
        "SELECT example, cluster FROM feature_clusters(0, 0, {threshold: 0.2})",
        "SELECT example, cluster FROM feature_clusters(0, 0, {n_clusters: 37})",
        "SELECT n_clusters, round(max_distance, 5), round(mean_distance, 5), round(intra_cluster_distance, 5), \
            round(inter_cluster_distance, 5), round(silhouette, 4), round(cophenetic_correlation, 4) \
            FROM neuron_polysemanticity(0, 0)",
        "SELECT parent, cluster, size, central_example, round(dissimilarity, 4) FROM feature_splits(0, 0)",
        "SELECT count(*), max(size), round(max(dissimilarity), 4) FROM linkage(0, 0)",
        "SELECT cluster, size, round(mean_distance, 4) FROM cluster_summary(0, 0)",
    ] {
        let expected = rows(&query(&unlimited, sql).await?)?;
        assert!(!expected.is_empty(), "{sql}");
        assert_eq!(rows(&query(&limited, sql).await?)?, expected, "{sql}");
    }
    for (call, advice) in [
        (
            "linkage(0, 0, {linkage: 'ward'})",
            "(ward linkage holds all distances, average needs ",
        ),
        (
            "cluster_summary(0, 0, {linkage: 'ward', n_clusters: 3})",
            "(linkage: 'average', method: 'scc' needs ",
        ),
        (
            "pairwise_distances(0, 0)",
            "(all pairs of a neuron are held at once)",
        ),
    ] {
        let error = query(&limited, &format!("SELECT * FROM {call}")).await;
        let error = error.expect_err(call).find_root().to_string();
        assert!(error.contains(advice), "{error}");
        assert!(error.contains("got 33554432 allowed"), "{error}");
    }
    Ok(())
}

/// Benchmarks are only compiled by the tests: what they write must still be a run.
#[tokio::test]
async fn a_synthetic_run_reads_as_an_ingested_one() -> Result<()> {
    let store = tempfile::tempdir()?;
    let shape = synthetic::Shape {
        layers: 2,
        neurons: 5,
        examples: 7,
        d: 4,
        positions: 30,
    };
    synthetic::write(store.path(), "made", shape)?;
    let session = session(store.path(), None).await?;
    let counts = "SELECT count(*), count(token), count(pre_mlp), sum(n_clusters) >= 10 FROM made.examples \
        JOIN made.neuron_polysemanticity() USING (layer, neuron)";
    assert_eq!(
        rows(&query(&session, counts).await?)?,
        ["70 | 70 | 70 | true"]
    );
    Ok(())
}
