//! Real MNIST: the authors' sparse autoencoder against what they published of it. Says so where the data do not lie
//! beside the project.

use super::{Db, shared};

#[tokio::test(flavor = "multi_thread")]
async fn the_authors_latents_are_theirs() {
    let (data, authors) = (shared("mnist"), shared("mnist-authors"));
    if !data.exists() || !authors.exists() {
        println!(
            "left out: no {} or no {}",
            data.display(),
            authors.display()
        );
        return;
    }
    let db = Db::new().await;
    db.query(&format!(
        "SELECT * FROM ingest('a', '{}', '{}', {{split: 'train', min_activation: 4.0059}})",
        authors.join("mlp.safetensors").display(),
        data.display()
    ))
    .await;
    db.query(&format!(
        "SELECT * FROM import_sae('standard', '{}', 0)",
        authors.join("sae-standard.safetensors").display()
    ))
    .await;
    // The latents are the run's second layer.
    db.none(
        "layers",
        "SELECT * FROM layers WHERE layer = 1 AND (name <> 'standard' OR kind <> 'sae' OR n_neurons <> 512 OR d_in <> 64)",
    )
    .await;
    for table in ["clusters", "neurons"] {
        db.query(&format!(
            "CREATE EXTERNAL TABLE their_{table} STORED AS PARQUET LOCATION '{}'",
            authors.join(format!("{table}.parquet")).display()
        ))
        .await;
    }
    db.query(
        "CREATE TABLE their AS
         SELECT CAST(neuron AS INT) AS neuron, CAST(example AS INT) AS example, train_index, cluster
         FROM their_clusters WHERE layer = 1",
    )
    .await;
    assert!(db.integer("SELECT count(*) FROM their").await > 10_000);
    db.none(
        "example lists",
        "SELECT t.*, e.neuron, e.example, e.doc_id
         FROM their t
         FULL JOIN (SELECT * FROM examples WHERE layer = 1) e ON e.neuron = t.neuron AND e.example = t.example
         WHERE e.doc_id IS DISTINCT FROM t.train_index",
    )
    .await;
    db.none(
        "partitions",
        "SELECT neuron
         FROM (SELECT t.neuron, c.cluster AS ours, t.cluster AS theirs
               FROM their t
               LEFT JOIN feature_clusters('standard', {threshold: 0.05}) c
                 ON c.neuron = t.neuron AND c.example = t.example)
         GROUP BY neuron
         HAVING count(DISTINCT ours) <> count(DISTINCT theirs)
             OR count(DISTINCT ours) <> count(DISTINCT ours * 1000 + theirs)",
    )
    .await;
    let differs = [
        "max_distance",
        "mean_distance",
        "intra_cluster_distance",
        "inter_cluster_distance",
    ]
    .map(|c| format!("((p.{c} IS NULL) <> (t.{c} IS NULL)) OR abs(p.{c} - t.{c}) > 1e-6"));
    db.none(
        "metrics within 1e-6",
        &format!(
            "SELECT t.*, p.*
             FROM their_neurons t
             LEFT JOIN neuron_polysemanticity('standard', {{threshold: 0.05}}) p
               ON p.neuron = CAST(t.neuron AS INT)
             WHERE t.layer = 1 AND t.n_examples > 0
               AND ((p.n_examples IS DISTINCT FROM CAST(t.n_examples AS INT))
                 OR (p.n_clusters IS DISTINCT FROM CAST(t.n_clusters AS INT)) OR {})",
            differs.join(" OR ")
        ),
    )
    .await;
    // The paper's Table 2, `docs/definitions.md` section 6, to the digits given there.
    db.query("CREATE TABLE found AS SELECT * FROM sae_metrics('standard')")
        .await;
    for (metric, expected, within) in [
        ("mse", 0.344, 5e-4),
        ("l0_percent", 2.395, 5e-4),
        ("l1_per_batch", 2628.0, 0.5),
        ("accuracy_percent", 93.99, 5e-3),
        ("accuracy_with_sae_percent", 92.72, 5e-3),
        ("dead_percent", 23.83, 5e-3),
        ("max_distance", 0.417, 5e-4),
        ("mean_distance", 0.195, 5e-4),
        ("size", 7.0, 1e-9),
    ] {
        db.none(
            metric,
            &format!(
                "SELECT * FROM found WHERE metric = '{metric}' AND NOT (abs(value - {expected}) <= {within})"
            ),
        )
        .await;
        let sql = format!("SELECT count(*) FROM found WHERE metric = '{metric}'");
        assert_eq!(db.integer(&sql).await, 1, "{metric}");
    }
    println!(
        "checked against mnist-authors: example lists, partitions and metrics of 390 latents, nine numbers of Table 2"
    );
}
