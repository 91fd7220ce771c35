//! The ways in which the same model may be stored: with and without a head, under names that wrappers of training
//! prefix, with buffers that nobody asks for, as torch saves it.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use polysema::models::{Input, LoadedModel, load};
use tempfile::{TempDir, tempdir};

use super::Probe;

/// A tied model as it is stored, changed.
fn stored(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> (TempDir, LoadedModel) {
    let folder = written("llama", change);
    let loaded = load(folder.path()).expect("a model");
    (folder, loaded)
}

fn written(name: &str, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/architectures")
        .join(name);
    let folder = tempdir().expect("a temporary folder");
    let mut tensors = candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu)
        .expect("the tensors");
    change(&mut tensors);
    std::fs::copy(from.join("config.json"), folder.path().join("config.json")).expect("a copy");
    let path = folder.path().join("model.safetensors");
    candle_core::safetensors::save(&tensors, path).expect("a file");
    folder
}

fn logits(loaded: &LoadedModel) -> datafusion::error::Result<Vec<f32>> {
    let input = Input::Tokens {
        ids: &[3, 1, 4, 1, 5, 9],
        seq: 6,
    };
    loaded.model.logits(input, &mut Probe::default())
}

#[test]
fn a_tied_head_may_be_stored_in_place_of_the_embedding_and_a_stored_head_counts() {
    let (_folder, plain) = stored(|_| {});
    let expected = logits(&plain).expect("logits");
    let (_folder, head_alone) = stored(|tensors| {
        let embedding = tensors.remove("model.embed_tokens.weight").expect("it");
        tensors.insert("lm_head.weight".into(), embedding);
    });
    assert_eq!(logits(&head_alone).expect("logits"), expected);
    let (_folder, doubled) = stored(|tensors| {
        let head = (&tensors["model.embed_tokens.weight"] * 2.0).expect("a product");
        tensors.insert("lm_head.weight".into(), head);
    });
    let twice: Vec<f32> = expected.iter().map(|x| 2.0 * x).collect();
    assert_eq!(logits(&doubled).expect("logits"), twice);
}

#[test]
fn a_head_that_is_missing_is_missed_by_logits_alone() {
    let folder = written("qwen3-untied", |tensors| {
        tensors.remove("lm_head.weight").expect("a head");
    });
    let loaded = load(folder.path()).expect("a model");
    let input = Input::Tokens {
        ids: &[1, 2],
        seq: 2,
    };
    loaded
        .model
        .forward(input, &mut Probe::default())
        .expect("a pass");
    let error = logits(&loaded).expect_err("no head").to_string();
    assert!(
        error.contains("qwen3: a head is required for logits"),
        "{error}"
    );
}

#[test]
fn what_wrappers_put_before_names_is_taken_off_and_a_base_model_has_no_prefix() {
    let (_folder, plain) = stored(|_| {});
    let expected = logits(&plain).expect("logits");
    for prefix in ["module.", "_orig_mod.", "module._orig_mod."] {
        let (_folder, wrapped) = stored(|tensors| {
            let renamed = tensors
                .drain()
                .map(|(name, t)| (format!("{prefix}{name}"), t));
            *tensors = renamed.collect();
        });
        assert_eq!(logits(&wrapped).expect("logits"), expected, "{prefix}");
    }
    let (_folder, base) = stored(|tensors| {
        let bare = |name: String| name.replacen("model.", "", 1);
        *tensors = tensors.drain().map(|(name, t)| (bare(name), t)).collect();
    });
    assert_eq!(logits(&base).expect("logits"), expected);
}

#[test]
fn buffers_that_nobody_asks_for_may_have_any_type() {
    let (_folder, plain) = stored(|_| {});
    let (_folder, more) = stored(|tensors| {
        for (name, kind) in [("a", DType::U8), ("b", DType::I64), ("c", DType::U32)] {
            let buffer = Tensor::zeros((2, 3), kind, &Device::Cpu).expect("zeros");
            tensors.insert(format!("model.layers.0.self_attn.{name}"), buffer);
        }
    });
    assert_eq!(
        logits(&more).expect("logits"),
        logits(&plain).expect("logits")
    );
}

#[test]
fn a_bias_that_no_switch_announces_is_refused() {
    let folder = written("llama", |tensors| {
        let bias = Tensor::zeros(23, DType::F32, &Device::Cpu).expect("zeros");
        tensors.insert("model.layers.1.mlp.up_proj.bias".into(), bias);
    });
    let error = load(folder.path()).err().expect("a refusal").to_string();
    assert!(
        error.contains("a configuration with model.layers.1.mlp.up_proj.bias is required"),
        "{error}"
    );
}

/// tests/reference/torch_folder.py
#[test]
fn what_torch_saved_is_the_same_model() {
    let (_folder, plain) = stored(|_| {});
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch-llama");
    let saved = load(&folder).expect("a model");
    assert_eq!(
        logits(&saved).expect("logits"),
        logits(&plain).expect("logits")
    );
    // All but the transposed weight, 18 by 23, and the vectors of norms, five of 18, waits in the file.
    assert_eq!(saved.bytes, 4 * (18 * 23 + 5 * 18));
    let cut = tempdir().expect("a temporary folder");
    std::fs::copy(folder.join("config.json"), cut.path().join("config.json")).expect("a copy");
    let bytes = std::fs::read(folder.join("pytorch_model.bin")).expect("the file");
    let path = cut.path().join("pytorch_model.bin");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("a file");
    let error = load(cut.path()).err().expect("a refusal").to_string();
    assert!(
        error.contains("torch's zip container is required"),
        "{error}"
    );
}
