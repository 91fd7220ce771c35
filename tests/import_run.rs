//! Runs made of arrays: the same examples as by the definition in NumPy and as by ingest.

mod folders;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::database::{Db, root};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::error::Result;
use polysema::jobs::JobContext;
use polysema::models::{HookPoint, Hooks, Input, LayerNorm, Site, load};
use polysema::options::Options;
use polysema::runs::{
    IMPORT_RUN, INGEST, ImportRequest, IngestRequest, Progress, import_run, ingest,
};
use polysema::store::Store;

fn reference() -> serde_json::Value {
    let text = include_str!("reference/import_run.json");
    serde_json::from_str(text).expect("JSON")
}

fn expected(part: &str) -> Vec<Vec<f64>> {
    serde_json::from_value(reference()[part].clone()).expect("rows of numbers")
}

/// The reference's folder as a run.
async fn imported(options: &str) -> Db {
    let db = Db::new().await;
    let folder = root("tests/data/import");
    db.query(&format!(
        "SELECT * FROM import_run('r', '{}', {{activation_function: 'relu'{options}}})",
        folder.display()
    ))
    .await;
    db
}

fn assert_close(part: &str, found: &[Vec<f64>]) {
    let expected = expected(part);
    assert_eq!(found.len(), expected.len(), "{part}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len(), "{part}");
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5;
        assert!(
            found.iter().zip(expected).all(close),
            "{part}: {found:?}, {expected:?}"
        );
    }
}

#[tokio::test]
async fn examples_follow_the_definition() {
    let db = imported("").await;
    for (part, sql) in [
        (
            "examples",
            "SELECT layer, neuron, example, doc_id, pos, activation FROM examples ORDER BY layer, neuron, example",
        ),
        (
            "neurons",
            "SELECT layer, neuron, max_activation, mean_activation, frac_active, n_examples FROM neurons \
             ORDER BY layer, neuron",
        ),
        (
            "documents",
            "SELECT doc_id, corpus_doc_id, n_tokens FROM documents ORDER BY doc_id",
        ),
    ] {
        assert_close(part, &db.numbers(sql).await);
    }
    // The vector belongs to its row, the weights to their neuron: together they make the activation.
    let sum = "SELECT count(*) FROM examples e JOIN neurons n USING (layer, neuron)
               WHERE abs(array_sum(neuron_embedding(e.pre_mlp, n.w_in)) + n.b_in - e.activation) > 1e-5";
    assert_eq!(db.numbers(sum).await, [[0.0]]);
    let counts = "SELECT (SELECT count(*) FROM examples) AS a, (SELECT count(*) FROM tokens) AS b,
                  (SELECT count(w_out) FROM neurons) AS c,
                  (SELECT count(*) FROM layers WHERE activation_function = 'relu') AS d";
    let n_examples = expected("examples").len() as f64;
    let n_tokens: f64 = expected("documents").iter().map(|d| d[2]).sum();
    assert_eq!(db.numbers(counts).await, [[n_examples, n_tokens, 3.0, 2.0]]);
    let key = "SELECT count(*) FROM examples e JOIN tokens t USING (doc_id, pos)
               WHERE e.token <> t.token OR e.token IS NULL OR e.window_tokens[e.pos - e.window_start + 1] <> e.token";
    assert_eq!(db.numbers(key).await, [[0.0]]);
    // What works on a run works on this one.
    for sql in [
        "SELECT * FROM feature_clusters()",
        "SELECT * FROM neuron_polysemanticity()",
        "SELECT * FROM similar_features(0, 0, 0, {min_similarity: -1})",
        "SELECT * FROM coactivation(0, {min_count: 1, min_lift: 0})",
        "SELECT * FROM nearest('examples', 'pre_mlp', [1, 0, 0, 0, 0], 3) WHERE layer = 0",
        "SELECT * FROM feature_clusters('layer_1')",
    ] {
        let view = if sql.contains("nearest") {
            db.query("CREATE VIEW own AS SELECT * FROM examples WHERE layer = 0")
                .await;
            sql.replace("'examples'", "'own'")
        } else {
            sql.to_string()
        };
        let rows: usize = db
            .query(&view)
            .await
            .iter()
            .map(RecordBatch::num_rows)
            .sum();
        assert!(rows > 0, "{sql}");
    }
    let runs = "SELECT architecture, layer_norm, model_hash <> corpus_hash FROM polysema.info.runs";
    assert!(
        db.text(runs)
            .await
            .contains("| imported     | given      | true")
    );
}

#[tokio::test]
async fn weighted_embeddings_follow_the_definition() {
    let db = imported(", activation_threshold: 0.2, window: 2, window_vectors: true").await;
    let flat = |layer: usize, d: usize| {
        let values: Vec<_> = (1..=d).map(|i| format!("weighted_pre_mlp[{i}]")).collect();
        format!(
            "SELECT layer, neuron, example, {} FROM examples WHERE layer = {layer} ORDER BY neuron, example",
            values.join(", ")
        )
    };
    let mut found = db.numbers(&flat(0, 5)).await;
    found.extend(db.numbers(&flat(1, 4)).await);
    let distances = "SELECT layer, neuron, example1, example2, distance
                     FROM pairwise_distances({embedding: 'weighted'}) ORDER BY layer, neuron, example1, example2";
    assert_close("weighted", &found);
    assert_close("weighted_distances", &db.numbers(distances).await);
    // Every vector is stored once, whether it is a key token's or stands before one.
    let stored = db.numbers("SELECT vectors FROM polysema.info.runs").await;
    assert_eq!(Some(stored[0][0]), reference()["n_vectors"].as_f64());
}

/// Writes a `.npy` file of version 1.
fn write_npy(path: &Path, descr: &str, shape: &[usize], bytes: &[u8]) {
    let dims: String = shape.iter().map(|d| format!("{d},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims})}}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    fs::write(path, file).expect("a writable folder");
}

fn write_floats(path: &Path, shape: &[usize], values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    write_npy(path, "<f4", shape, &bytes);
}

fn write_integers(path: &Path, values: &[i64]) {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    write_npy(path, "<i8", &[values.len()], &bytes);
}

/// What a model's neurons receive and how they respond, in layers' order.
struct Recorder {
    received_at: Vec<HookPoint>,
    received: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Hooks for Recorder {
    fn wants(&self, hook: HookPoint) -> bool {
        hook.site == Site::MlpPost || self.received_at.contains(&hook)
    }

    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        match hook.site {
            Site::MlpPost => self.values[hook.layer].extend_from_slice(values),
            _ => self.received[hook.layer].extend_from_slice(values),
        }
        Ok(None)
    }
}

/// The arrays of a run, by sending its tokens through the model again.
async fn dump(db: &Db, model: &Path, folder: &Path) {
    let loaded = load(model).expect("the demo's model");
    let model = loaded.model.as_ref();
    let n_layers = model.layers().len();
    let mut recorder = Recorder {
        received_at: (0..n_layers)
            .map(|layer| model.received_at(layer, LayerNorm::Folded))
            .collect::<Result<_>>()
            .expect("hooks"),
        received: vec![vec![]; n_layers],
        values: vec![vec![]; n_layers],
    };
    let tokens = db
        .numbers("SELECT doc_id, pos, token_id FROM tokens ORDER BY doc_id, pos")
        .await;
    for document in tokens.chunk_by(|a, b| a[0] == b[0]) {
        let ids: Vec<u32> = document.iter().map(|token| token[2] as u32).collect();
        let input = Input::Tokens {
            ids: &ids,
            seq: ids.len(),
        };
        model.forward(input, &mut recorder).expect("a pass");
    }
    let column = |i: usize| -> Vec<i64> { tokens.iter().map(|token| token[i] as i64).collect() };
    write_integers(&folder.join("doc_id.npy"), &column(0));
    write_integers(&folder.join("pos.npy"), &column(1));
    write_integers(&folder.join("token_id.npy"), &column(2));
    let mut lines = String::new();
    for batch in db
        .query("SELECT token FROM tokens ORDER BY doc_id, pos")
        .await
    {
        for token in batch.column(0).as_string::<i32>().iter().flatten() {
            lines += &serde_json::to_string(token).expect("a string");
            lines.push('\n');
        }
    }
    fs::write(folder.join("tokens.jsonl"), lines).expect("a writable folder");
    for (layer, info) in model.layers().iter().enumerate() {
        let weights = model
            .neuron_weights(layer, LayerNorm::Folded)
            .expect("weights");
        let (n, d) = (info.n_neurons, info.d_in);
        let path = |part: &str| folder.join(format!("{layer}.{part}.npy"));
        write_floats(&path("h"), &[tokens.len(), d], &recorder.received[layer]);
        write_floats(
            &path("activations"),
            &[tokens.len(), n],
            &recorder.values[layer],
        );
        write_floats(&path("w_in"), &[n, d], &weights.w_in);
        write_floats(&path("b_in"), &[n], &weights.b_in);
        write_floats(
            &path("w_out"),
            &[n, weights.w_out.len() / n],
            &weights.w_out,
        );
    }
}

/// The rule that picks examples is ingest's: a run and its own activations, imported, are one.
#[tokio::test]
async fn an_ingested_run_imported_is_the_same_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("store")).expect("an empty store");
    let model = root("tests/data/demo/model");
    for (run, pairs) in [
        ("corpus", &[("max_examples", "5")][..]),
        (
            "top",
            &[("order", "top"), ("max_examples", "3"), ("window", "2")],
        ),
        ("absolute", &[("min_activation", "0.5")]),
    ] {
        // Documents one at a time, as they are dumped below: a product's last bits depend on its shape.
        let mut options = vec![
            ("max_documents", "8"),
            ("context", "64"),
            ("batch_size", "1"),
        ];
        options.extend(pairs);
        let request = IngestRequest {
            run: run.to_string(),
            model: model.clone(),
            corpus: root("tests/data/demo/corpus.jsonl"),
            options: Options::of_words(&INGEST, options).expect("options"),
            max_activations: None,
        };
        ingest(&store, &request, &JobContext::default(), &mut |_| {}).expect("a run");
        let db = Db::open(store.root()).await;
        db.query(&format!("SET polysema.run = '{run}'")).await;
        let arrays = folder.path().join(format!("arrays_{run}"));
        fs::create_dir(&arrays).expect("a writable folder");
        dump(&db, &model, &arrays).await;
        let request = ImportRequest {
            run: format!("{run}_imported"),
            folder: arrays,
            options: Options::of_words(&IMPORT_RUN, pairs.iter().copied())
                .expect("options of both"),
            max_activations: None,
        };
        import_run(&store, &request, &JobContext::default(), &mut |_| {}).expect("a run");
        for sql in [
            "SELECT * FROM examples WHERE layer IN (0, 3) ORDER BY layer, neuron, example",
            "SELECT * FROM neurons WHERE layer IN (0, 3) ORDER BY layer, neuron",
            "SELECT * FROM histograms WHERE layer = 2 ORDER BY layer, neuron, bucket",
            "SELECT * FROM tokens ORDER BY doc_id, pos",
            "SELECT doc_id, text, n_tokens FROM documents ORDER BY doc_id",
        ] {
            let ingested = db.text(sql).await;
            db.query(&format!("SET polysema.run = '{run}_imported'"))
                .await;
            let imported = db.text(sql).await;
            assert!(ingested == imported, "{run}: {sql}");
            assert!(ingested.lines().count() > 10, "{run}: {sql} has rows");
            db.query(&format!("SET polysema.run = '{run}'")).await;
        }
    }
}

#[tokio::test]
async fn a_cancelled_import_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path()).expect("an empty store");
    let options = Options::of_words(&IMPORT_RUN, [("activation_function", "relu")]);
    let request = ImportRequest {
        run: "r".to_string(),
        folder: root("tests/data/import"),
        options: options.expect("an option"),
        max_activations: None,
    };
    for phase in ["read", "observe", "write"] {
        let cancelled = JobContext::default();
        let mut cancel = |progress: Progress| {
            if progress.phase == phase {
                cancelled.cancel();
            }
        };
        let error =
            import_run(&store, &request, &cancelled, &mut cancel).expect_err("a cancelled import");
        let message = error.strip_backtrace();
        assert!(message.contains(phase), "{message}");
        assert_eq!(
            store.runs().expect("a readable store"),
            Vec::<String>::new()
        );
    }
    let mut phases = vec![];
    import_run(&store, &request, &JobContext::default(), &mut |p| {
        phases.push(p.phase)
    })
    .expect("a run");
    phases.dedup();
    assert_eq!(
        phases,
        ["read", "observe", "write", "observe", "write", "done"]
    );
}
