//! OLMo 2: Llama with norms of what attention and MLP give in place of what they read, and of all queries and keys.
//!
//! Source: OLMo Team 2025.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec, NormNames, QkNorm, QkWidth};
use super::llama;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = llama::base(config, UsualTurns::default(), None)?;
    post_normed(config, &mut spec)?;
    Ok(spec)
}

/// What OLMo 2 and 3 share.
pub(super) fn post_normed(config: &Config, spec: &mut DecoderSpec) -> Result<()> {
    spec.norm.epsilon = config.positive("rms_norm_eps")?.unwrap_or(1e-5);
    spec.qk_norm = Some(QkNorm::usual(spec.norm, QkWidth::All));
    spec.names.attn_norms = NormNames::after("post_attention_layernorm");
    spec.names.mlp_norms = NormNames::after("post_feedforward_layernorm");
    spec.bias = Biases::of_attention(config, false)?;
    Ok(())
}
