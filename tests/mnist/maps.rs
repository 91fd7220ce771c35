//! Activation and importance maps of a classifier's neurons and of latents on them against NumPy.
//!
//! Numbers: tests/reference/pixel_maps.py.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use serde_json::Value;

use super::authors::Published;
use super::{Db, root};

/// The run `a` of the tiny images, with the autoencoder `standard` as its second layer.
async fn open() -> Db {
    let published = Published::tiny();
    let db = published.open().await;
    db.query(&format!(
        "SELECT * FROM import_sae('standard', '{}', 0)",
        published.sae.display()
    ))
    .await;
    db
}

/// A column as numbers, in the order of the pixels.
fn numbers(rows: &[RecordBatch], name: &str) -> Vec<Option<f64>> {
    let rows = concat_batches(&rows[0].schema(), rows).expect("rows of one schema");
    let column = rows.column_by_name(name).expect("the column");
    let column = cast(column, &DataType::Float64).expect("numbers");
    column.as_primitive::<Float64Type>().iter().collect()
}

fn assert_map(found: &[Option<f64>], expected: &Value, name: &str, what: &str) {
    assert_eq!(found.len(), 784, "{what}");
    let Some(numbers) = expected[name].as_array() else {
        assert!(
            found.iter().all(Option::is_none),
            "{what}: {name} of no example"
        );
        return;
    };
    // Float32 weights and products against float64.
    for (found, expected) in found.iter().step_by(7).zip(numbers) {
        let (found, expected) = (
            found.expect("a number"),
            expected.as_f64().expect("a number"),
        );
        assert!(
            (found - expected).abs() < 1e-5,
            "{what}: {name} {found}, expected {expected}"
        );
    }
    let sum: f64 = found.iter().flatten().sum();
    let expected = expected[format!("sum_of_{name}")].as_f64().expect("a sum");
    assert!(
        (sum - expected).abs() < 1e-3,
        "{what}: {name} {sum}, expected {expected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_numpys() {
    let db = open().await;
    let text = include_str!("../reference/pixel_maps.json");
    let reference: Value = serde_json::from_str(text).expect("JSON");
    let maps = reference["maps"].as_array().expect("maps");
    assert_eq!(maps.len(), 18);
    for expected in maps {
        let (layer, neuron) = (&expected["layer"], &expected["neuron"]);
        let what = format!("layer {layer}, neuron {neuron}");
        let activation = db
            .query(&format!(
                "SELECT * FROM activation_map({layer}, {neuron}) ORDER BY y, x"
            ))
            .await;
        assert_map(
            &numbers(&activation, "activation"),
            expected,
            "activation",
            &what,
        );
        // Latents see pixels through neurons.
        let weights = numbers(&activation, "weight");
        assert!(
            weights.iter().all(|w| w.is_some() == (*layer == 0)),
            "{what}"
        );
        let importance = db
            .query(&format!(
                "SELECT * FROM importance_map({layer}, {neuron}) ORDER BY y, x"
            ))
            .await;
        for name in ["activation", "mean_pixel", "importance"] {
            assert_map(&numbers(&importance, name), expected, name, &what);
        }
    }
    let weights =
        "SELECT sum(abs(m.weight - n.w_in[m.y * 28 + m.x + 1])) FROM activation_map(0, 3) m
                   JOIN neurons n ON n.layer = 0 AND n.neuron = 3";
    assert_eq!(db.number(weights).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_say_what_they_are_of() {
    let db = open().await;
    // Of a cluster's examples: all of them are those of all.
    let differs = |cluster: &str| {
        format!(
            "SELECT * FROM importance_map(0, 1) a JOIN importance_map(0, 1, {cluster}) b USING (y, x)
             WHERE a.importance IS DISTINCT FROM b.importance"
        )
    };
    db.none("one cluster of all", &differs("{cluster: 0, threshold: 2}"))
        .await;
    let some = format!(
        "SELECT count(*) FROM ({})",
        differs("{cluster: 0, threshold: 0.1}")
    );
    assert!(db.integer(&some).await > 0);
    // By the layer's name, and lines of another width.
    let named = "SELECT count(*) FROM activation_map('standard', 0) WHERE weight IS NULL";
    assert_eq!(db.integer(named).await, 784);
    let wide = "SELECT max(x) * 1000 + max(y) FROM activation_map(0, 0, {width: 56})";
    assert_eq!(db.integer(wide).await, 55_013);
    for (call, message) in [
        (
            "activation_map(0, 6)",
            "activation_map: neuron must be one of the 6 of layer 0, counted from 0, got 6",
        ),
        (
            "importance_map(5, 0)",
            "importance_map: layer must be one of run 'a', 0 (blocks.0.mlp), 1 (standard), got 5",
        ),
        (
            "activation_map('no', 0)",
            "activation_map: layer must be one of run 'a', 0 (blocks.0.mlp), 1 (standard), got 'no'",
        ),
        (
            "activation_map(0, 0, {width: 30})",
            "activation_map: width must divide the 784 pixels of an image, got 30",
        ),
        (
            "importance_map(0, 0, {threshold: 0.3})",
            "importance_map: threshold must come with cluster, got it alone",
        ),
    ] {
        let error = db.refused(&format!("SELECT * FROM {call}")).await;
        assert!(error.contains(message), "{call}: {error}");
    }
    let demo = root("tests/data/demo");
    db.query(&format!(
        "SELECT * FROM ingest('texts', '{}', '{}', {{max_documents: 4}})",
        demo.join("model").display(),
        demo.join("corpus.jsonl").display()
    ))
    .await;
    let error = db.refused("SELECT * FROM texts.activation_map(0, 0)").await;
    let message = "activation_map: a run of images through a classifier (kind mlp) is required, got run 'texts' of \
                   architecture gpt2 on other documents";
    assert!(error.contains(message), "{error}");
}
