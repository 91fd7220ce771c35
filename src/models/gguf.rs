//! A GGUF file as the decoder's families know models: a configuration in Hugging Face's terms, and tensors under Hugging
//! Face's names, with what the conversion to GGUF changed undone. Numbers stay in the file.
//!
//! Source: `llama.cpp`'s conversion scripts. Above 400 lines with the names of every architecture.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use datafusion::error::Result;
use serde_json::{Map, Value, json};

use super::Tokenizer;
use super::config::Config;
use super::tokenizer::of_gguf;
use crate::files::arrays::{Array, ElementType};
use crate::files::gguf::Gguf;
use crate::files::tensors::Tensors;

/// How a file's architecture is called and stored elsewhere.
struct Architecture {
    /// In the file.
    name: &'static str,
    /// In a `config.json`.
    model_type: &'static str,
    /// Names outside of blocks.
    outer: &'static [(&'static str, &'static str)],
    /// Before the number of a block.
    blocks: &'static str,
    /// Names within a block.
    inner: &'static [(&'static str, &'static str)],
}

const LLAMA_OUTER: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];
const LLAMA_INNER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const GEMMA_INNER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
const PHI3_INNER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const GPT2_OUTER: &[(&str, &str)] = &[
    ("token_embd", "transformer.wte"),
    ("position_embd", "transformer.wpe"),
    ("output_norm", "transformer.ln_f"),
    ("output", "lm_head"),
];
const GPT2_INNER: &[(&str, &str)] = &[
    ("attn_norm", "ln_1"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_norm", "ln_2"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];
const NEOX_OUTER: &[(&str, &str)] = &[
    ("token_embd", "gpt_neox.embed_in"),
    ("output_norm", "gpt_neox.final_layer_norm"),
    ("output", "embed_out"),
];
const NEOX_INNER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "attention.query_key_value"),
    ("attn_output", "attention.dense"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.dense_h_to_4h"),
    ("ffn_down", "mlp.dense_4h_to_h"),
];

const ARCHITECTURES: [Architecture; 9] = [
    of_llamas("llama", "llama", LLAMA_INNER),
    of_llamas("qwen2", "qwen2", LLAMA_INNER),
    of_llamas("qwen3", "qwen3", LLAMA_INNER),
    of_llamas("gemma", "gemma", LLAMA_INNER),
    of_llamas("gemma2", "gemma2", GEMMA_INNER),
    of_llamas("gemma3", "gemma3_text", GEMMA_INNER),
    of_llamas("phi3", "phi3", PHI3_INNER),
    Architecture {
        name: "gpt2",
        model_type: "gpt2",
        outer: GPT2_OUTER,
        blocks: "transformer.h",
        inner: GPT2_INNER,
    },
    Architecture {
        name: "gptneox",
        model_type: "gpt_neox",
        outer: NEOX_OUTER,
        blocks: "gpt_neox.layers",
        inner: NEOX_INNER,
    },
];

/// What the `general.architecture` of a file may be.
pub fn gguf_architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|known| known.name)
}

const fn of_llamas(
    name: &'static str,
    model_type: &'static str,
    inner: &'static [(&'static str, &'static str)],
) -> Architecture {
    Architecture {
        name,
        model_type,
        outer: LLAMA_OUTER,
        blocks: "model.layers",
        inner,
    }
}

/// Whether a file is of this format, by its name.
pub(super) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gguf") && path.is_file()
}

/// A file whose header was read.
pub(super) struct GgufModel {
    file: Gguf,
}

impl GgufModel {
    /// With its configuration and its tensors.
    pub(super) fn read(path: &Path) -> Result<(Self, Config, Tensors)> {
        let file = Gguf::read(path)?;
        let key = "general.architecture";
        let name = file.required(key, file.text(key))?;
        let Some(architecture) = ARCHITECTURES.iter().find(|known| known.name == name) else {
            let known = gguf_architectures().collect::<Vec<_>>().join(", ");
            return Err(file.invalid(format!("{key} {known} is required, got {name}")));
        };
        let said = Said {
            file: &file,
            architecture,
            asked: RefCell::default(),
        };
        let sizes = GgufSizes::read(&said)?;
        let json = said.config(&sizes)?;
        said.finish()?;
        let arrays = file.tensors().iter().cloned();
        let arrays = arrays.map(|array| converted(array, architecture, &sizes));
        let weights = Tensors::of_arrays(path, arrays.collect::<Result<_>>()?);
        let config = Config::new(path.to_path_buf(), Value::Object(json));
        Ok((Self { file }, config, weights))
    }

    /// The tokenizer and its bytes in memory, if the file has one.
    pub(super) fn tokenizer(&self, d_vocab: usize) -> Result<Option<(Tokenizer, usize)>> {
        match self.file.text("tokenizer.ggml.model")? {
            None => Ok(None),
            Some(_) => Ok(Some((
                of_gguf(&self.file, d_vocab)?,
                self.tokenizer_bytes()?,
            ))),
        }
    }

    fn tokenizer_bytes(&self) -> Result<usize> {
        let texts = ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"];
        let texts = texts.map(|key| self.file.texts(key));
        let mut bytes = 0;
        for texts in texts {
            bytes += texts?
                .unwrap_or_default()
                .iter()
                .map(String::len)
                .sum::<usize>();
        }
        Ok(Tokenizer::bytes(bytes))
    }

    /// Bytes in memory of what a file holds.
    pub(super) fn expected(path: &Path) -> Result<usize> {
        let (model, _, weights) = Self::read(path)?;
        Ok(weights.bytes() + model.tokenizer_bytes()?)
    }
}

/// What a file says under the keys of its architecture.
struct Said<'a> {
    file: &'a Gguf,
    architecture: &'a Architecture,
    asked: RefCell<BTreeSet<String>>,
}

impl Said<'_> {
    fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.architecture.name);
        self.asked.borrow_mut().insert(key.clone());
        key
    }

    fn count(&self, name: &str) -> Result<Option<usize>> {
        self.file.count(&self.key(name))
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        self.file.number(&self.key(name))
    }

    fn required(&self, name: &str) -> Result<usize> {
        let key = self.key(name);
        let found = self.file.integers(&key);
        let list = self.file.required(&key, found)?;
        let first = list.first().copied().unwrap_or(0);
        match usize::try_from(first) {
            Ok(n) if n > 0 && list.iter().all(|other| *other == first) => Ok(n),
            _ => Err(self.file.invalid(format!(
                "{key} of at least 1, the same of every layer, is required, got {list:?}"
            ))),
        }
    }

    fn has(&self, tensor: &str) -> bool {
        self.file
            .tensors()
            .iter()
            .any(|array| array.name() == tensor)
    }

    /// The numbers of a small tensor.
    fn numbers(&self, tensor: &str) -> Result<Option<Vec<f32>>> {
        let mut tensors = self.file.tensors().iter();
        let found = tensors.find(|array| array.name() == tensor);
        found.map(|array| array.clone().all_floats()).transpose()
    }

    /// Refuses what nobody asked for: it may change what is computed.
    fn finish(&self) -> Result<()> {
        let begin = format!("{}.", self.architecture.name);
        let asked = self.asked.borrow();
        let keys = self.file.keys().filter(|key| key.starts_with(&begin));
        match keys.into_iter().find(|key| !asked.contains(*key)) {
            None => Ok(()),
            Some(other) => Err(self.file.invalid(format!(
                "no {other} is required of architecture {}, which is not computed",
                self.architecture.name
            ))),
        }
    }

    /// The configuration.
    fn config(&self, sizes: &GgufSizes) -> Result<Map<String, Value>> {
        let mut config = Map::new();
        let mut put = |name: &str, value: Value| drop(config.insert(name.to_string(), value));
        put("model_type", self.architecture.model_type.into());
        put("hidden_size", sizes.d_model.into());
        put("num_hidden_layers", sizes.n_layers.into());
        put("num_attention_heads", sizes.n_heads.into());
        put(
            "max_position_embeddings",
            self.required("context_length")?.into(),
        );
        put("vocab_size", sizes.d_vocab.into());
        put("tie_word_embeddings", (!self.has("output.weight")).into());
        let d_mlp = self.required("feed_forward_length")?;
        let plain = ["gpt2", "gptneox"].contains(&self.architecture.name);
        let epsilon = if plain { "" } else { "rms_" };
        let epsilon = self.number(&format!("attention.layer_norm_{epsilon}epsilon"))?;
        if self.architecture.name == "gpt2" {
            put("n_inner", d_mlp.into());
            put("layer_norm_epsilon", epsilon.into());
            // Linear maps lie with their outputs as rows.
            put("fan_in_fan_out", false.into());
            return Ok(config);
        }
        put("intermediate_size", d_mlp.into());
        put(
            if plain {
                "layer_norm_eps"
            } else {
                "rms_norm_eps"
            },
            epsilon.into(),
        );
        if !plain {
            put("head_dim", sizes.d_head.into());
            put("num_key_value_heads", sizes.n_kv_heads.into());
        }
        config.extend(self.positions(sizes)?);
        config.extend(self.switches(sizes)?);
        Ok(config)
    }

    /// Rotary positions.
    fn positions(&self, sizes: &GgufSizes) -> Result<Map<String, Value>> {
        let mut fields = Map::new();
        if let Some(base) = self.number("rope.freq_base")? {
            fields.insert("rope_theta".to_string(), base.into());
        }
        let turned = self.count("rope.dimension_count")?.unwrap_or(sizes.d_head);
        // A share that gives the same number of values again, however it is rounded.
        let share = match turned == sizes.d_head {
            true => 1.0,
            false => (turned as f64 + 0.5) / sizes.d_head as f64,
        };
        fields.insert("partial_rotary_factor".to_string(), share.into());
        let linear = self
            .number("rope.scale_linear")?
            .filter(|factor| *factor != 1.0);
        let kind = self.file.text(&self.key("rope.scaling.type"))?;
        let factor = self.number("rope.scaling.factor")?.or(linear);
        let trained = self.count("rope.scaling.original_context_length")?;
        let attention = self.number("rope.scaling.attn_factor")?;
        // Says only that training went on after stretching.
        self.key("rope.scaling.finetuned");
        let n_ctx = self.required("context_length")?;
        let lists = ["rope_factors_short.weight", "rope_factors_long.weight"];
        let [short, long] = [self.numbers(lists[0])?, self.numbers(lists[1])?];
        let scaling = match (kind, self.numbers("rope_freqs.weight")?, short.zip(long)) {
            // Llama 3's scaling, already computed: what each frequency is divided by.
            (_, Some(factors), _) => Some(json!({
                "rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0,
                "original_max_position_embeddings": n_ctx,
            })),
            (_, _, Some((short, long))) => Some(json!({
                "rope_type": "longrope", "short_factor": short, "long_factor": long, "attention_factor": attention,
                "original_max_position_embeddings": trained,
            })),
            (None | Some("none"), ..) if linear.is_none() => None,
            (None | Some("linear"), ..) => Some(json!({"rope_type": "linear", "factor": factor})),
            (Some("yarn"), ..) => Some(json!({
                "rope_type": "yarn", "factor": factor, "attention_factor": attention,
                "original_max_position_embeddings": trained,
            })),
            (Some(other), ..) => {
                return Err(self.file.invalid(format!(
                    "rope.scaling.type none, linear or yarn is required, got {other}"
                )));
            }
        };
        if let Some(scaling) = scaling {
            fields.insert("rope_scaling".to_string(), scaling);
        }
        Ok(fields)
    }

    /// What single architectures have.
    fn switches(&self, sizes: &GgufSizes) -> Result<Map<String, Value>> {
        let window = self.count("attention.sliding_window")?;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| drop(fields.insert(name.to_string(), value));
        match self.architecture.name {
            "llama" => {
                put("attention_bias", self.has("blk.0.attn_q.bias").into());
                put("mlp_bias", self.has("blk.0.ffn_up.bias").into());
                if let Some(window) = window {
                    put("model_type", "mistral".into());
                    put("sliding_window", window.into());
                }
            }
            "qwen3" => put("attention_bias", self.has("blk.0.attn_q.bias").into()),
            "phi3" => put("sliding_window", window.into()),
            "gptneox" => {
                let parallel = self.file.flag(&self.key("use_parallel_residual"))?;
                put("use_parallel_residual", parallel.unwrap_or(true).into());
                put("attention_bias", self.has("blk.0.attn_qkv.bias").into());
            }
            "gemma2" | "gemma3" => {
                if let Some(window) = window {
                    put("sliding_window", window.into());
                }
                let pattern = self.key("attention.sliding_window_pattern");
                match self.file.integers(&pattern)?.as_deref() {
                    None => {}
                    Some([every]) => put("sliding_window_pattern", (*every).into()),
                    Some(layers) => {
                        let kind = |slides: &i64| match slides {
                            0 => "full_attention",
                            _ => "sliding_attention",
                        };
                        put("layer_types", layers.iter().map(kind).collect());
                    }
                }
                for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
                    if let Some(cap) = self.number(name)? {
                        put(name, cap.into());
                    }
                }
                // The scale of scores is not stored. The largest of each family have another.
                let largest = [("gemma2", 46), ("gemma3", 62)];
                let largest = largest.contains(&(self.architecture.name, sizes.n_layers));
                let scalar = if largest {
                    sizes.d_model / sizes.n_heads
                } else {
                    sizes.d_head
                };
                put("query_pre_attn_scalar", scalar.into());
                if self.architecture.name == "gemma3" {
                    let local = self.number("rope.freq_base_swa")?.unwrap_or(10_000.0);
                    put("rope_local_base_freq", local.into());
                }
            }
            _ if window.is_some() => {
                self.asked
                    .borrow_mut()
                    .remove(&self.key("attention.sliding_window"));
            }
            _ => {}
        }
        Ok(fields)
    }
}

/// GgufSizes of a model.
struct GgufSizes {
    d_model: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: usize,
    d_head: usize,
    d_vocab: usize,
}

impl GgufSizes {
    fn read(said: &Said<'_>) -> Result<Self> {
        let d_model = said.required("embedding_length")?;
        let n_heads = said.required("attention.head_count")?;
        let kv = "attention.head_count_kv";
        let n_kv_heads = match said.file.integers(&said.key(kv))? {
            None => n_heads,
            Some(_) => said.required(kv)?,
        };
        let d_head = said
            .count("attention.key_length")?
            .unwrap_or(d_model / n_heads);
        let d_value = said.count("attention.value_length")?.unwrap_or(d_head);
        if d_value != d_head {
            return Err(said.file.invalid(format!(
                "keys and values of the same width are required, got {d_head} and {d_value}"
            )));
        }
        said.key("vocab_size");
        let mut tensors = said.file.tensors().iter();
        let embedding = tensors.find(|array| array.name() == "token_embd.weight");
        let d_vocab = embedding.and_then(|array| array.dims().first().copied());
        Ok(Self {
            d_model,
            n_layers: said.required("block_count")?,
            n_heads,
            n_kv_heads,
            d_head,
            d_vocab: said
                .file
                .required("tensor token_embd.weight", Ok(d_vocab))?,
        })
    }
}

/// A tensor under its name elsewhere, with what the conversion changed undone.
fn converted(array: Array, architecture: &Architecture, sizes: &GgufSizes) -> Result<Array> {
    let stored = array.name().to_string();
    let renamed = renamed(&stored, architecture);
    let array = match renamed {
        Some(name) => array.renamed(name),
        None => return Ok(array),
    };
    let is = |part: &str| stored.contains(&format!(".{part}."));
    let heads = match architecture.name {
        "llama" if is("attn_q") => Some(sizes.n_heads),
        "llama" if is("attn_k") => Some(sizes.n_kv_heads),
        _ => None,
    };
    let rows = array.dims().first().copied().unwrap_or(0);
    if let Some(n) = heads {
        // The two halves of a head lie as pairs.
        return match sizes.d_head.checked_mul(n) == Some(rows) && sizes.d_head.is_multiple_of(2) {
            true => Ok(array.reordered(halves(n, sizes.d_head))),
            false => Ok(array),
        };
    }
    if architecture.name == "gptneox" && is("attn_qkv") {
        let all = sizes.n_heads.checked_mul(3 * sizes.d_head);
        return match all == Some(rows) {
            true => Ok(array.reordered(by_head(sizes.n_heads, sizes.d_head))),
            false => Ok(array),
        };
    }
    if architecture.name.starts_with("gemma") && stored.ends_with("norm.weight") {
        return without_one(array);
    }
    Ok(array)
}

fn renamed(stored: &str, architecture: &Architecture) -> Option<String> {
    let (stem, kind) = stored.rsplit_once('.')?;
    let find = |names: &[(&str, &'static str)], name: &str| {
        let found = names.iter().find(|(known, _)| *known == name);
        found.map(|(_, elsewhere)| *elsewhere)
    };
    match stem
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
    {
        None => Some(format!("{}.{kind}", find(architecture.outer, stem)?)),
        Some((layer, name)) => {
            let name = find(architecture.inner, name)?;
            Some(format!("{}.{layer}.{name}.{kind}", architecture.blocks))
        }
    }
}

/// Where the rows of heads lie whose halves were put side by side.
fn halves(n: usize, d_head: usize) -> Vec<usize> {
    let heads = (0..n).flat_map(|head| {
        let half = move |half| (0..d_head / 2).map(move |j| head * d_head + 2 * j + half);
        half(0).chain(half(1))
    });
    heads.collect()
}

/// Where the query, key and value rows of each head lie of which all queries, all keys and all values follow each other.
fn by_head(n: usize, d_head: usize) -> Vec<usize> {
    let rows = (0..n).flat_map(|head| {
        (0..3).flat_map(move |part| (0..d_head).map(move |i| (part * n + head) * d_head + i))
    });
    rows.collect()
}

/// Gemma's norms multiply with 1 more than their scale, which is what lies in the file.
fn without_one(mut array: Array) -> Result<Array> {
    let scales = array.all_floats()?;
    let bytes = scales.iter().flat_map(|x| (x - 1.0).to_le_bytes());
    let (path, name, dims) = (array.path(), array.name(), array.dims().to_vec());
    Ok(Array::in_memory(
        path,
        name,
        dims,
        ElementType::F32,
        bytes.collect(),
    ))
}
