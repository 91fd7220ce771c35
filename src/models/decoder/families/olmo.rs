//! OLMo: Llama with layer norms that have neither scale nor bias, and clipped queries, keys and values.
//!
//! Source: Groeneveld et al. 2024.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::Usual;
use super::super::spec::{Biases, NormSpec, Spec};
use super::llama;

pub(super) fn spec(config: &Config) -> Result<Spec> {
    let mut spec = llama::base(config, Usual::default(), None)?;
    spec.norm = NormSpec {
        scale: false,
        bias: false,
        ..NormSpec::layer(1e-5)
    };
    spec.qkv_clip = config.positive("clip_qkv")?;
    let attention = config.flag("attention_bias", false)?;
    spec.bias = Biases {
        qkv: attention,
        attn_out: attention,
        ..Biases::default()
    };
    Ok(spec)
}
