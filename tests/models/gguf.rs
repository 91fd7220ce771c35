//! Models in GGUF files against `transformers` (`tests/reference/gguf_models.py`).

use std::fs::File;

use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Content};
use candle_core::quantized::{GgmlDType, QTensor};
use polysema::models::{Input, load};
use serde_json::Value;

use super::{Probe, assert_close, root};

fn floats(value: &Value) -> Vec<f32> {
    let list = value.as_array().expect("a list");
    list.iter()
        .map(|x| x.as_f64().expect("a number") as f32)
        .collect()
}

#[test]
fn logits_of_every_architecture_are_those_of_transformers() {
    let reference = std::fs::read_to_string(root().join("tests/reference/gguf_models.json"));
    let reference: Value = serde_json::from_str(&reference.expect("the reference")).expect("JSON");
    for (name, case) in reference.as_object().expect("models") {
        let path = root().join(format!("tests/data/gguf/models/{name}.gguf"));
        let loaded = load(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(loaded.tokenizer.is_none());
        let ids: Vec<u32> = floats(&case["ids"])
            .into_iter()
            .map(|id| id as u32)
            .collect();
        let seq = ids.len();
        let input = Input::Tokens { ids: &ids, seq };
        let logits = loaded
            .model
            .logits(input, &mut Probe::default())
            .expect(name);
        let expected = floats(&case["logits"]);
        let last = &logits[logits.len() - expected.len()..];
        // Relative to the largest, as of every family.
        assert_close(name, last, &expected, 1e-5);
    }
}

#[test]
fn the_types_of_matrices_are_told() {
    let source = root().join("tests/data/gguf/models/llama.gguf");
    assert_eq!(load(&source).expect("a model").weight_types, ["F32"]);
    let mut reader = File::open(&source).expect("a file");
    let content = Content::read(&mut reader).expect("a header");
    let mut tensors = vec![];
    for name in content.tensor_infos.keys() {
        let tensor = content.tensor(&mut reader, name, &Device::Cpu);
        let tensor = tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu));
        let tensor = tensor.expect(name);
        // Norms stay as they are, as in files of quantized weights.
        let kind = match (tensor.rank(), name.as_str()) {
            (2, "token_embd.weight") => GgmlDType::BF16,
            (2, _) => GgmlDType::F16,
            _ => GgmlDType::F32,
        };
        tensors.push((name.as_str(), QTensor::quantize(&tensor, kind).expect(name)));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("mixed.gguf");
    let metadata: Vec<_> = content
        .metadata
        .iter()
        .map(|(k, v)| (k.as_str(), v))
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (*name, tensor))
        .collect();
    let mut file = File::create(&path).expect("a file");
    gguf_file::write(&mut file, &metadata, &tensors).expect("written");
    assert_eq!(load(&path).expect("a model").weight_types, ["F16", "BF16"]);
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |name: &str, from: &str, to: &str| {
        let path = root().join(format!("tests/data/gguf/models/{name}.gguf"));
        let mut bytes = std::fs::read(path).expect("a file");
        let at = bytes
            .windows(from.len())
            .position(|part| part == from.as_bytes());
        let at = at.expect(from);
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        let file = folder.path().join("changed.gguf");
        std::fs::write(&file, bytes).expect("a writable file");
        load(&file).err().expect("an error").to_string()
    };
    for (name, from, to, part) in [
        (
            "llama",
            "llama",
            "mamba",
            "general.architecture llama, qwen2, ",
        ),
        (
            "llama",
            "llama.attention.value_length",
            "llama.attention.value_lengti",
            "no llama.attention.value_lengti is required",
        ),
        (
            "qwen3",
            "qwen3.block_count",
            "qwen3.block_couns",
            "qwen3.block_count is required, got none",
        ),
        (
            "llama-yarn",
            "yarn",
            "barn",
            "rope.scaling.type none, linear or yarn is required, got barn",
        ),
        (
            "llama",
            "token_embd.weight",
            "token_embb.weight",
            "tensor token_embd.weight is required, got none",
        ),
        (
            "llama",
            "blk.1.ffn_up.weight",
            "blk.1.ffn_op.weight",
            "model.layers.1.mlp.up_proj.weight is required",
        ),
    ] {
        let error = refused(name, from, to);
        assert!(error.contains(part), "{error}");
    }
}
