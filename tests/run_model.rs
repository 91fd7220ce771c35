//! What functions make of a run's model, against programs in PyTorch: direct effects of neurons on the logits of every
//! family of decoders, activations on whole documents, and what is lost without a token.

use std::path::Path;

use crate::database::{Db, root};
use futures::TryStreamExt;
use polysema::models::{LayerNorm, LogitWriter, Model, load};
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions};
use serde_json::Value;

/// Relative to the largest value: weights are float32, and the programs compute in float64.
const TOLERANCE: f64 = 1e-5;
/// Of activations and what is lost of them, which lie behind some blocks in float32.
const AFTER_BLOCKS: f64 = 1e-4;

fn reference(name: &str) -> Value {
    let path = root("tests/reference").join(name);
    let text = std::fs::read_to_string(path).expect("reference values");
    serde_json::from_str(&text).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("a list").iter();
    values.map(|x| x.as_f64().expect("a number")).collect()
}

/// Output weights of a neuron.
fn written(model: &dyn Model, layer: usize, neuron: usize) -> Vec<f32> {
    let weights = model
        .neuron_weights(layer, LayerNorm::Raw)
        .expect("weights");
    let d = weights.w_out.len() / model.layers()[layer].n_neurons;
    weights.w_out[neuron * d..(neuron + 1) * d].to_vec()
}

#[test]
fn effects_on_logits_are_those_of_transformers_own_modules() {
    let expected = reference("logit_effects.json");
    let models = expected.as_object().expect("models");
    assert!(models.len() > 40, "{} models", models.len());
    for (name, cases) in models {
        let folder = match name.as_str() {
            "demo" => root("tests/data/demo/model"),
            name => root("tests/data/architectures").join(name),
        };
        let model = load(&folder).expect("a model").model;
        for case in cases.as_array().expect("neurons") {
            let index = |key: &str| case[key].as_u64().expect("a number") as usize;
            let (layer, neuron) = (index("layer"), index("neuron"));
            let written = written(model.as_ref(), layer, neuron);
            assert_eq!(model.norm_before_logits(), !case["folded"].is_null());
            for (word, folded) in [("folded", true), ("raw", false)] {
                if case[word].is_null() {
                    continue;
                }
                let effects = model.logit_effects(LogitWriter::Neurons(layer), &written, folded);
                let effects = effects.unwrap_or_else(|error| panic!("{name}: {error}"));
                let effects: Vec<f64> = effects.iter().map(|x| f64::from(*x)).collect();
                let mean = match folded {
                    true => effects.iter().sum::<f64>() / effects.len() as f64,
                    false => 0.0,
                };
                let largest = effects.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
                for pair in ["top", "bottom"].into_iter().flat_map(|side| {
                    let pairs = case[word][side].as_array().expect("tokens").iter();
                    pairs.map(numbers)
                }) {
                    let found = effects[pair[0] as usize] - mean;
                    assert!(
                        (found - pair[1]).abs() < TOLERANCE * largest,
                        "{name}, layer {layer}, neuron {neuron}, {word}, token {}: {} expected, {found} found",
                        pair[0],
                        pair[1]
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn activations_and_importance_are_those_of_hooks_in_transformers() {
    let expected = reference("token_importance.json");
    let db = Db::new().await;
    for (name, cases) in expected.as_object().expect("models") {
        let model = match name.as_str() {
            "demo" => "tests/data/demo/model",
            _ => "tests/data/architectures/llama",
        };
        let model = root(model).display().to_string();
        for case in cases.as_array().expect("cases") {
            let (layer, neuron, pad) = (&case["layer"], &case["neuron"], &case["pad"]);
            db.query(&format!(
                "CALL ingest('one', '{model}', (SELECT {} AS ids), {{column: 'ids', context: 40, replace: true}})",
                case["ids"]
            ))
            .await;
            let call = format!("token_activations({layer}, {neuron}, 0, {{run: 'one'}})");
            let rows = db
                .numbers(&format!(
                    "SELECT activation, token_id FROM {call} ORDER BY pos"
                ))
                .await;
            let whole = numbers(&case["whole"]);
            let largest = whole.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
            let near = |found: f64, expected: f64, what: &str| {
                assert!(
                    (found - expected).abs() < AFTER_BLOCKS * largest,
                    "{name}, layer {layer}, neuron {neuron}, {what}: {expected} expected, {found} found"
                );
            };
            assert_eq!(rows.len(), whole.len());
            for ((row, expected), id) in rows.iter().zip(&whole).zip(numbers(&case["ids"])) {
                near(row[0], *expected, "activation");
                assert_eq!(row[1], id);
            }
            let sign = if case["least"] == true { "<" } else { ">" };
            let example = db
                .integer(&format!(
                    "SELECT example FROM one.examples WHERE layer = {layer} AND neuron = {neuron} AND activation {sign} 0"
                ))
                .await;
            let rows = db
                .numbers(&format!(
                    "SELECT pos, activation, \"drop\", importance
                     FROM token_importance({layer}, {neuron}, {example}, {{run: 'one', pad: {pad}, batch_size: 4}})
                     ORDER BY pos"
                ))
                .await;
            let (replaced, drops) = (numbers(&case["activation"]), numbers(&case["drop"]));
            let of_key = drops[drops.len() - 1];
            assert_eq!(
                rows.len(),
                case["pos"].as_u64().expect("a position") as usize + 1
            );
            for (pos, row) in rows.iter().enumerate() {
                assert_eq!(row[0] as usize, pos);
                near(row[1], replaced[pos], "activation without a token");
                near(row[2], drops[pos], "drop");
                let share = numbers(&case["importance"])[pos];
                near((row[3] - share) * of_key, 0.0, "importance");
            }
        }
    }
}

/// The files in which a run keeps what was computed of it.
fn kept(store: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(store.join("runs/texts")).expect("a run");
    let folders = folders.map(|entry| entry.expect("an entry").path());
    let folders = folders.filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).expect("a generation"));
    let files = files.map(|entry| entry.expect("an entry").path());
    let is_kept = |path: &std::path::PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("cached-") && name.ends_with(".arrow"))
    };
    files.filter(is_kept).collect()
}

/// What a session of a policy is told in an engine of its own, as another process has it.
async fn told(store: &Path, policy: Policy, sql: &str) -> Result<String, String> {
    let options = EngineOptions {
        store: store.to_path_buf(),
        memory_limit: None,
        loaded_limit: None,
    };
    let session = Engine::open(&options).and_then(|engine| engine.session(policy));
    let session = session.expect("a session");
    session.select_run("texts").await.expect("a run");
    let rows = async { session.query(sql).await?.try_collect::<Vec<_>>().await };
    let rows = rows.await.map_err(|error| error.strip_backtrace())?;
    let text = datafusion::arrow::util::pretty::pretty_format_batches(&rows);
    Ok(text.expect("printable").to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn importance_is_computed_once_where_it_may_be_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, store) = (folder.path().join("model"), folder.path().join("s"));
    std::fs::create_dir(&model).expect("a folder");
    for entry in std::fs::read_dir(root("tests/data/demo/model")).expect("the demo's model") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, model.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let corpus = root("tests/data/demo/corpus.jsonl");
    let db = Db::open(&store).await;
    db.query(&format!(
        "CALL ingest('texts', '{}', '{}', {{max_documents: 12, context: 64}})",
        model.display(),
        corpus.display()
    ))
    .await;
    let importance = |example: usize, options: &str| {
        format!(
            "SELECT pos, token, activation, \"drop\", importance FROM token_importance(0, 1, {example}, {{window: 4{options}}})"
        )
    };
    let all = Policy::everything;
    let reader = || Policy {
        read_files: true,
        settings: vec!["polysema.".to_string()],
        ..Policy::nothing()
    };
    // Who may not change the store is answered and leaves nothing behind.
    let first = told(&store, reader(), &importance(0, ""))
        .await
        .expect("rows");
    assert_eq!(kept(&store).len(), 0);
    let forbidden = format!("SET polysema.allow_jobs = false; {}", importance(0, ""));
    let session = Db::open(&store).await.session;
    session.select_run("texts").await.expect("a run");
    for statement in forbidden.split("; ") {
        let rows = session.query(statement).await.expect(statement);
        rows.try_collect::<Vec<_>>().await.expect(statement);
    }
    assert_eq!(kept(&store).len(), 0);
    let again = told(&store, all(), &importance(0, "")).await;
    assert_eq!(again.as_deref(), Ok(first.as_str()));
    assert_eq!(kept(&store).len(), 1);
    // Without the model there is no pass; what was kept is there for every reader, whatever the speed asked for.
    std::fs::rename(&model, folder.path().join("elsewhere")).expect("moved");
    for options in ["", ", batch_size: 2"] {
        for policy in [all(), reader()] {
            let kept = told(&store, policy, &importance(0, options)).await;
            assert_eq!(kept.as_deref(), Ok(first.as_str()));
        }
    }
    for (example, options) in [(1, ""), (0, ", pad: 7")] {
        let error = told(&store, all(), &importance(example, options)).await;
        let error = error.expect_err("no model");
        assert!(
            error.contains("the model of run 'texts' is required"),
            "{error}"
        );
    }
    // What is damaged is none of it: it is computed anew, and written.
    let file = kept(&store).remove(0);
    let whole = std::fs::read(&file).expect("a file");
    let mut bytes = whole.clone();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).expect("written");
    assert!(told(&store, all(), &importance(0, "")).await.is_err());
    std::fs::rename(folder.path().join("elsewhere"), &model).expect("back");
    let again = told(&store, all(), &importance(0, "")).await;
    assert_eq!(again.as_deref(), Ok(first.as_str()));
    assert_eq!(std::fs::read(&file).expect("a file"), whole);
}
