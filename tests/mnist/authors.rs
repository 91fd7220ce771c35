//! Real MNIST: the authors' classifier against what they published of it, and one of our own. Says so where the data
//! do not lie beside the project.

use std::path::Path;

use polysema::corpus::Split;

use super::{Db, accuracy, shared};

#[tokio::test(flavor = "multi_thread")]
async fn the_authors_neurons_are_theirs() {
    let (data, authors) = (shared("mnist"), shared("mnist-authors"));
    if !data.exists() || !authors.exists() {
        println!(
            "left out: no {} or no {}",
            data.display(),
            authors.display()
        );
        return;
    }
    let (db, model) = (Db::new().await, authors.join("mlp.safetensors"));
    let (share, _) = accuracy(&model, &data, Split::Test);
    assert!((share - 0.9399).abs() < 1e-9, "test accuracy {share}");
    db.query(&format!(
        "SELECT * FROM ingest('a', '{}', '{}', {{split: 'train', min_activation: 4.0059}})",
        model.display(),
        data.display()
    ))
    .await;
    for table in ["clusters", "neurons"] {
        db.query(&format!(
            "CREATE EXTERNAL TABLE their_{table} STORED AS PARQUET LOCATION '{}'",
            authors.join(format!("{table}.parquet")).display()
        ))
        .await;
    }
    db.query("CREATE TABLE their AS SELECT CAST(neuron AS INT) AS neuron, CAST(example AS INT) AS example, train_index, cluster FROM their_clusters WHERE layer = 0").await;
    assert_eq!(db.integer("SELECT count(*) FROM their").await, 6100);
    db.none(
        "example lists",
        "SELECT t.*, e.neuron, e.example, e.doc_id FROM their t FULL JOIN a.examples e ON e.neuron = t.neuron AND e.example = t.example
         WHERE e.doc_id IS DISTINCT FROM t.train_index",
    )
    .await;
    db.none(
        "partitions",
        "SELECT neuron, count(DISTINCT ours) AS n_ours, count(DISTINCT theirs) AS n_theirs, count(DISTINCT ours * 1000 + theirs) AS n_both
         FROM (SELECT t.neuron, c.cluster AS ours, t.cluster AS theirs FROM their t
               LEFT JOIN feature_clusters(0, {threshold: 0.2}) c ON c.neuron = t.neuron AND c.example = t.example)
         GROUP BY neuron HAVING count(DISTINCT ours) <> count(DISTINCT theirs) OR count(DISTINCT ours) <> count(DISTINCT ours * 1000 + theirs)",
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
            "SELECT t.*, p.* FROM their_neurons t
             LEFT JOIN neuron_polysemanticity(0, {{threshold: 0.2}}) p ON p.neuron = CAST(t.neuron AS INT)
             WHERE t.layer = 0 AND t.n_examples > 0 AND ((p.n_examples IS DISTINCT FROM CAST(t.n_examples AS INT))
               OR (p.n_clusters IS DISTINCT FROM CAST(t.n_clusters AS INT)) OR {})",
            differs.join(" OR ")
        ),
    )
    .await;
    println!(
        "checked against mnist-authors: test accuracy 93.99 %, 6,100 examples, partitions and metrics of 61 neurons"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_epochs_classify_mnist() {
    let data = shared("mnist");
    if !data.exists() {
        println!("left out: no {}", data.display());
        return;
    }
    let db = Db::new().await;
    let rows = db.text(&format!("SELECT step, epoch, loss, accuracy, elapsed_seconds, message FROM train_mlp('mnist', '{}') WHERE accuracy IS NOT NULL", data.display())).await;
    println!("{rows}");
    let model = db
        .session
        .store()
        .resolve_model(Path::new("mnist"))
        .expect("stored");
    let (share, _) = accuracy(&model, &data, Split::Test);
    assert!(share > 0.94, "test accuracy {share}");
    assert!(
        rows.contains(&format!(
            "model mnist: epoch 3: test accuracy {:.2} %",
            100.0 * share
        )),
        "{rows}"
    );
}
