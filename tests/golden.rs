//! Every number of a whole model against the reference results, through SQL, for both layer norm conventions.
//!
//! Runs where the reference results lie beside the project; says so where they do not.

mod database;

use database::{Db, shared};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::runs::{INGEST, IngestRequest, ingest};
use polysema::store::Store;

const NEURONS: i64 = 2048;

/// `a` and `b` are both NULL or within `tolerance`, as SQL that is true for a mismatch.
fn differs(a: &str, b: &str, tolerance: f64) -> String {
    format!("(({a} IS NULL) <> ({b} IS NULL) OR abs({a} - {b}) > {tolerance})")
}

async fn open(layer_norm: &str) -> Option<(tempfile::TempDir, Db)> {
    let golden = shared(&format!("golden/lm-{layer_norm}"));
    if !golden.exists() {
        println!("left out: no {}", golden.display());
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path()).expect("an empty store");
    let options = [
        ("context", "128"),
        ("min_tokens", "128"),
        ("activation_threshold", "0.75"),
        ("max_examples", "100"),
        ("layer_norm", layer_norm),
    ];
    let request = IngestRequest {
        run: "golden".into(),
        model: shared("gpt2-wikitext-tiny"),
        corpus: shared("wikitext-2/valid.txt"),
        options: Options::of_words(&INGEST, options).expect("valid options"),
        max_activations: None,
    };
    ingest(&store, &request, &JobContext::default(), &mut |_| {}).expect("the run");
    let db = Db::open(folder.path()).await;
    for table in ["neurons", "examples", "linkage"] {
        let file = golden.join(format!("{table}.parquet"));
        let sql = format!(
            "CREATE EXTERNAL TABLE golden_{table} STORED AS PARQUET LOCATION '{}'",
            file.display()
        );
        db.query(&sql).await;
    }
    Some((folder, db))
}

async fn activations_and_examples(db: &Db) {
    assert_eq!(db.integer("SELECT count(*) FROM neurons").await, NEURONS);
    assert_eq!(db.integer("SELECT count(*) FROM documents").await, 2483);
    assert_eq!(db.integer("SELECT count(*) FROM tokens").await, 317_824);
    db.none("max_activation within 1e-4 relative",
        "SELECT g.layer, g.neuron, n.max_activation, g.max_activation FROM golden_neurons g
         LEFT JOIN neurons n ON n.layer = g.layer AND n.neuron = g.neuron
         WHERE n.layer IS NULL OR abs(n.max_activation - g.max_activation) > 1e-4 * abs(g.max_activation)",
    )
    .await;
    let mismatches = "FROM (SELECT CAST(layer AS INT) AS layer, CAST(neuron AS INT) AS neuron, CAST(example AS INT) AS example,
                CAST(doc_id AS INT) AS doc_id, CAST(pos AS INT) AS pos, token_id, activation FROM golden_examples) g
         FULL JOIN (SELECT e.layer, e.neuron, e.example, e.doc_id, e.pos, e.activation, t.token_id
                    FROM examples e JOIN tokens t ON t.doc_id = e.doc_id AND t.pos = e.pos) e
           ON e.layer = g.layer AND e.neuron = g.neuron AND e.example = g.example
         JOIN golden_neurons n ON n.layer = coalesce(g.layer, e.layer) AND n.neuron = coalesce(g.neuron, e.neuron)
         WHERE ((e.doc_id IS DISTINCT FROM g.doc_id) OR (e.pos IS DISTINCT FROM g.pos) OR (e.token_id IS DISTINCT FROM g.token_id)
                OR abs(e.activation - g.activation) > 1e-4 * abs(g.activation))";
    db.none(
        "example lists",
        &format!("SELECT g.*, e.* {mismatches} AND n.n_borderline = 0"),
    )
    .await;
    db.query(&format!(
        "CREATE TABLE differing AS SELECT DISTINCT n.layer, n.neuron {mismatches}"
    ))
    .await;
    let exceptions = db.integer("SELECT count(*) FROM differing").await;
    println!(
        "  neurons whose example list differs (all with an example at the threshold): {exceptions} of {NEURONS}"
    );
}

async fn metrics_and_partitions(db: &Db, embedding: &str, suffix: &str) {
    let options = format!("{{embedding: '{embedding}'}}");
    let same_lists =
        "NOT EXISTS (SELECT 1 FROM differing d WHERE d.layer = g.layer AND d.neuron = g.neuron)";
    let cut = format!("{same_lists} AND g.gap{suffix} > 1e-5");
    let join = format!(
        "FROM golden_neurons g LEFT JOIN neuron_polysemanticity({options}) p ON p.layer = g.layer AND p.neuron = g.neuron"
    );
    let distances = ["max_distance", "mean_distance"]
        .map(|c| differs(&format!("p.{c}"), &format!("g.{c}{suffix}"), 1e-5));
    db.none(&format!("{embedding}: distances within 1e-5"),
        &format!(
            "SELECT g.layer, g.neuron, p.n_examples, g.n_examples, p.max_distance, g.max_distance{suffix}, p.mean_distance,
                    g.mean_distance{suffix} {join}
             WHERE {same_lists} AND ((p.n_examples IS DISTINCT FROM CAST(g.n_examples AS INT)) OR {})",
            distances.join(" OR ")
        ),
    )
    .await;
    let clusters = ["intra_cluster_distance", "inter_cluster_distance"]
        .map(|c| differs(&format!("p.{c}"), &format!("g.{c}{suffix}"), 1e-5));
    db.none(&format!("{embedding}: clusters and their distances within 1e-5"),
        &format!(
            "SELECT g.layer, g.neuron, p.*, g.n_clusters{suffix} {join}
             WHERE {cut} AND ((p.n_clusters IS DISTINCT FROM CAST(g.n_clusters{suffix} AS INT)) OR {})",
            clusters.join(" OR ")
        ),
    )
    .await;
    let compared = db
        .integer(&format!(
            "SELECT count(*) FROM golden_neurons g WHERE {cut}"
        ))
        .await;
    println!("  {embedding}: metrics compared for {compared} of {NEURONS} neurons");
}

async fn partitions(db: &Db) {
    db.none("cluster of every example",
        "SELECT g.layer, g.neuron, g.example, c.cluster, g.cluster FROM golden_examples g
         JOIN golden_neurons n ON n.layer = g.layer AND n.neuron = g.neuron
         LEFT JOIN feature_clusters() c ON c.layer = g.layer AND c.neuron = g.neuron AND c.example = g.example
         WHERE n.gap > 1e-5 AND (c.cluster IS DISTINCT FROM CAST(g.cluster AS INT))
           AND NOT EXISTS (SELECT 1 FROM differing d WHERE d.layer = g.layer AND d.neuron = g.neuron)",
    )
    .await;
}

/// Five examples of one neuron have the same embedding: the order in which they merge, at distance 0, is anybody's.
async fn merges(db: &Db) {
    let compared = db.integer("SELECT count(*) FROM golden_linkage").await;
    assert_eq!(compared, 999, "merges of the twelve neurons");
    db.none(
        "merges of the twelve neurons",
        "SELECT g.*, l.* FROM golden_linkage g
         LEFT JOIN linkage() l ON l.layer = g.layer AND l.neuron = g.neuron AND l.step = g.step
         WHERE l.step IS NULL OR l.size <> g.size OR abs(l.dissimilarity - g.dissimilarity) > 1e-5
            OR (g.dissimilarity > 1e-6 AND (l.cluster1 <> g.cluster1 OR l.cluster2 <> g.cluster2))",
    )
    .await;
}

/// Sum of the embedding plus the bias is the pre-activation: the activation follows from it by the model's `gelu_new`.
async fn embeddings_sum_to_the_pre_activation(db: &Db) {
    let stored = db.integer("SELECT count(*) FROM examples").await;
    let sql = "WITH pre AS (
           SELECT e.layer, e.neuron, e.example, e.activation, array_sum(neuron_embedding(e.pre_mlp, n.w_in)) + n.b_in AS x
           FROM examples e JOIN neurons n ON n.layer = e.layer AND n.neuron = e.neuron)
         SELECT * FROM pre
         WHERE x IS NULL OR abs(0.5 * x * (1 + tanh(sqrt(2 / pi()) * (x + 0.044715 * x * x * x))) - activation) > 1e-4 * greatest(1, abs(activation))";
    db.none("sum(e) + b is the pre-activation", sql).await;
    println!("  sum(e) + b gives the stored activation on all {stored} examples");
}

/// Numbers: tests/reference/scc_agreement.py, NumPy 2, SciPy 1.17 and scikit-learn 1.9, in float64.
async fn sub_cluster_components(db: &Db) {
    let report = include_str!("../sql/reports/scc_agreement.sql");
    let found = db.query(report).await;
    println!("{}", pretty_format_batches(&found).expect("printable"));
    assert_eq!(
        found[0].column(0).as_primitive::<Int64Type>().value(0),
        NEURONS
    );
    for (column, expected) in [
        (1, 0.965784),
        (2, 1.0),
        (3, 0.884277),
        (4, 3.264648),
        (5, 3.212402),
        (6, 0.931152),
    ] {
        let value = found[0]
            .column(column)
            .as_primitive::<Float64Type>()
            .value(0);
        let name = found[0].schema().field(column).name().clone();
        // One neuron in 2,048 may be cut to another side.
        assert!(
            (value - expected).abs() < 1e-3,
            "{name}: {value}, expected {expected}"
        );
    }
}

/// Table 1 of the paper for this model, against summary.json: medians and means of every metric.
async fn table1(db: &Db, layer_norm: &str) {
    let path = shared(&format!("golden/lm-{layer_norm}/summary.json"));
    let text = std::fs::read_to_string(path).expect("the reference summary");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let report = include_str!("../sql/reports/table1.sql").replace(":n_clusters", "5");
    let found = db
        .query(&format!("SELECT * FROM ({report}) WHERE cut = 'threshold'"))
        .await;
    println!("{}", pretty_format_batches(&found).expect("printable"));
    let mut compared = 0;
    for batch in &found {
        for row in 0..batch.num_rows() {
            let metric = batch.column(1).as_string::<i32>().value(row);
            for (i, (statistic, embedding)) in [
                ("median", "neuron"),
                ("median", "pre_mlp"),
                ("mean", "neuron"),
                ("mean", "pre_mlp"),
            ]
            .into_iter()
            .enumerate()
            {
                let value = batch.column(i + 2).as_primitive::<Float64Type>().value(row);
                let expected = summary["table1"][statistic][metric][embedding].as_f64();
                let expected = expected.expect("a figure of the summary");
                assert!(
                    (value - expected).abs() < 1e-5,
                    "{statistic} {metric} of {embedding}: {value}, expected {expected}"
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 20, "five metrics, four figures each");
}

async fn compare(layer_norm: &str) {
    let Some((_folder, db)) = open(layer_norm).await else {
        return;
    };
    println!("checked against golden/lm-{layer_norm}:");
    activations_and_examples(&db).await;
    metrics_and_partitions(&db, "neuron", "").await;
    metrics_and_partitions(&db, "pre_mlp", "_pre_mlp").await;
    partitions(&db).await;
    merges(&db).await;
    embeddings_sum_to_the_pre_activation(&db).await;
    table1(&db, layer_norm).await;
    if layer_norm == "folded" {
        sub_cluster_components(&db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folded() {
    compare("folded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw() {
    compare("raw").await;
}
