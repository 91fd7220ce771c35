//! Every number of a whole model against the reference results, through SQL, for both layer norm conventions: of the
//! bundled model on its corpus, and of the larger one whose results lie beside the project, where they do.
//!
//! Numbers: tests/reference/demo_golden.py (tests/data/golden), PyTorch, SciPy 1.17 and scikit-learn 1.9 in float64.

use std::path::PathBuf;

use crate::database::{Db, root, shared};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::runs::{INGEST, IngestRequest, ingest};
use polysema::store::Store;

const NEURONS: i64 = 2048;

/// Reference results: `neurons`, `examples` and `linkage`, of all neurons or some, and a summary of all.
struct Golden {
    folder: PathBuf,
    model: PathBuf,
    corpus: PathBuf,
    layer_norm: &'static str,
    /// Tokens of a document at most, and at least.
    tokens: [&'static str; 2],
    summary: serde_json::Value,
}

impl Golden {
    fn read(self) -> Self {
        let text = std::fs::read_to_string(self.folder.join("summary.json"));
        let summary = serde_json::from_str(&text.expect("the reference summary")).expect("JSON");
        Self { summary, ..self }
    }

    /// The bundled model on its corpus.
    fn bundled(layer_norm: &'static str) -> Self {
        let golden = Self {
            folder: root(&format!("tests/data/golden/lm-{layer_norm}")),
            model: root("tests/data/demo/model"),
            corpus: root("tests/data/demo/corpus.jsonl"),
            layer_norm,
            tokens: ["48", "1"],
            summary: serde_json::Value::Null,
        };
        golden.read()
    }

    /// The results beside the project.
    fn beside(layer_norm: &'static str) -> Option<Self> {
        let golden = Self {
            folder: shared(&format!("golden/lm-{layer_norm}")),
            model: shared("gpt2-wikitext-tiny"),
            corpus: shared("wikitext-2/valid.txt"),
            layer_norm,
            tokens: ["128", "128"],
            summary: serde_json::Value::Null,
        };
        golden.folder.exists().then(|| golden.read())
    }

    fn count(&self, name: &str) -> i64 {
        self.summary[name].as_i64().expect(name)
    }

    async fn open(&self) -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("an empty store");
        let options = [
            ("context", self.tokens[0]),
            ("min_tokens", self.tokens[1]),
            ("activation_threshold", "0.75"),
            ("max_examples", "100"),
            ("layer_norm", self.layer_norm),
        ];
        let request = IngestRequest {
            run: "golden".into(),
            model: self.model.clone(),
            corpus: self.corpus.clone(),
            options: Options::of_words(&INGEST, options).expect("valid options"),
            max_activations: None,
        };
        ingest(&store, &request, &JobContext::default(), &mut |_| {}).expect("the run");
        let db = Db::open(folder.path()).await;
        for table in ["neurons", "examples", "linkage"] {
            let file = self.folder.join(format!("{table}.parquet"));
            let sql = format!(
                "CREATE EXTERNAL TABLE golden_{table} STORED AS PARQUET LOCATION '{}'",
                file.display()
            );
            db.query(&sql).await;
        }
        (folder, db)
    }
}

/// `a` and `b` are both NULL or within `tolerance`, as SQL that is true for a mismatch.
fn differs(a: &str, b: &str, tolerance: f64) -> String {
    format!("(({a} IS NULL) <> ({b} IS NULL) OR abs({a} - {b}) > {tolerance})")
}

async fn activations_and_examples(golden: &Golden, db: &Db) {
    assert_eq!(db.integer("SELECT count(*) FROM neurons").await, NEURONS);
    for table in ["documents", "tokens"] {
        let n = db.integer(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(n, golden.count(table), "{table}");
    }
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
    assert!(compared > 500, "merges of {compared}");
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

/// Of the results beside the project: tests/reference/scc_agreement.py, in float64.
async fn sub_cluster_components(golden: &Golden, db: &Db) {
    let beside = serde_json::json!({
        "neurons": NEURONS,
        "figures": [0.965784, 1.0, 0.884277, 3.264648, 3.212402, 0.931152],
    });
    let expected = golden.summary.get("scc").unwrap_or(&beside);
    let report = include_str!("../sql/reports/scc_agreement.sql");
    let found = db.query(report).await;
    println!("{}", pretty_format_batches(&found).expect("printable"));
    let neurons = found[0].column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(Some(neurons), expected["neurons"].as_i64());
    let figures = expected["figures"].as_array().expect("six figures");
    assert_eq!(figures.len(), 6);
    for (column, expected) in found[0].columns()[1..].iter().zip(figures) {
        let (value, expected) = (
            column.as_primitive::<Float64Type>().value(0),
            expected.as_f64(),
        );
        // One neuron in 2,048 may be cut to another side.
        let near = expected.is_some_and(|expected| (value - expected).abs() < 1e-3);
        assert!(near, "{value}, expected {expected:?}");
    }
}

/// Table 1 of the paper for this model, against summary.json: medians and means of every metric.
async fn table1(golden: &Golden, db: &Db) {
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
                let expected = golden.summary["table1"][statistic][metric][embedding].as_f64();
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

async fn compare(golden: Golden) {
    let (_folder, db) = golden.open().await;
    println!("checked against {}:", golden.folder.display());
    activations_and_examples(&golden, &db).await;
    metrics_and_partitions(&db, "neuron", "").await;
    metrics_and_partitions(&db, "pre_mlp", "_pre_mlp").await;
    partitions(&db).await;
    merges(&db).await;
    embeddings_sum_to_the_pre_activation(&db).await;
    table1(&golden, &db).await;
    if golden.layer_norm == "folded" {
        sub_cluster_components(&golden, &db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folded() {
    compare(Golden::bundled("folded")).await;
    if let Some(beside) = Golden::beside("folded") {
        compare(beside).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw() {
    compare(Golden::bundled("raw")).await;
    if let Some(beside) = Golden::beside("raw") {
        compare(beside).await;
    }
}

/// SmolLM2-135M-Instruct, a file of 98 MB that is no part of the project, where `POLYSEMA_SMOLLM2` says it is: as GGUF or
/// as Hugging Face's folder of the same numbers. PyTorch's result lies with the others beside the project.
#[tokio::test(flavor = "multi_thread")]
async fn the_cross_entropy_of_smollm2() {
    let corpus = shared("wikitext-2/valid.txt");
    let Some(model) = std::env::var_os("POLYSEMA_SMOLLM2").filter(|_| corpus.exists()) else {
        return;
    };
    let db = Db::new().await;
    let rows = db
        .numbers(&format!(
            "SELECT count(*), avg(loss) FROM token_losses('{}', '{}', {{context: 128, min_tokens: 128, max_documents: 400}})",
            PathBuf::from(model).display(),
            corpus.display()
        ))
        .await;
    assert_eq!(rows[0][0], 400.0 * 127.0);
    let loss = rows[0][1];
    assert!((loss - 3.84457).abs() < 1e-5, "{loss}");
}
