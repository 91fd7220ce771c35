//! The reports on autoencoders, over two of them on the images in the project.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Float64Type;

use super::{Db, tiny};

/// A report's statement with its variables put in.
fn report(sql: &str) -> String {
    [("a", "plain"), ("b", "ne"), ("corpus", "")]
        .iter()
        .fold(sql.to_string(), |sql, (name, value)| {
            sql.replace(&format!(":'{name}'"), &format!("'{value}'"))
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_compare_autoencoders() {
    let db = Db::new().await;
    let corpus = tiny();
    db.query(&format!(
        "SELECT * FROM train_mlp('digits', '{}', {{hidden: [16], epochs: 5, batch_size: 8}})",
        corpus.display()
    ))
    .await;
    db.query(&format!(
        "SELECT * FROM ingest('r', 'digits', '{}', {{split: 'train'}})",
        corpus.display()
    ))
    .await;
    let options = "d_sae: 32, batch_size: 8, epochs: 20";
    db.query(&format!(
        "SELECT * FROM train_sae('plain', 0, {{{options}}})"
    ))
    .await;
    db.query(&format!(
        "SELECT * FROM train_sae('ne', 0, {{{options}, ne_loss: 0.01, ne_start_step: 10}})"
    ))
    .await;
    // What each metric is, is checked elsewhere; here that the tables have their rows and both columns.
    for (sql, rows, undefined) in [
        (include_str!("../../sql/reports/table2.sql"), 13, 4),
        (include_str!("../../sql/reports/table3.sql"), 4, 0),
        (
            include_str!("../../sql/reports/sae_language_model.sql"),
            13,
            4,
        ),
    ] {
        let found = db.query(&report(sql)).await;
        let found = datafusion::arrow::compute::concat_batches(&found[0].schema(), &found)
            .expect("one schema");
        assert_eq!(found.num_rows(), rows);
        for column in ["a", "b"] {
            let values = found.column_by_name(column).expect("a column");
            let values = values.as_primitive::<Float64Type>();
            let nulls = values.iter().filter(Option::is_none).count();
            // Cross-entropy is a language model's.
            assert_eq!(nulls, undefined, "{column}");
        }
    }
    let sql = format!(
        "SELECT a FROM ({}) WHERE metric = 'accuracy_percent'",
        report(include_str!("../../sql/reports/table2.sql"))
    );
    let accuracy = db.integer(&sql).await;
    assert_eq!(
        accuracy,
        db.integer("SELECT round(value) FROM sae_metrics('ne') WHERE metric = 'accuracy_percent'")
            .await
    );
    let compared = format!("({})", include_str!("../../sql/reports/sae_compare.sql"));
    assert_eq!(
        db.integer(&format!("SELECT count(*) FROM {compared}"))
            .await,
        2
    );
    // Where both measure the same: the mean number of active latents, here over the training images.
    let differ = format!(
        "SELECT * FROM {compared} c
         JOIN (SELECT sae, value FROM sae_metrics('plain', {{split: 'train'}}) WHERE metric = 'l0') m ON m.sae = c.name
         WHERE abs(m.value - c.l0) > 1e-4"
    );
    db.none("l0", &differ).await;
    let differ = format!(
        "SELECT * FROM {compared} c
         JOIN (SELECT sae, value FROM sae_metrics('plain', {{split: 'train'}}) WHERE metric = 'mse') m ON m.sae = c.name
         WHERE abs(m.value - c.mse) > 1e-6"
    );
    db.none("mse", &differ).await;
}
