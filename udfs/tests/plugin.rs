//! The plugin alone: a plain DataFusion session with two tables in memory and no engine.

use std::sync::Arc;

use crate::support::{answer, large, partitions, session, small};
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;

#[tokio::test]
async fn a_plain_session_answers_feature_clusters() -> Result<()> {
    let ctx = session(SessionConfig::new(), &small()?)?;
    let expected = "\
+-------+--------+---------+---------+--------+-----+-------+------------+-----------+------------+
| layer | neuron | cluster | example | doc_id | pos | token | activation | context   | is_central |
+-------+--------+---------+---------+--------+-----+-------+------------+-----------+------------+
| 0     | 3      | 0       | 0       | 0      | 1   | t3_0  | 1.0        | of «t3_0» | false      |
| 0     | 3      | 0       | 1       | 1      | 1   | t3_1  | 1.0        | of «t3_1» | false      |
| 0     | 3      | 0       | 3       | 3      | 1   | t3_3  | 1.0        | of «t3_3» | true       |
| 0     | 3      | 1       | 2       | 2      | 1   | t3_2  | 1.0        | of «t3_2» | true       |
| 0     | 3      | 1       | 4       | 4      | 1   | t3_4  | 1.0        | of «t3_4» | false      |
+-------+--------+---------+---------+--------+-----+-------+------------+-----------+------------+";
    assert_eq!(
        answer(&ctx, "SELECT * FROM feature_clusters(0, 3)").await?,
        expected
    );
    Ok(())
}

#[tokio::test]
async fn every_function_of_the_catalogue_is_reachable() -> Result<()> {
    let ctx = session(SessionConfig::new(), &small()?)?;
    for function in polysema_udfs::catalog::functions() {
        let batches = ctx.sql(function.doc.example).await?.collect().await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        // Neuron (0, 1) of the examples has one example here: no pair, no merge. No key token is a word.
        let none = ["pairwise_distances", "linkage", "token_search"].contains(&function.doc.name);
        assert!(rows > 0 || none, "{} gives rows", function.doc.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_call_names_the_schema_of_its_tables() -> Result<()> {
    let ctx = session(SessionConfig::new(), &small()?)?;
    // In the other schema the neurons have the first three examples alone.
    for sql in [
        "CREATE SCHEMA other",
        "CREATE TABLE other.neurons AS SELECT * FROM neurons",
        "CREATE TABLE other.examples AS SELECT * FROM examples WHERE example < 3",
    ] {
        ctx.sql(sql).await?.collect().await?;
    }
    let both = "SELECT (SELECT count(*) FROM feature_clusters(0, 3)) AS a, \
                (SELECT count(*) FROM other.feature_clusters(0, 3)) AS b, \
                (SELECT count(*) FROM feature_clusters(0, 3, {run: 'other'})) AS c";
    assert!(answer(&ctx, both).await?.contains("| 5 | 3 | 3 |"));
    let unknown = ctx
        .sql("SELECT * FROM others.linkage(0, 3)")
        .await?
        .collect();
    let message = unknown.await.expect_err("no such schema").strip_backtrace();
    let expected = "linkage: run must be one of other, public, got 'others' (is 'other' meant?)";
    assert!(message.contains(expected), "{message}");
    Ok(())
}

#[tokio::test]
async fn settings_belong_to_the_plugin() -> Result<()> {
    let ctx = session(SessionConfig::new(), &small()?)?;
    ctx.sql("SET polysema.threshold = 0.1")
        .await?
        .collect()
        .await?;
    let sql = "SELECT count(DISTINCT \"cluster\") AS n FROM feature_clusters(0, 3)";
    assert!(answer(&ctx, sql).await?.contains("| 3 |"));
    Ok(())
}

#[tokio::test]
async fn rows_do_not_depend_on_partitions_batches_or_input_order() -> Result<()> {
    let [examples, neurons] = large(37, 9, 8)?;
    let queries = [
        "SELECT layer, neuron, \"cluster\", example, is_central FROM feature_clusters() ORDER BY neuron, example",
        "SELECT * FROM linkage() ORDER BY neuron, step",
        "SELECT * FROM neuron_polysemanticity() ORDER BY neuron",
        "SELECT * FROM cluster_summary(0) ORDER BY neuron, \"cluster\"",
        "SELECT * FROM feature_splits({upper: 0.9, lower: 0.6}) ORDER BY neuron, \"cluster\"",
        "SELECT * FROM rare_features({min_ratio: 2}) ORDER BY neuron, \"cluster\"",
        "SELECT * FROM cluster_summary({method: 'scc'}) ORDER BY neuron, \"cluster\"",
        "SELECT * FROM neuron_polysemanticity({method: 'scc'}) ORDER BY neuron",
    ];
    let mut expected: Vec<String> = Vec::new();
    for target in [1, 2, 8] {
        for batch_size in [1, 100, 8192] {
            for (parts, stride) in [(1, 1), (5, 2), (16, 5)] {
                let config = SessionConfig::new()
                    .with_target_partitions(target)
                    .with_batch_size(batch_size);
                let ctx = SessionContext::new_with_config(config);
                polysema_udfs::register_all(&ctx)?;
                for (name, table) in [("examples", &examples), ("neurons", &neurons)] {
                    let parts = partitions(table, parts, stride)?;
                    let table = MemTable::try_new(table.schema(), parts)?;
                    ctx.register_table(name, Arc::new(table))?;
                }
                for (i, sql) in queries.iter().enumerate() {
                    let came = answer(&ctx, sql).await?;
                    if i == expected.len() {
                        expected.push(came);
                    } else {
                        let place =
                            format!("{target} partitions, batches of {batch_size}, {parts} parts");
                        assert_eq!(came, expected[i], "{sql} with {place}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn memory_is_reserved_before_it_is_taken() -> Result<()> {
    let [examples, neurons] = large(1, 200, 4)?;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(150_000, 1.0)
        .build_arc()?;
    // Neither a shuffle nor the sort of the rows may be refused first.
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_sort_spill_reservation_bytes(0);
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    polysema_udfs::register_all(&ctx)?;
    ctx.register_batch("examples", examples)?;
    ctx.register_batch("neurons", neurons)?;
    let error = answer(
        &ctx,
        "SELECT example, \"cluster\" FROM feature_clusters(0, 0)",
    )
    .await
    .expect_err("a clustering larger than the pool");
    let message = error.to_string();
    let expected = "bytes are needed for the 200 examples of layer 0, neuron 0";
    assert!(message.contains("Resources exhausted"), "{message}");
    assert!(message.contains(expected), "{message}");
    assert!(message.contains("got 150000 allowed"), "{message}");
    assert!(message.contains("(method: 'scc' needs "), "{message}");
    // That method does with what there is; the merges cannot, neither from all pairs nor from means.
    let sql = "SELECT count(*) AS n FROM feature_clusters(0, 0, {method: 'scc'})";
    assert!(answer(&ctx, sql).await?.contains("| 200 |"));
    let error = answer(&ctx, "SELECT * FROM linkage(0, 0)")
        .await
        .expect_err("merges larger than the pool");
    let error = error.to_string();
    assert!(
        error.contains("linkage: ") && error.contains(expected),
        "{error}"
    );
    assert!(!error.contains("scc"), "{error}");
    Ok(())
}

#[tokio::test]
async fn explain_analyze_shows_where_the_time_went() -> Result<()> {
    let ctx = session(SessionConfig::new(), &large(20, 6, 4)?)?;
    let sql = "EXPLAIN ANALYZE SELECT example, \"cluster\" FROM feature_clusters()";
    let plan = answer(&ctx, sql).await?;
    for metric in [
        "groups=20",
        "examples=120",
        "distance_time=",
        "linkage_time=",
    ] {
        assert!(plan.contains(metric), "{metric} in {plan}");
    }
    Ok(())
}

/// Neurons that the plan's operator has worked on.
fn groups(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let counted = plan
        .metrics()
        .and_then(|metrics| metrics.sum_by_name("groups"));
    match counted {
        Some(groups) => Some(groups.as_usize()),
        None => plan.children().into_iter().find_map(groups),
    }
}

#[tokio::test]
async fn a_dropped_stream_ends_the_work() -> Result<()> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(128);
    let ctx = session(config, &large(2000, 12, 4)?)?;
    let plan = ctx
        .sql("SELECT example, \"cluster\" FROM feature_clusters()")
        .await?
        .create_physical_plan()
        .await?;
    let mut stream = datafusion::physical_plan::execute_stream(Arc::clone(&plan), ctx.task_ctx())?;
    assert!(stream.next().await.is_some(), "a first row");
    drop(stream);
    // The pool is given back by the task itself, so an empty pool means that it has ended.
    while ctx.runtime_env().memory_pool.reserved() > 0 {
        tokio::task::yield_now().await;
    }
    let groups = groups(&plan);
    assert!(
        groups.is_some_and(|groups| groups < 2000),
        "{groups:?} of 2000 neurons were worked on"
    );
    Ok(())
}
