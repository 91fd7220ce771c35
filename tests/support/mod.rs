//! A random GPT-2 folder of any size, whole or broken on purpose: tests change a part and write it out.

#![allow(dead_code, reason = "each test and benchmark uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

/// What a model folder holds before it is written.
pub struct Folder {
    /// `config.json`
    pub config: Value,
    /// `model.safetensors`
    pub tensors: BTreeMap<String, Tensor>,
}

/// Sizes of a random GPT-2.
pub struct Sizes {
    pub n_layers: usize,
    pub n_heads: usize,
    pub d_model: usize,
    pub d_vocab: usize,
    pub n_ctx: usize,
}

/// Two layers, small enough to reason about.
pub const TINY: Sizes = Sizes {
    n_layers: 2,
    n_heads: 2,
    d_model: 8,
    d_vocab: 32,
    n_ctx: 16,
};

/// GPT-2-small's shape.
pub const GPT2_SMALL: Sizes = Sizes {
    n_layers: 12,
    n_heads: 12,
    d_model: 768,
    d_vocab: 50_257,
    n_ctx: 1024,
};

/// A random GPT-2 with a tied head, the same at every call.
pub fn gpt2(sizes: &Sizes) -> Folder {
    let Sizes {
        n_layers,
        n_heads,
        d_model,
        d_vocab,
        n_ctx,
    } = *sizes;
    let config = json!({
        "model_type": "gpt2", "n_layer": n_layers, "n_head": n_heads, "n_embd": d_model,
        "n_positions": n_ctx, "vocab_size": d_vocab, "n_inner": null,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    });
    let mut seed = 1;
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, dims: &[usize], mean: f32| {
        tensors.insert(name, random(&mut seed, dims, mean));
    };
    add("wte.weight".into(), &[d_vocab, d_model], 0.0);
    add("wpe.weight".into(), &[n_ctx, d_model], 0.0);
    for layer in 0..n_layers {
        for (name, dims, mean) in [
            ("ln_1.weight", vec![d_model], 1.0),
            ("ln_1.bias", vec![d_model], 0.0),
            ("attn.c_attn.weight", vec![d_model, 3 * d_model], 0.0),
            ("attn.c_attn.bias", vec![3 * d_model], 0.0),
            ("attn.c_proj.weight", vec![d_model, d_model], 0.0),
            ("attn.c_proj.bias", vec![d_model], 0.0),
            ("ln_2.weight", vec![d_model], 1.0),
            ("ln_2.bias", vec![d_model], 0.0),
            ("mlp.c_fc.weight", vec![d_model, 4 * d_model], 0.0),
            ("mlp.c_fc.bias", vec![4 * d_model], 0.0),
            ("mlp.c_proj.weight", vec![4 * d_model, d_model], 0.0),
            ("mlp.c_proj.bias", vec![d_model], 0.0),
        ] {
            add(format!("h.{layer}.{name}"), &dims, mean);
        }
    }
    add("ln_f.weight".into(), &[d_model], 1.0);
    add("ln_f.bias".into(), &[d_model], 0.0);
    Folder { config, tensors }
}

impl Folder {
    /// Writes configuration and weights into a folder that exists.
    pub fn write(&self, folder: &Path) {
        self.write_config(folder);
        write_tensors(&self.tensors, &folder.join("model.safetensors"));
    }

    /// Writes the configuration alone.
    pub fn write_config(&self, folder: &Path) {
        std::fs::write(folder.join("config.json"), self.config.to_string())
            .expect("a writable folder");
    }

    /// Writes a tokenizer whose tokens are bytes, numbered from 0 in the order given, and merges none.
    pub fn write_tokenizer(&self, folder: &Path, tokens: &[&str]) {
        let vocab: BTreeMap<&str, usize> = tokens.iter().copied().zip(0..).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
        });
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string())
            .expect("a writable folder");
    }
}

/// Writes tensors as one safetensors file.
pub fn write_tensors(tensors: &BTreeMap<String, Tensor>, path: &Path) {
    let tensors = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    candle_core::safetensors::save(&tensors, path).expect("a writable folder");
}

/// Values within 0.1 of `mean`.
fn random(seed: &mut u64, dims: &[usize], mean: f32) -> Tensor {
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|_| {
            // Knuth's 64-bit linear congruential generator; its high bits are enough for weights.
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            mean + 0.2 * ((*seed >> 40) as f32 / (1 << 24) as f32 - 0.5)
        })
        .collect();
    Tensor::from_vec(values, dims, &Device::Cpu).expect("as many values as the shape has")
}
