//! Sparse autoencoders from end to end: interrupted trainings go on to the same bits, latents are neurons of a run, and
//! what they do to a language model is measured.

mod interrupted;
mod language_model;
mod places;
mod sites;
mod transcoders;

use crate::database::{Db, root};
use polysema::saes::load;

/// A run of the demo's model over the first documents of its corpus.
async fn with_demo() -> Db {
    let db = Db::new().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn training_leaves_the_answers_about_the_neurons() {
    let db = with_demo().await;
    let table1 = include_str!("../sql/reports/table1.sql").replace(":n_clusters", "3");
    let questions = [
        "SELECT * FROM polysemantic_neurons ORDER BY layer, neuron",
        "SELECT * FROM monosemantic_neurons ORDER BY layer, neuron",
        "SELECT * FROM dead_neurons ORDER BY layer, neuron",
        "SELECT * FROM layer_summary ORDER BY layer",
        "SELECT count(*), sum(share) FROM cluster_sizes",
        "SELECT count(*), count(DISTINCT layer) FROM feature_clusters()",
        "SELECT count(*), max(layer) FROM dataset_examples()",
        table1.as_str(),
    ];
    let mut before = vec![];
    for sql in questions {
        before.push(db.text(sql).await);
    }
    db.query("SELECT * FROM train_sae('s', 2, {d_sae: 96, epochs: 3})")
        .await;
    for (sql, before) in questions.iter().zip(before) {
        assert_eq!(db.text(sql).await, before, "{sql}");
    }
    // The latents are there for whoever asks for them: by kind, by name, by number, by a filter, by a row.
    for (sql, neurons) in [
        ("neuron_polysemanticity({kind: 'sae'})", 96),
        ("neuron_polysemanticity({kind: 'all'})", 4 * 512 + 96),
        ("neuron_polysemanticity('s')", 96),
        ("neuron_polysemanticity(4)", 96),
        ("neuron_polysemanticity() WHERE layer = 4", 96),
        ("neuron_polysemanticity() WHERE layer IN (3, 4)", 512 + 96),
        ("neuron_polysemanticity() WHERE layer > 3", 0),
        ("(SELECT 4 AS layer) l, neuron_polysemanticity(l.layer)", 96),
    ] {
        let n = db.integer(&format!("SELECT count(*) FROM {sql}")).await;
        assert_eq!(n, neurons, "{sql}");
    }
    let message = db
        .refused("SELECT * FROM neuron_polysemanticity('t')")
        .await;
    assert!(
        message.contains("layer must be a number or one of"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn latents_are_neurons_of_the_run() {
    let db = with_demo().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_are_inverse() {
    let db = with_demo().await;
    db.query("SELECT * FROM train_sae('s', 2, {d_sae: 24})")
        .await;
    for format in ["saelens", "dictionary_learning"] {
        let folder = db.folder().join(format);
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
