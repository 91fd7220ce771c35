//! Sparse autoencoders from end to end: interrupted trainings go on to the same bits, latents are neurons of a run, and
//! what they do to a language model is measured.

#[path = "sae/interrupted.rs"]
mod interrupted;

use std::path::{Path, PathBuf};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use polysema::saes::exchange::{SaeConfig, SaeFile, write_saelens};
use polysema::saes::load;
use polysema::session::{Session, SessionOptions};
use polysema_udfs::kernels::sae::{Sae, Variant};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

struct Db {
    session: Session,
    folder: tempfile::TempDir,
}

impl Db {
    /// A run of the demo's model over the first documents of its corpus.
    async fn with_demo() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SessionOptions {
            store: folder.path().join("s"),
            memory_limit: None,
        };
        let session = Session::open(options).await.expect("an empty store");
        let db = Self { session, folder };
        let (model, corpus) = (
            root("tests/data/demo/model"),
            root("tests/data/demo/corpus.jsonl"),
        );
        db.query(&format!(
            "SELECT * FROM ingest('demo', '{}', '{}', {{max_documents: 40}})",
            model.display(),
            corpus.display()
        ))
        .await;
        db
    }

    async fn query(&self, sql: &str) -> Vec<RecordBatch> {
        let rows = match self.session.query(sql).await {
            Ok(stream) => stream.try_collect().await,
            Err(error) => Err(error),
        };
        rows.unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    async fn refused(&self, sql: &str) -> String {
        let error = match self.session.query(sql).await {
            Ok(stream) => stream.try_collect::<Vec<_>>().await.expect_err(sql),
            Err(error) => error,
        };
        error.strip_backtrace()
    }

    async fn integer(&self, sql: &str) -> i64 {
        let rows = self
            .query(&format!("SELECT CAST(x AS BIGINT) FROM ({sql}) AS t(x)"))
            .await;
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    async fn number(&self, sql: &str) -> f64 {
        let rows = self
            .query(&format!("SELECT CAST(x AS DOUBLE) FROM ({sql}) AS t(x)"))
            .await;
        rows[0].column(0).as_primitive::<Float64Type>().value(0)
    }

    async fn text(&self, sql: &str) -> String {
        let rows = self.query(sql).await;
        pretty_format_batches(&rows).expect("printable").to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latents_are_neurons_of_the_run() {
    let db = Db::with_demo().await;
    let neurons = "SELECT * FROM neuron_polysemanticity() WHERE layer < 4 ORDER BY layer, neuron";
    let before = db.text(neurons).await;
    let d_model = db.integer("SELECT d_in FROM layers WHERE layer = 0").await;
    db.query("SELECT * FROM train_sae('s', 2, {d_sae: 96, epochs: 3, l1: 0.001})")
        .await;
    // A layer more; the others are as they were.
    assert_eq!(
        db.integer("SELECT layer FROM layers WHERE name = 's' AND kind = 'sae'")
            .await,
        4
    );
    assert_eq!(db.text(neurons).await, before);
    assert_eq!(
        db.integer("SELECT count(*) FROM neurons WHERE layer = 4")
            .await,
        96
    );
    assert_eq!(
        db.integer("SELECT neurons FROM polysema.info.runs").await,
        4 * 512 + 96
    );
    // What a latent gets and what it looks for, as of any neuron.
    let off = db
        .number(
            "SELECT max(abs(e.activation - sum_e - n.b_in))
             FROM (SELECT neuron, example, sum(x) AS sum_e
                   FROM (SELECT neuron, example, unnest(embedding) AS x FROM neuron_embeddings('s'))
                   GROUP BY neuron, example) v
             JOIN examples e ON e.layer = 4 AND e.neuron = v.neuron AND e.example = v.example
             JOIN neurons n ON n.layer = 4 AND n.neuron = v.neuron",
        )
        .await;
    assert!(off < 1e-4, "{off}");
    // The examples are the documents of the corpus, their activations the codes of their vectors.
    let latent = db
        .integer(
            "SELECT neuron FROM neurons WHERE layer = 4 ORDER BY n_examples DESC, neuron LIMIT 1",
        )
        .await;
    for function in [
        "feature_clusters",
        "dataset_examples",
        "cluster_summary",
        "linkage",
    ] {
        let sql = format!("SELECT count(*) FROM {function}('s', {latent})");
        assert!(db.integer(&sql).await > 0, "{function}");
    }
    let sql = format!(
        "SELECT count(*) FROM similar_features('s', {latent}, 0, {{k: 3, min_similarity: -1}})"
    );
    assert!(db.integer(&sql).await > 0);
    let wrong = db
        .integer(
            "SELECT count(*)
             FROM (SELECT neuron, activation, unnest(sae_encode('s', pre_mlp)) AS code FROM examples WHERE layer = 4)
             WHERE code['latent'] = neuron AND abs(code['activation'] - activation) > 1e-4",
        )
        .await;
    assert_eq!(wrong, 0);
    assert_eq!(
        db.integer(
            "SELECT count(*) FROM examples e JOIN tokens t ON t.doc_id = e.doc_id AND t.pos = e.pos
                    WHERE e.layer = 4 AND t.token IS DISTINCT FROM e.token"
        )
        .await,
        0
    );
    // In place of itself, under the same number; another one gets the next.
    db.query("SELECT * FROM train_sae('s', 2, {d_sae: 32, replace: true})")
        .await;
    db.query("SELECT * FROM train_sae('t', 'blocks.1.mlp', {hook: 'resid.post', d_sae: 16})")
        .await;
    let layers = db
        .text("SELECT layer, name, n_neurons FROM layers WHERE layer > 3 ORDER BY layer")
        .await;
    assert!(
        layers.contains("| 4     | s    | 32 ") && layers.contains("| 5     | t    | 16 "),
        "{layers}"
    );
    assert_eq!(
        db.integer("SELECT d_in FROM layers WHERE name = 't'").await,
        d_model
    );
    let matches =
        "SELECT count(*) FROM sae_matches('s', 'blocks.2.mlp') WHERE decoder_cosine IS NOT NULL";
    assert_eq!(db.integer(matches).await, 32);
    let message = db
        .refused("SELECT * FROM train_sae('blocks.2.mlp', 2)")
        .await;
    assert!(message.contains("a sae name of letters"), "{message}");
    let message = db
        .refused("SELECT * FROM train_sae('u', 2, {hook: 'mlp.in'})")
        .await;
    assert!(message.contains("train_sae: a hook at "), "{message}");
    let message = db.refused("SELECT * FROM train_sae('u', 9)").await;
    assert!(message.contains("layers of run 'demo'"), "{message}");
}

/// An autoencoder that gives back what it gets: a latent for each side of each dimension.
fn identity(d: usize) -> Sae {
    let mut w = vec![0.0; 2 * d * d];
    for k in 0..d {
        w[k * d + k] = 1.0;
        w[(d + k) * d + k] = -1.0;
    }
    Sae {
        d_in: d,
        d_sae: 2 * d,
        variant: Variant::Relu,
        centered: false,
        w_enc: w.clone(),
        b_enc: vec![0.0; 2 * d],
        w_dec: w,
        b_dec: vec![0.0; d],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reconstructions_do_to_a_language_model() {
    let db = Db::with_demo().await;
    let d = db.integer("SELECT d_in FROM layers WHERE layer = 2").await as usize;
    let folder = db.folder.path().join("identity");
    let file = SaeFile {
        sae: identity(d),
        config: SaeConfig::default(),
    };
    write_saelens(&folder, &file, false).expect("written");
    db.query(&format!(
        "SELECT * FROM import_sae('same', '{}', 2)",
        folder.display()
    ))
    .await;
    db.query("CREATE TABLE same AS SELECT * FROM sae_metrics('same')")
        .await;
    let same = |metric: &str| format!("SELECT value FROM same WHERE metric = '{metric}'");
    // Nothing is lost: the loss is the model's own, which is what its logits say.
    assert_eq!(db.number(&same("mse")).await, 0.0);
    assert_eq!(db.number(&same("explained_variance")).await, 1.0);
    let own = db.number(&same("ce_loss")).await;
    assert!((own - db.number(&same("ce_loss_with_sae")).await).abs() < 1e-9);
    assert!((db.number(&same("ce_loss_score")).await - 1.0).abs() < 1e-9);
    let zero = db.number(&same("ce_loss_zero_ablation")).await;
    assert!(own > 0.0 && zero > own, "{own} {zero}");
    assert_eq!(
        db.number(&same("rows")).await,
        db.number("SELECT count(*) FROM tokens").await
    );
    let d_model = d as f64;
    assert!((db.number(&same("l0")).await - d_model).abs() < 0.5);

    // One that gives back nothing is the ablation with zeros.
    let mut nothing = identity(d);
    nothing.w_dec.fill(0.0);
    let folder = db.folder.path().join("nothing");
    let file = SaeFile {
        sae: nothing,
        config: SaeConfig::default(),
    };
    write_saelens(&folder, &file, false).expect("written");
    db.query(&format!(
        "SELECT * FROM import_sae('nothing', '{}', 2)",
        folder.display()
    ))
    .await;
    db.query("CREATE TABLE nothing AS SELECT * FROM sae_metrics('nothing', {max_documents: 10})")
        .await;
    let score = db
        .number("SELECT value FROM nothing WHERE metric = 'ce_loss_score'")
        .await;
    assert!(score.abs() < 1e-9, "{score}");

    // Another corpus, a missing one, and a store whose model is gone.
    let corpus = db.folder.path().join("other.txt");
    std::fs::write(&corpus, "The river bank was steep. She sat there all day.").expect("written");
    let sql = format!(
        "SELECT value FROM sae_metrics('same', {{corpus: '{}'}}) WHERE metric = 'rows'",
        corpus.display()
    );
    let rows = db.number(&sql).await;
    assert!(rows > 5.0 && rows < 60.0, "{rows}");
    let message = db
        .refused("SELECT * FROM sae_metrics('same', {corpus: 'nowhere.txt'})")
        .await;
    assert!(message.contains("nowhere.txt"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_are_inverse() {
    let db = Db::with_demo().await;
    db.query("SELECT * FROM train_sae('s', 2, {d_sae: 24})")
        .await;
    for format in ["saelens", "dictionary_learning"] {
        let folder = db.folder.path().join(format);
        db.query(&format!(
            "SELECT * FROM export_sae('s', '{}', {{format: '{format}'}})",
            folder.display()
        ))
        .await;
        db.query(&format!(
            "SELECT * FROM import_sae('{format}', '{}', 2)",
            folder.display()
        ))
        .await;
        let store = db.session.store();
        let [ours, back] =
            ["s", format].map(|name| load(&store.sae(name).expect("stored")).expect("weights"));
        assert!(ours == back, "{format}: the same weights, bit for bit");
        let message = db
            .refused(&format!(
                "SELECT * FROM export_sae('s', '{}')",
                folder.display()
            ))
            .await;
        assert!(message.contains("export_sae: "), "{message}");
    }
    // The same latents have the same examples.
    let differ = db
        .integer(
            "SELECT count(*)
             FROM (SELECT * FROM examples WHERE layer = 4) a
             FULL JOIN (SELECT * FROM examples WHERE layer = 5) b
               ON b.neuron = a.neuron AND b.example = a.example AND b.doc_id = a.doc_id AND b.pos = a.pos
             WHERE a.activation IS DISTINCT FROM b.activation",
        )
        .await;
    assert_eq!(differ, 0);
}
