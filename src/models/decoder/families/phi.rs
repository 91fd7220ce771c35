//! Phi 1 and 2: attention and MLP read one layer norm together, plain neurons, biases everywhere, also under the head.
//!
//! Source: Li et al. 2023.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{
    Biases, DecoderSpec, MlpNames, NormNames, NormSpec, QkNorm, QkWidth, TensorNames,
};
use super::llama;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let usual = UsualTurns {
        share: Some(0.5),
        ..UsualTurns::default()
    };
    let mut spec = llama::base(config, usual, None)?;
    spec.norm = NormSpec::layer(config.positive("layer_norm_eps")?.unwrap_or(1e-5));
    if config.flag("qk_layernorm", false)? {
        spec.qk_norm = Some(QkNorm {
            norm: spec.norm,
            over: QkWidth::Head,
            names: ["self_attn.q_layernorm", "self_attn.k_layernorm"],
        });
    }
    spec.mlp.activation = config.activation(&["hidden_act"], "gelu_new")?;
    spec.mlp.names = MlpNames::Plain(["mlp.fc1", "mlp.fc2"]);
    spec.parallel = true;
    spec.bias = Biases {
        head: true,
        ..Biases::BLOCKS
    };
    spec.names = TensorNames {
        final_norm: Some("final_layernorm"),
        attn_out: "self_attn.dense",
        layout: Layout::OutIn,
        attn_norms: NormNames::before("input_layernorm"),
        mlp_norms: NormNames::before("input_layernorm"),
        ..TensorNames::LLAMA
    };
    Ok(spec)
}
