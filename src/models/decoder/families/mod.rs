//! The families, one a file: what the fields of its `config.json` and the names of its tensors mean. A new one
//! is a file and a line here.
//!
//! Source: Hugging Face's `transformers` 5.24, whose results tests/reference/architectures.py keeps.

mod bert;
mod clip;
mod common;
mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod llama;
mod mistral;
mod olmo;
mod olmo2;
mod olmo3;
mod opt;
mod phi;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;
mod stablelm;
mod vit;

use super::spec::Family;

/// What `model_type` may be.
pub(super) const FAMILIES: [(&str, Family); 23] = [
    ("bert", bert::spec),
    ("clip", clip::spec),
    ("clip_vision_model", clip::of_vision),
    ("gemma", gemma::spec),
    ("gemma2", gemma2::spec),
    ("gemma3", gemma3::spec),
    ("gemma3_text", gemma3::spec),
    ("gpt2", gpt2::spec),
    ("gpt_neo", gpt_neo::spec),
    ("gpt_neox", gpt_neox::spec),
    ("llama", llama::spec),
    ("mistral", mistral::spec),
    ("olmo", olmo::spec),
    ("olmo2", olmo2::spec),
    ("olmo3", olmo3::spec),
    ("opt", opt::spec),
    ("phi", phi::spec),
    ("phi3", phi3::spec),
    ("qwen2", qwen2::spec),
    ("qwen3", qwen3::spec),
    ("smollm3", smollm3::spec),
    ("stablelm", stablelm::spec),
    ("vit", vit::spec),
];
