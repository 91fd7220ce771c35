//! GPT-NeoX and Pythia: attention and MLP read the same stream, each behind a layer norm of its own, partly turned heads.
//!
//! Source: Black et al. 2022.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec, MlpNames, NormSpec, QkvNames, TensorNames};
use super::llama;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let usual = UsualTurns {
        share: Some(0.25),
        ..UsualTurns::default()
    };
    let mut spec = llama::base(config, usual, None)?;
    spec.norm = NormSpec::layer(config.positive("layer_norm_eps")?.unwrap_or(1e-5));
    spec.mlp.activation = config.activation(&["hidden_act"], "gelu")?;
    spec.mlp.names = MlpNames::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]);
    spec.parallel = config.flag("use_parallel_residual", true)?;
    spec.bias = Biases {
        mlp: true,
        ..Biases::of_attention(config, true)?
    };
    spec.names = TensorNames {
        prefixes: &["gpt_neox.", ""],
        embedding: "embed_in",
        final_norm: Some("final_layer_norm"),
        head: "embed_out",
        qkv: QkvNames::ByHead("attention.query_key_value"),
        attn_out: "attention.dense",
        layout: Layout::OutIn,
        ..TensorNames::LLAMA
    };
    Ok(spec)
}
