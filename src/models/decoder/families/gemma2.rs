//! Gemma 2: Gemma with norms also of what attention and MLP give, capped scores and logits, and every other layer
//! seeing a window.
//!
//! Source: Gemma Team 2024 (Gemma 2).

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{DecoderSpec, NormNames};
use super::{common, gemma, llama};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = llama::base(config, UsualTurns::default(), Some(256))?;
    sandwiched(config, &mut spec, [Some(50.0), Some(30.0)])?;
    let window = common::window(config, Some(4096))?;
    common::set_windows(config, &mut spec, window, |layer| layer % 2 == 0)?;
    Ok(spec)
}

/// What Gemma 2 and 3 share. The caps of scores and logits are those of a configuration that does not say.
pub(super) fn sandwiched(
    config: &Config,
    spec: &mut DecoderSpec,
    [score_cap, logit_cap]: [Option<f32>; 2],
) -> Result<()> {
    gemma::scaled(config, spec)?;
    spec.mlp.activation = config.activation(&["hidden_activation"], "gelu_pytorch_tanh")?;
    spec.score_cap = common::cap(config, "attn_logit_softcapping", score_cap)?;
    spec.logit_cap = common::cap(config, "final_logit_softcapping", logit_cap)?;
    let scalar = config.positive("query_pre_attn_scalar")?.unwrap_or(256.0);
    let layers = spec.attention.iter_mut();
    layers.for_each(|layer| layer.scale = 1.0 / scalar.sqrt());
    spec.names.attn_norms = NormNames {
        before: Some("input_layernorm"),
        after: Some("post_attention_layernorm"),
        stream: None,
    };
    spec.names.mlp_norms = NormNames {
        before: Some("pre_feedforward_layernorm"),
        after: Some("post_feedforward_layernorm"),
        stream: None,
    };
    Ok(())
}
