//! BERT from a corpus to runs: documents between [CLS] and [SEP], never padded, with the values that `transformers` gives
//! them (tests/reference/bert_ingest.py). Above 400 lines with what is refused of every encoder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::database::{Db, root};
use candle_core::{Device, Tensor};
use polysema::models::{Input, Unwatched, load};
use serde_json::Value;

const N_LAYERS: usize = 2;
const D_MODEL: usize = 18;
const N_NEURONS: usize = 23;
/// Relative to the largest value. The models' sums have at most some hundred terms.
const TOLERANCE: f64 = 1e-5;

struct Reference {
    context: u64,
    /// Token ids of every document.
    windows: Vec<Vec<u32>>,
    /// The document and position of every row of `rows`.
    places: Vec<[usize; 2]>,
    rows: HashMap<String, Tensor>,
}

impl Reference {
    fn read() -> Self {
        let [json, rows] = ["bert_ingest.json", "bert_ingest.safetensors"]
            .map(|name| root("tests/reference").join(name));
        let json: Value = serde_json::from_slice(&std::fs::read(json).expect("the reference"))
            .expect("a JSON file");
        let ids = |window: &Value| -> Vec<u32> {
            let ids = window.as_array().expect("a list").iter();
            ids.map(|id| id.as_u64().expect("an id") as u32).collect()
        };
        let windows = json["windows"].as_array().expect("windows").iter();
        let windows: Vec<_> = windows.map(ids).collect();
        let places = windows.iter().enumerate();
        let places =
            places.flat_map(|(document, ids)| (1..ids.len() - 1).map(move |pos| [document, pos]));
        Self {
            context: json["context"].as_u64().expect("a number"),
            places: places.collect(),
            windows,
            rows: candle_core::safetensors::load(rows, &Device::Cpu).expect("rows"),
        }
    }

    /// Where in `rows` a token is, unless it is a window's [CLS] or [SEP].
    fn row(&self, document: usize, pos: usize) -> Option<usize> {
        (self.places.iter()).position(|place| *place == [document, pos])
    }

    /// `[rows, width]`
    fn rows(&self, layer: usize, site: &str) -> Vec<Vec<f32>> {
        self.rows[&format!("blocks.{layer}.{site}")]
            .to_vec2()
            .expect("numbers")
    }
}

/// A store beside the model's folder and its corpus.
async fn written() -> (Db, PathBuf, PathBuf) {
    let db = Db::new().await;
    let (model, corpus) = (db.folder().join("bert"), db.folder().join("corpus.jsonl"));
    std::fs::create_dir(&model).expect("a folder");
    let from = root("tests/data/architectures/bert");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), model.join(name)).expect("a copy");
    }
    let json = std::fs::read(root("tests/reference/bert_ingest.json")).expect("the reference");
    let json: Value = serde_json::from_slice(&json).expect("a JSON file");
    let words = json["vocabulary"].as_str().expect("a text");
    std::fs::write(model.join("vocab.txt"), words).expect("a file");
    let texts = json["texts"].as_array().expect("texts").iter();
    let lines = texts.map(|text| format!("{}\n", serde_json::json!({ "text": text })));
    std::fs::write(&corpus, lines.collect::<String>()).expect("a file");
    (db, model, corpus)
}

/// The elements of a list, a column each.
fn elements(list: &str, n: usize) -> String {
    let columns = (1..=n).map(|i| format!("{list}[{i}]"));
    columns.collect::<Vec<_>>().join(", ")
}

fn call(run: &str, model: &Path, corpus: &Path, options: &str) -> String {
    format!(
        "CALL ingest('{run}', '{}', '{}', {{{options}}})",
        model.display(),
        corpus.display()
    )
}

#[tokio::test]
async fn documents_stand_between_the_tokens_that_transformers_puts_there() {
    let (db, model, corpus) = written().await;
    let expected = Reference::read();
    let context = expected.context;
    db.query(&call("r", &model, &corpus, &format!("context: {context}")))
        .await;
    let tokens = db
        .numbers("SELECT doc_id, pos, token_id FROM r.tokens ORDER BY doc_id, pos")
        .await;
    let documents = expected.windows.iter().enumerate();
    let all = documents.flat_map(|(document, ids)| {
        let ids = ids.iter().enumerate();
        ids.map(move |(pos, id)| vec![document as f64, pos as f64, f64::from(*id)])
    });
    assert_eq!(tokens, all.collect::<Vec<_>>());
    // The text is that of the document's own tokens.
    let text = db
        .text("SELECT n_tokens, text FROM r.documents WHERE doc_id IN (0, 1, 2) ORDER BY doc_id")
        .await;
    for part in [
        "| 9        | the river ran[UNK] the old bank |",
        "| 3        |  . ",
        "| 8        | the bank ' s money ! ",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let recorded = db
        .text("SELECT layer_norm, options FROM polysema.info.runs")
        .await;
    assert!(
        recorded.contains("raw") && recorded.contains("\"bos\":true"),
        "{recorded}"
    );
}

#[tokio::test]
async fn runs_hold_what_transformers_gives_every_document_alone() {
    let (db, model, corpus) = written().await;
    let expected = Reference::read();
    let options = format!(
        "context: {}, activation_threshold: 0.5, layer_norm: 'raw'",
        expected.context
    );
    db.query(&call("r", &model, &corpus, &options)).await;
    db.query(&call(
        "one",
        &model,
        &corpus,
        &format!("{options}, batch_size: 1"),
    ))
    .await;
    for layer in 0..N_LAYERS {
        let (h, post) = (
            expected.rows(layer, "mlp.in"),
            expected.rows(layer, "mlp.post"),
        );
        let largest = post
            .iter()
            .flatten()
            .fold(0.0_f32, |max, x| max.max(x.abs()));
        let off = |a: f64, b: f32| (a - f64::from(b)).abs() / f64::from(largest);
        let neurons = db
            .numbers(&format!(
                "SELECT max_activation, mean_activation, frac_active FROM r.neurons WHERE layer = {layer} ORDER BY neuron"
            ))
            .await;
        assert_eq!(neurons.len(), N_NEURONS);
        for (neuron, came) in neurons.iter().enumerate() {
            let of = || post.iter().map(|row| row[neuron]);
            let n = post.len() as f32;
            let max = of().fold(f32::NEG_INFINITY, f32::max);
            let mean = of().sum::<f32>() / n;
            let active = of().filter(|x| *x > 0.0).count() as f32 / n;
            assert!(
                off(came[0], max) < TOLERANCE,
                "{layer} {neuron} {came:?} {max}"
            );
            assert!(
                off(came[1], mean) < TOLERANCE,
                "{layer} {neuron} {came:?} {mean}"
            );
            assert!(
                (came[2] - f64::from(active)).abs() < 1e-6,
                "{layer} {neuron} {came:?} {active}"
            );
        }
        let examples = db
            .numbers(&format!(
                "SELECT neuron, doc_id, pos, activation, {} FROM r.examples WHERE layer = {layer}",
                elements("pre_mlp", D_MODEL)
            ))
            .await;
        assert!(examples.len() > 40, "{}", examples.len());
        for example in examples {
            let [neuron, document, pos] = [0, 1, 2].map(|i| example[i] as usize);
            let row = expected.row(document, pos);
            let row = row.expect("a token between [CLS] and [SEP]");
            assert!(
                off(example[3], post[row][neuron]) < TOLERANCE,
                "{example:?}"
            );
            for (value, h) in example[4..].iter().zip(&h[row]) {
                assert!((value - f64::from(*h)).abs() < 1e-5, "{value} {h}");
            }
        }
    }
    db.none(
        "batches of one document",
        "SELECT e.layer, e.neuron FROM r.examples e FULL JOIN one.examples f USING (layer, neuron, example)
         WHERE (e.doc_id IS DISTINCT FROM f.doc_id) OR (e.pos IS DISTINCT FROM f.pos)
            OR abs(e.activation - f.activation) > 1e-5",
    )
    .await;
}

#[tokio::test]
async fn what_is_around_a_token_is_seen_with_the_tokens_put_there() {
    let (db, model, corpus) = written().await;
    let expected = Reference::read();
    for (run, window) in [("wide", 20), ("narrow", 2)] {
        let options = format!("context: {}, window: {window}", expected.context);
        db.query(&call(run, &model, &corpus, &options)).await;
        let mut closing = 0;
        for layer in 0..N_LAYERS {
            let (post, around) = (
                expected.rows(layer, "mlp.post"),
                expected.rows(layer, "mlp.post.around"),
            );
            let came = db
                .numbers(&format!(
                    "SELECT neuron, doc_id, e.pos, window_start, array_length(window_activations),
                         array_length(window_tokens), w.pos, window_activations[w.pos - window_start + 1]
                     FROM {run}.examples e JOIN {run}.tokens w USING (doc_id)
                     WHERE layer = {layer} AND w.pos >= window_start AND w.pos < window_start + array_length(window_activations)"
                ))
                .await;
            assert!(came.len() > 100, "{}", came.len());
            for row in came {
                let [neuron, document, key, start, n, tokens, pos] =
                    [0, 1, 2, 3, 4, 5, 6].map(|i| row[i] as usize);
                let last = expected.windows[document].len() - 1;
                assert_eq!(start, key.saturating_sub(window));
                assert_eq!(n, last.min(key + window) + 1 - start, "{row:?}");
                assert_eq!(n, tokens);
                let value = match expected.row(document, pos) {
                    Some(at) => post[at][neuron],
                    None => around[2 * document + usize::from(pos == last)][neuron],
                };
                assert!((row[7] - f64::from(value)).abs() < 1e-5, "{row:?} {value}");
                closing += usize::from(pos == last && value.abs() > 0.1);
            }
        }
        assert!(
            closing > 5,
            "{run}: neurons that respond to [SEP], got {closing}"
        );
    }
}

#[tokio::test]
async fn every_token_of_a_document_has_a_vector_at_a_hook() {
    let (db, model, corpus) = written().await;
    let expected = Reference::read();
    let post = expected.rows(1, "mlp.post");
    for batch_size in [1, 16] {
        let came = db
            .numbers(&format!(
                "SELECT doc_id, pos, {} FROM activations('{}', '{}', 'blocks.1.mlp.post',
                     {{context: {}, batch_size: {batch_size}}}) ORDER BY doc_id, pos",
                elements("vector", N_NEURONS),
                model.display(),
                corpus.display(),
                expected.context
            ))
            .await;
        assert_eq!(came.len(), expected.places.len());
        for ((row, place), expected) in came.iter().zip(&expected.places).zip(&post) {
            assert_eq!([row[0] as usize, row[1] as usize], *place);
            for (value, expected) in row[2..].iter().zip(expected) {
                assert!((value - f64::from(*expected)).abs() < 1e-5, "{place:?}");
            }
        }
    }
}

#[tokio::test]
async fn ids_that_were_given_get_each_token_once() {
    let (db, model, corpus) = written().await;
    let expected = Reference::read();
    let rows = db.folder().join("ids.jsonl");
    let whole = [
        vec![2, 25, 26, 3],
        vec![25, 26],
        vec![2, 25, 26, 28, 27, 29, 30, 9, 10, 11, 3],
    ];
    let lines = whole.map(|ids| format!("{}\n", serde_json::json!({ "input_ids": ids })));
    std::fs::write(&rows, lines.concat()).expect("a file");
    let of = |run: &str, options: &str| {
        call(
            run,
            &model,
            &rows,
            &format!("context: 9, column: 'input_ids'{options}"),
        )
    };
    db.query(&of("ids", "")).await;
    let ids = "SELECT doc_id, string_agg(CAST(token_id AS TEXT), ' ' ORDER BY pos) FROM ids.tokens GROUP BY 1 ORDER BY 1";
    let came = db.text(ids).await;
    for part in ["| 2 25 26 3 ", "| 2 25 26 28 27 29 30 9 3 ", "| 2 10 11 3 "] {
        assert!(came.contains(part), "{came}");
    }
    assert_eq!(came.matches("| 2 25 26 3 ").count(), 2, "{came}");
    // Without the two, they are what they are.
    db.query(&of("bare", ", bos: false")).await;
    let bare = db.text(&ids.replace("ids.tokens", "bare.tokens")).await;
    assert!(
        bare.contains("| 25 26 ") && bare.contains("| 2 25 26 28 27 29 30 9 10 "),
        "{bare}"
    );

    for (options, part) in [
        (
            "context: 2",
            "context must be at least 3 with a token before and one after each document, got 2",
        ),
        (
            "context: 9, layer_norm: 'folded'",
            "layer_norm 'raw' is required, since the norm before the MLP makes the residual stream, too",
        ),
        (
            "context: 41",
            "context must be at most the model's 40 positions, got 41",
        ),
    ] {
        let refused = db.refused(&call("r", &model, &corpus, options)).await;
        assert!(refused.contains(part), "{refused}");
    }
    std::fs::remove_file(model.join("vocab.txt")).expect("a file");
    let refused = db.refused(&of("none", "")).await;
    let part = "bos: false is required for documents of architecture bert without a tokenizer";
    assert!(refused.contains(part), "{refused}");
    db.query(&of("none", ", bos: false")).await;
    assert_eq!(expected.context, 9);
}

#[tokio::test]
async fn autoencoders_are_trained_on_its_layers_and_predict_no_next_token() {
    let (db, model, corpus) = written().await;
    db.query(&call("r", &model, &corpus, "context: 9")).await;
    db.query("CALL train_sae('s', 'blocks.1.mlp', {run: 'r', d_sae: 8, batch_size: 16, epochs: 2, seed: 1})").await;
    let expected = Reference::read();
    let rows = db
        .number("SELECT value FROM sae_metrics('s') WHERE metric = 'rows'")
        .await;
    assert_eq!(rows as usize, expected.places.len());
    let nothing =
        "SELECT count(*) FROM sae_metrics('s') WHERE metric LIKE 'ce_loss%' AND value IS NULL";
    assert_eq!(db.integer(nothing).await, 4);
}

/// A copy of a model whose configuration says something else, or what loading it says.
fn changed(model: &str, key: &str, value: Value) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let from = root("tests/data/architectures").join(model);
    let config = std::fs::read(from.join("config.json")).expect("a configuration");
    let mut config: Value = serde_json::from_slice(&config).expect("a JSON file");
    match config.get_mut("vision_config") {
        Some(vision) => vision[key] = value,
        None => config[key] = value,
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
    let weights = "model.safetensors";
    std::fs::copy(from.join(weights), folder.path().join(weights)).expect("a copy");
    let loaded = load(folder.path());
    loaded.err().map_or(String::new(), |e| e.strip_backtrace())
}

#[test]
fn switches_that_are_not_computed_are_refused_by_name() {
    for (model, key, value, part) in [
        (
            "bert",
            "is_decoder",
            true.into(),
            "is_decoder false is required, got true",
        ),
        (
            "bert",
            "add_cross_attention",
            true.into(),
            "add_cross_attention false is required",
        ),
        (
            "bert",
            "position_embedding_type",
            "relative_key".into(),
            "position_embedding_type \"absolute\" is required, got \"relative_key\"",
        ),
        ("bert", "hidden_act", "mish".into(), "hidden_act of"),
        (
            "bert",
            "type_vocab_size",
            3.into(),
            "token_type_embeddings.weight: shape [3, 18] is required",
        ),
        (
            "vit-classifier",
            "qkv_bias",
            false.into(),
            "got the tensor but no switch that says it counts",
        ),
        (
            "vit",
            "num_channels",
            1.into(),
            "projection.weight: shape [18, 1, 4, 4] is required",
        ),
        (
            "vit",
            "patch_size",
            16.into(),
            "a patch_size of at most image_size, [12, 12], is required, got [16, 16]",
        ),
        (
            "vit",
            "image_size",
            Value::from(vec![8, 0]),
            "image_size: a size or a height and a width",
        ),
        (
            "vit",
            "image_size",
            16.into(),
            "position_embeddings: shape [1, 17, 18] is required",
        ),
        ("clip", "hidden_act", "mish".into(), "hidden_act of"),
        (
            "clip",
            "rope_scaling",
            "x".into(),
            "rope_scaling null is required",
        ),
        (
            "clip_vision_model",
            "num_attention_heads",
            4.into(),
            "a width divisible by the number of heads is required, got 18 and 4",
        ),
    ] {
        let message = changed(model, key, value);
        assert!(message.contains(part), "{model} {key}: {message}");
    }
    assert_eq!(
        changed("bert", "position_embedding_type", "absolute".into()),
        ""
    );
}

/// The first BERTs call scale and bias of their norms gamma and beta, and have the head's bias twice.
#[test]
fn older_names_of_tensors_are_read() {
    let from = root("tests/data/architectures/bert-masked");
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(from.join("config.json"), folder.path().join("config.json")).expect("a copy");
    let tensors = candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu);
    let tensors = tensors.expect("weights").into_iter().map(|(name, tensor)| {
        let older = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        (older.replace("LayerNorm.bias", "LayerNorm.beta"), tensor)
    });
    let mut tensors: HashMap<_, _> = tensors.collect();
    let bias = tensors["cls.predictions.bias"].clone();
    tensors.insert("cls.predictions.decoder.bias".to_string(), bias);
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors"))
        .expect("a file");
    let logits = |folder: &Path| {
        let model = load(folder).expect("a model").model;
        let ids = [2, 25, 26, 3];
        let input = Input::Tokens { ids: &ids, seq: 4 };
        model.logits(input, &mut Unwatched).expect("logits")
    };
    assert_eq!(logits(folder.path()), logits(&from));
}
