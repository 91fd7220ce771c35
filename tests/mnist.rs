//! Images through classifiers: small ones of our own against numbers made elsewhere, and where the data lie beside the
//! project the authors' MNIST classifier against their published lists, clusters and metrics.
//!
//! Numbers: tests/reference/mnist_tiny.py, Python 3 in double precision.

mod authors;
mod authors_sae;
mod bad_input;
mod maps;
mod reader;
mod reports;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::database::{Db, root, shared};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::error::Result;
use polysema::corpus::{BATCH_SIZE, CorpusReader, SPLIT, Split};
use polysema::jobs::JobContext;
use polysema::models::{HookPoint, Hooks};
use polysema::options::Options;

/// Keeps the value at one place, if there is one it wants.
struct Probe {
    hook: Option<HookPoint>,
    seen: Vec<f32>,
}

impl Hooks for Probe {
    fn wants(&self, hook: HookPoint) -> bool {
        self.hook == Some(hook)
    }

    fn visit(
        &mut self,
        _: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        self.seen = values.to_vec();
        Ok(None)
    }
}

fn tiny() -> PathBuf {
    root("tests/data/mnist-tiny")
}

fn reference() -> serde_json::Value {
    let text = include_str!("reference/mnist_tiny.json");
    serde_json::from_str(text).expect("JSON")
}

/// Share of the documents whose label has the highest logit.
fn accuracy(model: &Path, corpus: &Path, split: Split) -> (f64, Vec<u32>) {
    let options = Options::default()
        .with(SPLIT, Some(split))
        .with(BATCH_SIZE, 500);
    let mut reader =
        CorpusReader::open(model, corpus, &options, &JobContext::default()).expect("a reader");
    let labels = reader.labels().expect("labels").to_vec();
    let mut found = vec![0; labels.len()];
    let mut probe = Probe {
        hook: None,
        seen: vec![],
    };
    reader
        .for_each_batch(&mut |model, batch, input| {
            let logits = model.logits(input, &mut probe)?;
            let n_classes = logits.len() / batch.documents.len();
            let rows = logits.chunks_exact(n_classes);
            for ((doc_id, _), row) in batch.documents.iter().zip(rows) {
                let best = (0..n_classes).reduce(|a, b| if row[b] > row[a] { b } else { a });
                found[*doc_id as usize] = best.expect("a class") as u32;
            }
            Ok(())
        })
        .expect("logits");
    let right = found.iter().zip(&labels).filter(|(a, b)| a == b).count();
    (right as f64 / labels.len() as f64, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn images_become_documents_and_examples() {
    let (db, expected) = (Db::new().await, reference());
    let (model, corpus) = (tiny().join("mlp.safetensors"), tiny());
    let ingest = |run: &str, options: &str| {
        format!(
            "SELECT * FROM ingest('{run}', '{}', '{}', {{min_activation: 0.5{options}}})",
            model.display(),
            corpus.display()
        )
    };
    db.query(&ingest("all", "")).await;
    db.query("SET polysema.run = 'all'").await;
    let documents = db
        .text("SELECT split, count(*) AS n, min(doc_id) AS first, count(DISTINCT label) AS labels, sum(n_tokens) AS tokens, min(cardinality(pixels)) AS pixels, count(DISTINCT text) AS texts FROM documents GROUP BY split ORDER BY first")
        .await;
    assert!(
        documents.contains("| train | 40 | 0     | 10     | 40     | 784    | 10    |"),
        "{documents}"
    );
    assert!(
        documents.contains("| test  | 20 | 40    | 10     | 20     | 784    | 10    |"),
        "{documents}"
    );
    let labels: Vec<i64> = expected["labels"]
        .as_array()
        .expect("labels")
        .iter()
        .filter_map(|l| l.as_i64())
        .collect();
    let found = db
        .query("SELECT CAST(label AS BIGINT) FROM documents ORDER BY doc_id")
        .await;
    let found: Vec<i64> = found
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(found, labels);
    assert_eq!(
        db.integer("SELECT count(*) FROM tokens t JOIN documents d USING (doc_id) WHERE t.pos = 0 AND t.token_id = d.label AND t.token = CAST(d.label AS VARCHAR)").await,
        60
    );
    let mut compared = 0;
    for (neuron, list) in expected["examples"]
        .as_array()
        .expect("lists")
        .iter()
        .enumerate()
    {
        let rows = db
            .query(&format!("SELECT CAST(doc_id AS BIGINT), CAST(activation AS DOUBLE) FROM examples WHERE neuron = {neuron} ORDER BY example"))
            .await;
        let found: Vec<(i64, f64)> = rows
            .iter()
            .flat_map(|b| {
                let (ids, values) = (
                    b.column(0).as_primitive::<Int64Type>(),
                    b.column(1).as_primitive::<Float64Type>(),
                );
                ids.values()
                    .iter()
                    .copied()
                    .zip(values.values().iter().copied())
                    .collect::<Vec<_>>()
            })
            .collect();
        let list = list.as_array().expect("a list");
        assert_eq!(found.len(), list.len(), "neuron {neuron}");
        for ((doc_id, activation), expected) in found.iter().zip(list) {
            assert_eq!(Some(*doc_id), expected[0].as_i64());
            assert!((activation - expected[1].as_f64().expect("a number")).abs() < 1e-5);
            compared += 1;
        }
    }
    assert_eq!(compared, 162);
    let context = db
        .text("SELECT DISTINCT context FROM feature_clusters(0, 0) WHERE token = '7'")
        .await;
    assert!(context.contains("«7»"), "{context}");
    db.query(&ingest("test", ", split: 'test'")).await;
    assert_eq!(
        db.integer("SELECT count(*) FROM test.documents WHERE split = 'test'")
            .await,
        20
    );
    db.query(&ingest("few", ", split: 'train', max_documents: 7"))
        .await;
    assert_eq!(db.integer("SELECT count(*) FROM few.documents").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn pixels_are_normalised_and_streamed() {
    let (db, expected) = (Db::new().await, reference());
    let rows = |hook: &str| {
        format!(
            "SELECT doc_id, pos, vector FROM activations('{}', '{}', '{hook}') ORDER BY doc_id",
            tiny().join("mlp.safetensors").display(),
            tiny().display()
        )
    };
    let pixels = db.query(&format!("SELECT CAST(v AS DOUBLE) FROM (SELECT unnest(vector) AS v FROM ({}) WHERE doc_id = 41)", rows("blocks.0.mlp.in"))).await;
    let pixels: Vec<f64> = pixels
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Float64Type>().values().to_vec())
        .collect();
    let same: Vec<f64> = expected["pixels_of_document_41"]
        .as_array()
        .expect("pixels")
        .iter()
        .filter_map(|x| x.as_f64())
        .collect();
    // The reference is exact: every one of its numbers is a float32.
    let as_f32 = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
    assert!(as_f32(&pixels) == as_f32(&same), "784 normalised pixels");
    for (i, doc_id) in [0, 1, 2, 40, 41, 42].into_iter().enumerate() {
        for neuron in 0..6 {
            let pre = expected["pre"][i][neuron].as_f64().expect("a number");
            let off = db.query(&format!("SELECT CAST(abs(vector[{}] - {pre}) AS DOUBLE) FROM ({}) WHERE doc_id = {doc_id}", neuron + 1, rows("blocks.0.mlp.pre"))).await;
            assert!(off[0].column(0).as_primitive::<Float64Type>().value(0) < 1e-5);
        }
    }
    let (share, found) = accuracy(&tiny().join("mlp.safetensors"), &tiny(), Split::All);
    let predicted: Vec<u32> = expected["predicted"]
        .as_array()
        .expect("classes")
        .iter()
        .filter_map(|c| c.as_u64())
        .map(|c| c as u32)
        .collect();
    assert_eq!(found, predicted);
    assert!(share > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trained_classifier_is_a_model_of_the_store() {
    let db = Db::new().await;
    let train = |name: &str, options: &str| {
        format!(
            "SELECT * FROM train_mlp('{name}', '{}', {{hidden: [16], epochs: 30, batch_size: 8, learning_rate: 0.003{options}}})",
            tiny().display()
        )
    };
    let learned = db.text(&format!("SELECT max(step) AS steps, count(accuracy) AS epochs, max(loss) > 1 AND min(loss) < 0.3 AS learned, min(loss) FROM ({})", train("digits", ""))).await;
    assert!(learned.contains("| 150   | 30     | true "), "{learned}");
    let refused = db.refused(&train("digits", "")).await;
    assert!(
        refused.contains("a new model name is required, got 'digits'"),
        "{refused}"
    );
    db.query(&train("again", "")).await;
    db.query(&train("digits", ", replace: true, seed: 1")).await;
    db.query(&train("same", ", seed: 1")).await;
    let weights = |name: &str| {
        let model = db.session.store().resolve_model(Path::new(name));
        fs::read(model.expect("stored").join("model.safetensors")).expect("weights")
    };
    assert!(
        weights("digits") == weights("same"),
        "a seed decides everything"
    );
    assert!(
        weights("digits") != weights("again"),
        "and another seed something else"
    );
    assert_eq!(
        db.session.store().models().expect("models"),
        ["again", "digits", "same"]
    );
    db.query(&format!(
        "SELECT * FROM ingest('r', 'digits', '{}')",
        tiny().display()
    ))
    .await;
    assert_eq!(db.integer("SELECT count(*) FROM r.neurons").await, 16);
    let unknown = db
        .refused(&format!(
            "SELECT * FROM activations('digit', '{}', 'blocks.0.mlp.post')",
            tiny().display()
        ))
        .await;
    assert!(
        unknown.contains("got 'digit'; stored models: again, digits, same"),
        "{unknown}"
    );
    let diverged = db
        .refused(&format!(
            "SELECT * FROM train_mlp('bad', '{}', {{learning_rate: 1e30, batch_size: 8}})",
            tiny().display()
        ))
        .await;
    assert!(
        diverged.contains("train_mlp: a finite loss is required, got NaN at step"),
        "{diverged}"
    );
    assert!(!db.session.store().has_model("bad"));
    assert!(
        fs::read_dir(db.session.store().root().join("models"))
            .expect("models")
            .count()
            == 3,
        "nothing is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_training_leaves_nothing() {
    let db = Db::new().await;
    let sql = format!(
        "SELECT step FROM train_mlp('m', '{}', {{epochs: 1000000}}) LIMIT 1",
        tiny().display()
    );
    let message = db.refused(&sql).await;
    assert!(
        message.contains("train_mlp: a reader of all its rows is required"),
        "{message}"
    );
    for _ in 0..50 {
        if db.session.store().begin_model("m", false).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the training holds the store's lock five seconds after its reader is gone");
}
