//! Tables from elsewhere: a run copied to Parquet and Arrow files and registered again answers every question as the
//! run does, in the engine's session and in a plain one with the plugin.

use std::path::Path;

use crate::database::Db;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{SortColumn, cast};
use datafusion::arrow::compute::{concat_batches, lexsort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::runs::{INGEST, IngestRequest, ingest};
use polysema::store::Store;
use polysema_udfs::calls::Implementation;

const TABLES: [&str; 3] = ["examples", "neurons", "layers"];

async fn plain(ctx: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let rows = async { ctx.sql(sql).await?.collect().await };
    rows.await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The rows as text, in an order of their own: views of text and lists are what they show.
fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let Some(first) = batches.first() else {
        return vec![];
    };
    let whole = concat_batches(&first.schema(), batches).expect("batches of one schema");
    let sorted = whole.columns().iter().filter_map(|column| {
        let kind = column.data_type();
        let key = match kind {
            DataType::Utf8View => cast(column, &DataType::Utf8).expect("text"),
            kind if kind.is_nested() => return None,
            _ => std::sync::Arc::clone(column),
        };
        Some(SortColumn {
            values: key,
            options: None,
        })
    });
    let order =
        lexsort_to_indices(&sorted.collect::<Vec<_>>(), None).expect("columns with an order");
    let sorted = take_record_batch(&whole, &order).expect("rows");
    let text = pretty_format_batches(&[sorted])
        .expect("rows that print")
        .to_string();
    // Rows that differ in lists alone have no order above.
    let mut lines: Vec<String> = text.lines().skip(3).map(str::to_string).collect();
    lines.sort();
    lines
}

/// Every question about neurons that needs no more than `examples` and `neurons`, and some of any table.
fn questions() -> Vec<String> {
    let mut questions: Vec<String> = TABLES.map(|t| format!("SELECT * FROM {t}")).to_vec();
    let neuron = ["layer", "neuron"];
    for function in polysema_udfs::catalog::functions() {
        let doc = function.doc;
        let names: Vec<_> = doc.arguments.iter().map(|argument| argument.name).collect();
        if matches!(function.implementation, Implementation::Table(_)) && names == neuron {
            assert_eq!(doc.required, 0, "{}", doc.name);
            questions.push(format!("SELECT * FROM {}()", doc.name));
            questions.push(format!("SELECT * FROM {}('blocks.1.mlp', 7)", doc.name));
            questions.push(format!("SELECT * FROM {}(0) WHERE neuron < 9", doc.name));
        }
    }
    assert!(
        questions.len() > 20,
        "the catalogue has functions of a neuron"
    );
    questions.extend(
        [
            "SELECT * FROM similar_features(1, 7, 0)",
            "SELECT * FROM coactivation(1)",
            "SELECT * FROM nearest('examples', 'pre_mlp', (SELECT pre_mlp FROM examples WHERE layer = 1 AND neuron = 7 \
             AND example = 0), 7)",
            "SELECT layer, neuron, vector_mean(pre_mlp) AS mean FROM examples GROUP BY layer, neuron",
            "SELECT layer, polysemanticity(w_in) AS p FROM neurons WHERE neuron < 20 GROUP BY layer",
            "SELECT token, polysemanticity(pre_mlp, 0.3) AS p FROM examples WHERE layer = 0 GROUP BY token",
        ]
        .map(str::to_string),
    );
    questions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_its_copies_give_the_same_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let store = Store::open(&folder.path().join("store")).expect("an empty store");
    let options = [
        ("max_documents", "24"),
        ("context", "48"),
        ("max_examples", "6"),
    ];
    let request = IngestRequest {
        run: "demo".to_string(),
        model: root.join("tests/data/demo/model"),
        corpus: root.join("tests/data/demo/corpus.jsonl"),
        options: Options::of_words(&INGEST, options).expect("options"),
        max_activations: None,
    };
    ingest(&store, &request, &JobContext::default(), &mut |_| {}).expect("a run");
    let db = Db::open(store.root()).await;
    // Fewer neurons, so that the whole can be asked often.
    db.query("SET polysema.run = 'demo'").await;
    let small = "layer < 2 AND neuron < 60";
    for (table, condition) in [
        ("examples", small),
        ("neurons", small),
        ("layers", "layer < 2"),
    ] {
        for format in ["parquet", "arrow"] {
            let path = folder.path().join(format!("{table}.{format}"));
            let sql = format!(
                "COPY (SELECT * FROM {table} WHERE {condition}) TO '{}' STORED AS {format}",
                path.display()
            );
            db.query(&sql).await;
        }
    }
    // The original, cut to the same neurons in memory.
    let original = Db::open(&folder.path().join("original")).await;
    for (table, condition) in [
        ("examples", small),
        ("neurons", small),
        ("layers", "layer < 2"),
    ] {
        let sql = format!("SELECT * FROM {table} WHERE {condition}");
        let rows = db.query(&sql).await;
        let whole = concat_batches(&rows[0].schema(), &rows).expect("batches of one schema");
        original
            .session
            .context()
            .register_batch(table, whole)
            .expect("a new table");
    }
    let mut expected = vec![];
    for sql in questions() {
        let rows = shown(&original.query(&sql).await);
        // Neurons of six examples may have no cluster that splits, and none ten times another.
        let may_be_empty = sql.contains("feature_splits(") || sql.contains("rare_features(");
        assert!(rows.len() > 1 || may_be_empty, "{sql} has rows");
        expected.push((sql, rows));
    }
    for format in ["parquet", "arrow"] {
        let path = |table: &str| folder.path().join(format!("{table}.{format}"));
        // The engine, with no run: the tables are those of the schema public.
        let engine = Db::open(&folder.path().join(format!("none_{format}"))).await;
        let alone = SessionContext::new();
        polysema_udfs::register_all(&alone).expect("functions");
        for table in TABLES {
            let create = format!(
                "CREATE EXTERNAL TABLE {table} STORED AS {format} LOCATION '{}'",
                path(table).display()
            );
            engine.query(&create).await;
            plain(&alone, &create).await;
        }
        // The engine beside a run: one's own tables are chosen by name.
        let beside = Db::open(store.root()).await;
        beside.query("SET polysema.run = 'public'").await;
        for table in TABLES {
            let create = format!(
                "CREATE EXTERNAL TABLE {table} STORED AS {format} LOCATION '{}'",
                path(table).display()
            );
            beside.query(&create).await;
        }
        for (sql, expected) in &expected {
            assert!(
                shown(&engine.query(sql).await) == *expected,
                "{format}, engine: {sql}"
            );
            assert!(
                shown(&plain(&alone, sql).await) == *expected,
                "{format}, plugin: {sql}"
            );
        }
        for (sql, expected) in &expected[..4] {
            assert!(
                shown(&beside.query(sql).await) == *expected,
                "{format}, beside a run: {sql}"
            );
        }
    }
}
