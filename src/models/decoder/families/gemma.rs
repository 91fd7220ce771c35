//! Gemma: Llama with scaled embeddings and norms whose scale is stored less 1.
//!
//! Source: Gemma Team 2024.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec};
use super::llama;
use polysema_kernels::network::activation::Activation;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = llama::base(config, UsualTurns::default(), Some(256))?;
    spec.mlp.activation = activation(config)?;
    scaled(config, &mut spec)?;
    Ok(spec)
}

/// `gelu` in the older of two fields always meant its approximation.
fn activation(config: &Config) -> Result<Activation> {
    match (
        config.text(&["hidden_activation"])?,
        config.text(&["hidden_act"])?,
    ) {
        (None, Some("gelu")) => Ok(Activation::GeluNew),
        _ => config.activation(&["hidden_activation", "hidden_act"], "gelu_pytorch_tanh"),
    }
}

/// What all Gemmas share: embeddings times the root of the width, in float32 as in every model read here, norms of
/// `1 + scale`, a tied head.
pub(super) fn scaled(config: &Config, spec: &mut DecoderSpec) -> Result<()> {
    spec.embedding_scale = (spec.d_model as f64).sqrt() as f32;
    spec.norm.offset = 1.0;
    spec.tied = config.flag("tie_word_embeddings", true)?;
    spec.bias = Biases::of_attention(config, false)?;
    Ok(())
}
