//! Folders and inputs that must be refused, each by a message that names the file, the tensor or the number; and the
//! variants of a folder that must not be. Above 400 lines: a list of small cases.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use polysema::models::{HookPoint, Input, LayerNorm, LoadedModel, Site, load};
use serde_json::json;
use tempfile::{TempDir, tempdir};

use super::{Probe, assert_close};
use crate::support::{Folder, TINY, gpt2, write_tensors};

fn written(change: impl FnOnce(&mut Folder)) -> TempDir {
    let directory = tempdir().expect("a temporary folder");
    let mut folder = gpt2(&TINY);
    change(&mut folder);
    folder.write(directory.path());
    directory
}

#[track_caller]
fn refuses(path: &Path, parts: &[&str]) {
    let error = load(path).err().expect("a refused folder").to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} names {part:?}");
    }
}

#[track_caller]
fn refuses_config(key: &str, value: serde_json::Value, parts: &[&str]) {
    let directory = written(|folder| folder.config[key] = value);
    refuses(directory.path(), parts);
}

fn logits(loaded: &LoadedModel) -> Vec<f32> {
    let input = Input::Tokens {
        ids: &[1, 2, 3, 4, 5, 6],
        seq: 3,
    };
    loaded
        .model
        .logits(input, &mut Probe::default())
        .expect("a forward pass")
}

fn loaded(change: impl FnOnce(&mut Folder)) -> LoadedModel {
    load(written(change).path()).expect("a whole folder")
}

#[test]
fn missing_files() {
    let directory = tempdir().unwrap();
    refuses(directory.path(), &["config.json", "readable file"]);
    gpt2(&TINY).write_config(directory.path());
    refuses(
        directory.path(),
        &["model.safetensors or model.safetensors.index.json or pytorch_model.bin"],
    );
}

#[test]
fn broken_files() {
    let directory = written(|_| ());
    let path = directory.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    refuses(
        directory.path(),
        &["model.safetensors", "a whole safetensors file is required"],
    );
    std::fs::write(&path, b"").unwrap();
    refuses(directory.path(), &["model.safetensors", "got 0 bytes"]);
    std::fs::write(directory.path().join("config.json"), "{").unwrap();
    refuses(directory.path(), &["config.json: JSON is required"]);
    let directory = written(|_| ());
    std::fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
    refuses(
        directory.path(),
        &["tokenizer.json: a tokenizer is required"],
    );
    // The library panics at it: found by the fuzz target `tokenizers`.
    let path = directory.path().join("tokenizer.json");
    let write = |normalizer: &str, decoder: &str| {
        let tokenizer = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {normalizer},
                "pre_tokenizer": null, "post_processor": null, "decoder": {decoder},
                "model": {{"type": "WordLevel", "unk_token": "a", "vocab": {{"a": 0}}}}}}"#
        );
        std::fs::write(&path, tokenizer).unwrap();
    };
    let fails = "a tokenizer is required, got one that the tokenizers library fails at";
    write(r#"{"type": "Precompiled"}"#, "null");
    refuses(directory.path(), &[fails]);
    // 3 kB, of which each letter would have become 2^40.
    let doubles =
        [r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#; 40].join(",");
    let times = "times as long is required, got one of replacements that make it 1099511627776";
    write(
        &format!(r#"{{"type": "Sequence", "normalizers": [{doubles}]}}"#),
        "null",
    );
    refuses(directory.path(), &["a normalizer that makes", times]);
    write(
        "null",
        &format!(r#"{{"type": "Sequence", "decoders": [{doubles}]}}"#),
    );
    refuses(directory.path(), &["a decoder that makes", times]);
    // A table that says it has 1 GiB, for which the library makes room for 2 GiB.
    let huge = r#"{"type": "Precompiled", "precompiled_charsmap": "AAAAQA=="}"#;
    let most = "a precompiled_charsmap of 1073741824 bytes of entries, as it says, is required, got at most 6";
    write(huge, "null");
    refuses(directory.path(), &["tokenizer.json", most]);
    write(
        &format!(r#"{{"type": "Sequence", "normalizers": [{huge}]}}"#),
        "null",
    );
    refuses(directory.path(), &["tokenizer.json", most]);
    write(&format!(r#"{huge}, "normalizer": null"#), "null");
    refuses(directory.path(), &["duplicate field `normalizer`"]);
    // Nor is the table made where what follows it is broken.
    for normalizer in ["null", huge] {
        write(normalizer, r#"{"type"}"#);
        refuses(
            directory.path(),
            &["a tokenizer is required, got expected `:`"],
        );
    }
    // This one only when it is asked.
    write(
        r#"{"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}"#,
        "null",
    );
    let loaded = load(directory.path()).unwrap();
    let error = loaded.required_tokenizer().unwrap().encode("a");
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("got one that the tokenizer fails at"),
        "{error}"
    );
}

#[test]
fn broken_tensors() {
    let directory = written(|folder| {
        folder.tensors.remove("h.1.mlp.c_fc.bias");
    });
    refuses(
        directory.path(),
        &["model.safetensors: tensor h.1.mlp.c_fc.bias is required"],
    );
    let directory = written(|folder| {
        let turned = Tensor::zeros((32, 8), DType::F32, &Device::Cpu).unwrap();
        folder.tensors.insert("h.0.mlp.c_fc.weight".into(), turned);
    });
    let shapes = "tensor h.0.mlp.c_fc.weight: shape [8, 32] is required, got [32, 8]";
    refuses(directory.path(), &["model.safetensors", shapes]);
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        let directory = written(|folder| {
            let mut values = vec![1.0; 8];
            values[5] = bad;
            let tensor = Tensor::from_vec(values, 8, &Device::Cpu).unwrap();
            folder.tensors.insert("ln_f.weight".into(), tensor);
        });
        let message = format!("tensor ln_f.weight: finite values are required, got {bad} at 5");
        refuses(directory.path(), &["model.safetensors", &message]);
    }
    let directory = written(|folder| {
        let whole = Tensor::zeros(8, DType::U8, &Device::Cpu).unwrap();
        folder.tensors.insert("ln_f.weight".into(), whole);
    });
    refuses(
        directory.path(),
        &[
            "tensor ln_f.weight: type float32, float64, float16, bfloat16",
            "got u8",
        ],
    );
}

/// `torch.tril(...)` of old checkpoints, and whatever else lies beside the parameters.
#[test]
fn tensors_nobody_asks_for_may_be_of_any_type() {
    let directory = written(|_| ());
    let path = directory.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let end = bytes.len() - 8 - length;
    header["h.0.attn.bias"] =
        json!({"dtype": "BOOL", "shape": [1, 1, 2, 2], "data_offsets": [end, end + 4]});
    header["h.0.mask"] =
        json!({"dtype": "F8_E4M3", "shape": [2], "data_offsets": [end + 4, end + 6]});
    let header = header.to_string();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header.as_bytes());
    changed.extend(&bytes[8 + length..]);
    changed.extend([1; 6]);
    std::fs::write(&path, changed).unwrap();
    assert_eq!(
        logits(&load(directory.path()).unwrap()),
        logits(&loaded(|_| ()))
    );
}

#[test]
fn configurations_that_are_not_ours() {
    refuses_config(
        "model_type",
        json!("mamba"),
        &["config.json", "gpt2, gpt_neo", "got mamba"],
    );
    refuses_config(
        "model_type",
        json!(null),
        &["config.json", "gpt2, gpt_neo", "got neither"],
    );
    refuses_config(
        "activation_function",
        json!("gelu_python"),
        &["gelu_new", "relu", "got gelu_python"],
    );
    refuses_config(
        "add_cross_attention",
        json!(true),
        &["add_cross_attention false is required"],
    );
    refuses_config(
        "pruned_heads",
        json!({"0": [1]}),
        &["pruned_heads {} is required"],
    );
    refuses_config(
        "n_head",
        json!(3),
        &["a width divisible by the number of heads is required, got 8 and 3"],
    );
    refuses_config(
        "n_layer",
        json!(0),
        &["n_layer of at least 1 is required, got 0"],
    );
    refuses_config("n_embd", json!("8"), &["config.json", "8"]);
    // Sizes are held against the tensors before anything is sized by them.
    for name in ["n_layer", "n_embd", "n_positions", "vocab_size", "n_inner"] {
        for huge in [1_000_000_000_000_000_u64, 1 << 63] {
            let most = format!("{name} of at most 1073741824 is required, got {huge}");
            refuses_config(name, json!(huge), &["config.json", &most]);
        }
        let parts: &[&str] = match name {
            "n_layer" => &["at most 4096 layers are required, got 1073741824"],
            _ => &["tensor", "is required, got ["],
        };
        refuses_config(name, json!(1 << 30), parts);
    }
    let layers = "at most as many layers as tensors, ";
    refuses_config("n_layer", json!(4096), &[layers, "got 4096"]);
    refuses_config("n_layer", json!(1e15), &["config.json", "1000000000000000"]);
    refuses_config("n_layer", json!(-1), &["config.json", "-1"]);
}

#[test]
fn vocabulary_mismatch() {
    let tokens: Vec<String> = (0..40_u8)
        .map(|i| char::from(b'A' + i).to_string())
        .collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let directory = tempdir().unwrap();
    let folder = gpt2(&TINY);
    folder.write(directory.path());
    folder.write_tokenizer(directory.path(), &tokens);
    refuses(
        directory.path(),
        &["tokenizer.json: vocabulary mismatch", "32", "40"],
    );
    folder.write_tokenizer(directory.path(), &tokens[..20]);
    let tokenizer = load(directory.path())
        .unwrap()
        .tokenizer
        .expect("a tokenizer");
    assert_eq!((tokenizer.d_vocab(), tokenizer.bos()), (20, None));
    assert_eq!(tokenizer.encode("CAB").unwrap(), [2, 0, 1]);
}

#[test]
fn inputs_out_of_range() {
    let model = loaded(|_| ()).model;
    let error = |input| {
        model
            .forward(input, &mut Probe::default())
            .unwrap_err()
            .to_string()
    };
    let came = error(Input::Tokens {
        ids: &[0; 17],
        seq: 17,
    });
    assert!(
        came.contains("a context of 1 to 16 positions is required, got 17"),
        "{came}"
    );
    let came = error(Input::Tokens {
        ids: &[0, 1, 2, 32],
        seq: 2,
    });
    assert!(
        came.contains("token ids below 32 are required, got 32 in document 1"),
        "{came}"
    );
    let came = error(Input::Tokens {
        ids: &[0, 1, 2],
        seq: 2,
    });
    assert!(came.contains("whole documents of 2 token ids"), "{came}");
    let came = error(Input::Vectors {
        values: &[0.0],
        width: 1,
    });
    assert!(came.contains("token ids are required"), "{came}");
    let came = model
        .neuron_weights(2, LayerNorm::Raw)
        .unwrap_err()
        .to_string();
    assert!(
        came.contains("a layer below 2 is required, got 2"),
        "{came}"
    );
}

#[test]
fn a_replacement_of_another_shape() {
    let model = loaded(|_| ()).model;
    let mut probe = Probe::default();
    let hook = HookPoint {
        layer: 1,
        site: Site::MlpPost,
    };
    probe.replace.insert(
        hook,
        Tensor::zeros((1, 2, 3), DType::F32, &Device::Cpu).unwrap(),
    );
    let error = model
        .forward(
            Input::Tokens {
                ids: &[1, 2],
                seq: 2,
            },
            &mut probe,
        )
        .unwrap_err();
    assert!(error.to_string().contains(
        "blocks.1.mlp.post: a replacement of 64 values, of shape [1, 2, 32], is required, got 6"
    ));
}

/// Prefix, shards and types are ways of writing the same model.
#[test]
fn the_same_model_written_otherwise() {
    let whole = loaded(|_| ());
    let prefixed = loaded(|folder| {
        let tensors = std::mem::take(&mut folder.tensors).into_iter();
        folder.tensors = tensors
            .map(|(name, t)| (format!("transformer.{name}"), t))
            .collect();
    });
    assert_eq!(logits(&prefixed), logits(&whole));
    assert_ne!(prefixed.hash, whole.hash);
    assert_eq!(loaded(|_| ()).hash, whole.hash);
    let untied = loaded(|folder| {
        folder.config["tie_word_embeddings"] = json!(false);
        folder.tensors.insert(
            "lm_head.weight".into(),
            folder.tensors["wte.weight"].clone(),
        );
    });
    assert_eq!(logits(&untied), logits(&whole));
    assert_eq!(whole.weight_types, ["F32"]);
    for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 2e-2), (DType::F64, 1e-7)] {
        let rounded = loaded(|folder| {
            for tensor in folder.tensors.values_mut() {
                *tensor = tensor.to_dtype(dtype).unwrap();
            }
        });
        assert_eq!(rounded.weight_types, [format!("{dtype:?}")]);
        assert_close(
            &format!("{dtype:?}"),
            &logits(&rounded),
            &logits(&whole),
            tolerance,
        );
    }
    let explicit = loaded(|folder| folder.config["n_inner"] = json!(32));
    assert_eq!(logits(&explicit), logits(&whole));
}

#[test]
fn shards() {
    let directory = tempdir().unwrap();
    let folder = gpt2(&TINY);
    folder.write_config(directory.path());
    let mut map = BTreeMap::new();
    for shard in 0..2 {
        let file = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let part = folder
            .tensors
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 2 == shard);
        let part: BTreeMap<_, _> = part
            .map(|(_, (name, t))| (name.clone(), t.clone()))
            .collect();
        map.extend(part.keys().map(|name| (name.clone(), file.clone())));
        write_tensors(&part, &directory.path().join(file));
    }
    let index = directory.path().join("model.safetensors.index.json");
    std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(
        logits(&load(directory.path()).unwrap()),
        logits(&loaded(|_| ()))
    );
    // A stale copy of a tensor in another shard is not the one the index names.
    let first = directory.path().join("model-00001-of-00002.safetensors");
    let mut part: BTreeMap<_, _> = candle_core::safetensors::load(&first, &Device::Cpu)
        .unwrap()
        .into_iter()
        .collect();
    let other = map
        .iter()
        .find(|(_, file)| file.starts_with("model-00002"))
        .unwrap()
        .0;
    let stale = (&folder.tensors[other] + 1.0).unwrap();
    part.insert(other.clone(), stale.clone());
    write_tensors(&part, &first);
    assert_eq!(
        logits(&load(directory.path()).unwrap()),
        logits(&loaded(|_| ()))
    );
    std::fs::remove_file(directory.path().join("model-00002-of-00002.safetensors")).unwrap();
    refuses(
        directory.path(),
        &["model-00002-of-00002.safetensors", "readable file"],
    );
    map.values_mut()
        .for_each(|file| *file = "../elsewhere.safetensors".to_string());
    std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    refuses(
        directory.path(),
        &["index.json: shards beside the index", "elsewhere"],
    );
}

/// The two options only scale the queries, so folding the factor into them must undo it.
#[test]
fn attention_scale_options() {
    let whole = logits(&loaded(|_| ()));
    let scaled = |option: &str, value: bool, factor: fn(usize) -> f64| {
        logits(&loaded(|folder| {
            folder.config[option] = json!(value);
            for layer in 0..TINY.n_layers {
                for name in ["weight", "bias"] {
                    let name = format!("h.{layer}.attn.c_attn.{name}");
                    let tensor = &folder.tensors[&name];
                    let last = tensor.rank() - 1;
                    let q = (tensor.narrow(last, 0, 8).unwrap() * factor(layer)).unwrap();
                    let rest = tensor.narrow(last, 8, 16).unwrap();
                    let tensor = Tensor::cat(&[q, rest], last).unwrap();
                    folder.tensors.insert(name, tensor);
                }
            }
        }))
    };
    let undone = scaled("scale_attn_by_inverse_layer_idx", true, |layer| {
        (layer + 1) as f64
    });
    assert_close("inverse layer", &undone, &whole, 1e-6);
    assert_close(
        "unscaled",
        &scaled("scale_attn_weights", false, |_| 0.5),
        &whole,
        1e-6,
    );
}
