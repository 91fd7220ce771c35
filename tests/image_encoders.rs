//! Images of bytes through encoders of images: what a run and `activations` hold of every patch is what `transformers`
//! gives with its own processors (tests/reference/image_ingest.py).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::database::{Db, root};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

const MODELS: [&str; 2] = ["vit-classifier", "clip_vision_model"];

/// Arrays under their names without the model's.
fn reference(model: &str) -> HashMap<String, Tensor> {
    let file = root("tests/reference/image_ingest.safetensors");
    let all = candle_core::safetensors::load(file, &Device::Cpu).expect("the reference");
    let own = all.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(model)?.strip_prefix('.')?;
        Some((name.to_string(), tensor))
    });
    own.collect()
}

fn preprocessor(model: &str) -> Value {
    let json = std::fs::read(root("tests/reference/image_ingest.json")).expect("the reference");
    let json: Value = serde_json::from_slice(&json).expect("a JSON file");
    json[model].clone()
}

/// A model's folder.
fn write(folder: &Path, model: &str, preprocessor: &Value) -> PathBuf {
    let to = folder.join(model);
    std::fs::create_dir_all(&to).expect("a folder");
    let from = root("tests/data/architectures").join(model);
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), to.join(name)).expect("a copy");
    }
    let path = to.join("preprocessor_config.json");
    std::fs::write(path, preprocessor.to_string()).expect("a file");
    to
}

/// A `.npy` file of bytes.
fn write_images(path: &Path, images: &Tensor) {
    let bytes = images.flatten_all().and_then(|t| t.to_vec1::<u8>());
    write_array(path, "|u1", images.dims(), &bytes.expect("bytes"));
}

/// A `.npy` file.
fn write_array(path: &Path, kind: &str, dims: &[usize], bytes: &[u8]) {
    let shape = dims.iter().map(|dim| format!("{dim},"));
    let shape = shape.collect::<String>();
    let mut header =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}").into_bytes();
    header.resize((header.len() + 10).next_multiple_of(64) - 11, b' ');
    header.push(b'\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header);
    file.extend(bytes);
    std::fs::write(path, file).expect("a file");
}

/// Elements of a list, a column each.
fn elements(list: &str, n: usize) -> String {
    let columns = (1..=n).map(|i| format!("{list}[{i}]"));
    columns.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn every_patch_has_the_values_that_transformers_gives() {
    let db = Db::new().await;
    for model in MODELS {
        let expected = reference(model);
        let folder = write(db.folder(), model, &preprocessor(model));
        let [behind, before] =
            ["behind", "before"].map(|name| db.folder().join(format!("{model}-{name}.npy")));
        write_images(&behind, &expected["images"]);
        let channels_first = expected["images"]
            .permute([0, 3, 1, 2])
            .and_then(|t| t.contiguous());
        write_images(&before, &channels_first.expect("an array"));
        for (corpus, batch_size) in [(&behind, 2), (&before, 16)] {
            for site in ["ln2.out", "ln2.normalized", "mlp.post", "resid.post"] {
                let tensor = &expected[site];
                let [n, positions, width] = [0, 1, 2].map(|i| tensor.dims()[i]);
                let values: Vec<f32> = tensor
                    .flatten_all()
                    .and_then(|t| t.to_vec1())
                    .expect("numbers");
                let largest = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
                let came = db
                    .numbers(&format!(
                        "SELECT doc_id, pos, {} FROM activations('{}', '{}', 'blocks.1.{site}', {{batch_size: {batch_size}}})
                         ORDER BY doc_id, pos",
                        elements("vector", width),
                        folder.display(),
                        corpus.display()
                    ))
                    .await;
                assert_eq!(came.len(), n * positions);
                for (i, (row, expected)) in came.iter().zip(values.chunks(width)).enumerate() {
                    assert_eq!(
                        [row[0], row[1]],
                        [(i / positions) as f64, (i % positions) as f64]
                    );
                    for (value, expected) in row[2..].iter().zip(expected) {
                        let off = (value - f64::from(*expected)).abs() / f64::from(largest);
                        assert!(off < 1e-5, "{model} {site} row {i}: {value} {expected}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn runs_have_a_document_an_image_and_a_token_a_patch() {
    let db = Db::new().await;
    let model = MODELS[0];
    let expected = reference(model);
    let folder = write(db.folder(), model, &preprocessor(model));
    let corpus = db.folder().join("images.npy");
    write_images(&corpus, &expected["images"]);
    let call = |options: &str| {
        format!(
            "CALL ingest('r', '{}', '{}', {{{options}}})",
            folder.display(),
            corpus.display()
        )
    };
    db.query(&call("window: 2, activation_threshold: 0.5"))
        .await;
    // Eight by sixteen pixels are two by four patches of four by four.
    let tokens = db
        .text("SELECT string_agg(token, ' ' ORDER BY pos) FROM r.tokens WHERE doc_id = 4")
        .await;
    assert!(
        tokens.contains("[CLS] (0,0) (0,1) (0,2) (0,3) (1,0) (1,1) (1,2) (1,3) "),
        "{tokens}"
    );
    assert_eq!(
        db.integer("SELECT count(*) FROM r.documents WHERE n_tokens = 9")
            .await,
        5
    );
    let post: Vec<Vec<Vec<f32>>> = expected["mlp.post"].to_vec3().expect("numbers");
    let received: Vec<Vec<Vec<f32>>> = expected["ln2.normalized"].to_vec3().expect("numbers");
    let examples = db
        .numbers(&format!(
            "SELECT neuron, doc_id, pos, activation, {} FROM r.examples WHERE layer = 1",
            elements("pre_mlp", 14)
        ))
        .await;
    assert!(examples.len() > 20, "{}", examples.len());
    for example in examples {
        let [neuron, document, pos] = [0, 1, 2].map(|i| example[i] as usize);
        let near = |value: f64, expected: f32| (value - f64::from(expected)).abs() < 3e-5;
        assert!(near(example[3], post[document][pos][neuron]), "{example:?}");
        for (value, h) in example[4..].iter().zip(&received[document][pos]) {
            assert!(near(*value, *h), "{example:?}");
        }
    }
    let maxima = db
        .numbers("SELECT max_activation FROM r.neurons WHERE layer = 1 ORDER BY neuron")
        .await;
    for (neuron, came) in maxima.iter().enumerate() {
        let all = post.iter().flatten().map(|row| row[neuron]);
        let max = all.fold(f32::NEG_INFINITY, f32::max);
        assert!((came[0] - f64::from(max)).abs() < 3e-5, "{neuron}");
    }
    db.query("CALL train_sae('s', 'blocks.1.mlp', {run: 'r', d_sae: 8, batch_size: 9, epochs: 2, seed: 1})").await;
    let rows = db
        .number("SELECT value FROM sae_metrics('s') WHERE metric = 'rows'")
        .await;
    assert_eq!(rows, 45.0);
    let accuracy =
        "SELECT count(*) FROM sae_metrics('s') WHERE metric LIKE 'accuracy%' AND value IS NULL";
    assert_eq!(db.integer(accuracy).await, 3);
    // A file of classes beside the images: those that transformers finds, but for one.
    let classes = expected["classes"].to_vec1::<i32>().expect("classes");
    let mut labels = classes.clone();
    labels[3] += 1;
    let beside = db.folder().join("images.labels.npy");
    let written = |labels: Vec<i32>| {
        let bytes = labels.iter().flat_map(|label| label.to_le_bytes());
        write_array(&beside, "<i4", &[labels.len()], &bytes.collect::<Vec<_>>());
    };
    written(labels.clone());
    db.query(&call("window: 2, activation_threshold: 0.5, replace: true"))
        .await;
    let of_run = db
        .numbers("SELECT label FROM r.documents ORDER BY doc_id")
        .await;
    let expected: Vec<_> = labels.iter().map(|label| vec![f64::from(*label)]).collect();
    assert_eq!(of_run, expected);
    db.query("CALL train_sae('t', 'blocks.1.mlp', {run: 'r', d_sae: 8, batch_size: 9, epochs: 2, seed: 1})").await;
    let metric = |name: &str| format!("SELECT value FROM sae_metrics('t') WHERE metric = '{name}'");
    assert_eq!(db.number(&metric("accuracy_percent")).await, 80.0);
    let with_sae = db.number(&metric("accuracy_with_sae_percent")).await;
    let lost = db.number(&metric("accuracy_loss_percent")).await;
    assert_eq!(lost, 80.0 - with_sae);
    for (labels, part) in [
        (vec![0; 4], "a label for each of the 5 images of"),
        (
            vec![0, 1, -1, 0, 0],
            "classes from 0 on are required, got -1",
        ),
    ] {
        written(labels);
        let refused = db.refused(&call("replace: true")).await;
        assert!(
            refused.contains("images.labels.npy") && refused.contains(part),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn what_would_be_resized_or_is_not_said_is_refused() {
    let db = Db::new().await;
    let model = MODELS[1];
    let images = &reference(model)["images"];
    let corpus = db.folder().join("images.npy");
    write_images(&corpus, images);
    let refused = async |change: &dyn Fn(&mut Value), corpus: &Path| {
        let mut said = preprocessor(model);
        change(&mut said);
        let folder = write(db.folder(), model, &said);
        let call = format!(
            "CALL ingest('r', '{}', '{}')",
            folder.display(),
            corpus.display()
        );
        db.refused(&call).await
    };
    let set = |name: &'static str, value: Value| move |said: &mut Value| said[name] = value.clone();
    for (name, value, part) in [
        (
            "size",
            json!({"shortest_edge": 16}),
            "a size that leaves the model's 12 x 12 pixels as they are is required",
        ),
        (
            "size",
            Value::Null,
            "a size that leaves the model's 12 x 12 pixels as they are is required, got null",
        ),
        (
            "crop_size",
            json!(8),
            "a crop_size that leaves the model's 12 x 12 pixels as they are is required, got 8",
        ),
        (
            "image_mean",
            json!([0.5]),
            "image_mean of a number for each of the model's 3 channels is required, got [0.5]",
        ),
        (
            "image_std",
            json!([0.5, 0.5, 0]),
            "image_std above 0 is required, got 0",
        ),
        (
            "rescale_factor",
            json!("1/255"),
            "rescale_factor: a number is required",
        ),
        ("do_pad", json!(true), "do_pad false is required, got true"),
    ] {
        let message = refused(&set(name, value), &corpus).await;
        assert!(message.contains(part), "{name}: {message}");
    }
    let same = |_: &mut Value| {};
    let narrow = images
        .narrow(2, 0, 8)
        .and_then(|t| t.contiguous())
        .expect("an array");
    let other = db.folder().join("narrow.npy");
    write_images(&other, &narrow);
    let message = refused(&same, &other).await;
    assert!(
        message.contains("images of 12 x 12 pixels with 3 channels before or behind these are required, since nothing is resized, got images of shape [12, 8, 3]"),
        "{message}"
    );
    let text = db.folder().join("a.txt");
    std::fs::write(&text, "a text").expect("a file");
    let message = refused(&same, &text).await;
    assert!(
        message.contains("got architecture clip_vision_model"),
        "{message}"
    );
    std::fs::remove_file(db.folder().join(model).join("preprocessor_config.json")).expect("a file");
    let call = format!(
        "CALL ingest('r', '{}', '{}')",
        db.folder().join(model).display(),
        corpus.display()
    );
    let message = db.refused(&call).await;
    assert!(
        message.contains("a preprocessor_config.json is required in"),
        "{message}"
    );
    assert_eq!(images.dtype(), DType::U8);
}
