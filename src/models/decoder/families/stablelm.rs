//! StableLM: Llama with layer norms and partly turned heads, where a switch makes attention and MLP read one norm together.
//!
//! Source: Bellagente et al. 2024.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec, NormNames, NormSpec, QkNorm, QkWidth};
use super::llama;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let usual = UsualTurns {
        share: Some(0.25),
        ..UsualTurns::default()
    };
    let mut spec = llama::base(config, usual, None)?;
    spec.norm = NormSpec::layer(config.positive("layer_norm_eps")?.unwrap_or(1e-5));
    spec.bias = Biases {
        qkv: config.flag("use_qkv_bias", false)?,
        ..Biases::default()
    };
    if config.flag("qk_layernorm", false)? {
        spec.qk_norm = Some(QkNorm {
            norm: NormSpec {
                bias: false,
                ..spec.norm
            },
            over: QkWidth::OwnHead,
            names: ["self_attn.q_layernorm.norms", "self_attn.k_layernorm.norms"],
        });
    }
    if config.flag("use_parallel_residual", false)? {
        spec.parallel = true;
        spec.names.mlp_norms = NormNames::before("input_layernorm");
    }
    Ok(spec)
}
