//! OPT: GPT-2 with positions two rows down, where a switch puts norms behind the sums, and embeddings of another width.
//!
//! Source: Zhang et al. 2022.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::super::config::Config;
use super::super::spec::{
    Biases, DecoderSpec, Heads, MlpNames, MlpSpec, NormNames, NormSpec, Positions, QkvNames,
    TensorNames,
};
use super::common::{Sizes, plain, same_everywhere, usual_scale};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let sizes = Sizes::read(config)?;
    let heads = Heads::read(config, sizes.d_model, None)?;
    let attention = same_everywhere(sizes.n_layers, usual_scale(heads), None);
    let bias = config.flag("enable_bias", true)?;
    let affine = config.flag("layer_norm_elementwise_affine", true)?;
    let before = config.flag("do_layer_norm_before", true)?;
    let norm = |name| match before {
        true => NormNames::before(name),
        false => NormNames {
            stream: Some(name),
            ..NormNames::default()
        },
    };
    let last = before && !config.flag("_remove_final_layer_norm", false)?;
    let norms = NormSpec {
        scale: affine,
        bias: affine,
        ..NormSpec::layer(1e-5)
    };
    let positions = Positions::Learned {
        name: "embed_positions.weight",
        offset: 2,
    };
    let mlp = MlpSpec {
        d_mlp: config.required(&["ffn_dim"])?,
        activation: config.activation(&["activation_function"], "relu")?,
        names: MlpNames::Plain(["fc1", "fc2"]),
    };
    let names = TensorNames {
        prefixes: &["model.decoder.", "decoder.", ""],
        embedding: "embed_tokens",
        projections: ["project_in", "project_out"],
        blocks: "layers",
        final_norm: last.then_some("final_layer_norm"),
        head: "lm_head",
        qkv: QkvNames::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        attn_out: "self_attn.out_proj",
        layout: Layout::OutIn,
        attn_norms: norm("self_attn_layer_norm"),
        mlp_norms: norm("final_layer_norm"),
    };
    Ok(DecoderSpec {
        d_embed: config
            .size(&["word_embed_proj_dim"])?
            .unwrap_or(sizes.d_model),
        bias: Biases {
            qkv: bias,
            attn_out: bias,
            mlp: bias,
            head: false,
        },
        tied: config.flag("tie_word_embeddings", true)?,
        ..plain(sizes, heads, norms, positions, attention, mlp, names)
    })
}
