//! OLMo: Llama with layer norms that have neither scale nor bias, and clipped queries, keys and values.
//!
//! Source: Groeneveld et al. 2024.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec, NormSpec};
use super::llama;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = llama::base(config, UsualTurns::default(), None)?;
    spec.norm = NormSpec {
        scale: false,
        bias: false,
        ..NormSpec::layer(1e-5)
    };
    spec.qkv_clip = config.positive("clip_qkv")?;
    spec.bias = Biases::of_attention(config, false)?;
    Ok(spec)
}
