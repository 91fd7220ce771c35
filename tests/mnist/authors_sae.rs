//! A sparse autoencoder against what is published of it: a tiny one that is bundled, and where MNIST and the authors' files
//! lie beside the project theirs.

use super::authors::Published;
use super::root;

/// Compares the latents, and Table 2 of the paper by name, value and how near.
async fn compare_latents(published: Published, table2: &[(&str, f64, f64)]) {
    let db = published.open().await;
    db.query(&format!(
        "SELECT * FROM import_sae('standard', '{}', 0)",
        published.sae.display()
    ))
    .await;
    // The latents are the run's second layer.
    let layers = db.integer(
        "SELECT count(*) FROM layers WHERE layer = 1 AND name = 'standard' AND kind = 'sae'",
    );
    assert_eq!(layers.await, 1);
    published.compare(&db, 1).await;
    db.query("CREATE TABLE found AS SELECT * FROM sae_metrics('standard')")
        .await;
    for (metric, expected, within) in table2 {
        let sql = format!("SELECT value FROM found WHERE metric = '{metric}'");
        let value = db.number(&sql).await;
        assert!(
            (value - expected).abs() <= *within,
            "{metric}: {value}, expected {expected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn published_latents_are_ours() {
    let text = std::fs::read_to_string(root("tests/data/mnist-tiny-golden/table2.json"));
    let found: serde_json::Value = serde_json::from_str(&text.expect("the figures")).expect("JSON");
    let found = found.as_object().expect("figures by name");
    let table2: Vec<_> = found
        .iter()
        .map(|(metric, value)| (metric.as_str(), value.as_f64().expect("a number")))
        .map(|(metric, value)| (metric, value, 1e-5 * value.abs().max(1.0)))
        .collect();
    assert_eq!(table2.len(), 9);
    compare_latents(Published::tiny(), &table2).await;
    // The paper's Table 2, `docs/definitions.md` section 6, to the digits given there.
    let table2 = [
        ("mse", 0.344, 5e-4),
        ("l0_percent", 2.395, 5e-4),
        ("l1_per_batch", 2628.0, 0.5),
        ("accuracy_percent", 93.99, 5e-3),
        ("accuracy_with_sae_percent", 92.72, 5e-3),
        ("dead_percent", 23.83, 5e-3),
        ("max_distance", 0.417, 5e-4),
        ("mean_distance", 0.195, 5e-4),
        ("size", 7.0, 1e-9),
    ];
    if let Some(authors) = Published::authors() {
        compare_latents(authors, &table2).await;
    }
}
