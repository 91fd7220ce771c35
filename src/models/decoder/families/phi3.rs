//! Phi 3 and 4: Llama whose queries, keys and values are stored as one, and gate and up as well.
//!
//! Source: Abdin et al. 2024.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{DecoderSpec, MlpNames, QkvNames};
use super::{common, llama};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let usual = UsualTurns {
        share: Some(1.0),
        ..UsualTurns::default()
    };
    let mut spec = llama::base(config, usual, None)?;
    spec.norm.epsilon = config.positive("rms_norm_eps")?.unwrap_or(1e-5);
    let window = common::window(config, None)?;
    spec.attention
        .iter_mut()
        .for_each(|layer| layer.window = window);
    spec.names.qkv = QkvNames::Together("self_attn.qkv_proj", Layout::OutIn);
    spec.mlp.names = MlpNames::GatedTogether(["mlp.gate_up_proj", "mlp.down_proj"]);
    Ok(spec)
}
