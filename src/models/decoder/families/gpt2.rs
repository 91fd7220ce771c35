//! GPT-2: layer norms before attention and MLP, learned positions, maps stored with their inputs as rows.
//!
//! Source: Radford et al. 2019.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::super::config::Config;
use super::super::spec::{
    AttentionSpec, Biases, DecoderSpec, Heads, MlpNames, MlpSpec, NormNames, NormSpec, Positions,
    QkvNames, TensorNames,
};
use super::common::{Sizes, plain, usual_scale};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let sizes = Sizes::read(config)?;
    let heads = Heads::read(config, sizes.d_model, None)?;
    let scaled = config.flag("scale_attn_weights", true)?;
    let scale = if scaled { usual_scale(heads) } else { 1.0 };
    let by_layer = config.flag("scale_attn_by_inverse_layer_idx", false)?;
    let attention = (0..sizes.n_layers).map(|layer| AttentionSpec {
        scale: if by_layer {
            scale / (layer + 1) as f32
        } else {
            scale
        },
        window: None,
        rotary: None,
    });
    // Files of other formats have them with their outputs as rows.
    let layout = match config.flag("fan_in_fan_out", true)? {
        true => Layout::InOut,
        false => Layout::OutIn,
    };
    let norm = NormSpec::layer(config.positive("layer_norm_epsilon")?.unwrap_or(1e-5));
    let positions = Positions::Learned {
        name: "wpe.weight",
        offset: 0,
    };
    let mlp = MlpSpec {
        d_mlp: config.size(&["n_inner"])?.unwrap_or(4 * sizes.d_model),
        activation: config.activation(&["activation_function"], "gelu_new")?,
        names: MlpNames::Plain(["mlp.c_fc", "mlp.c_proj"]),
    };
    let names = TensorNames {
        prefixes: &["transformer.", ""],
        embedding: "wte",
        projections: ["", ""],
        blocks: "h",
        final_norm: Some("ln_f"),
        head: "lm_head",
        qkv: QkvNames::Together("attn.c_attn", layout),
        attn_out: "attn.c_proj",
        layout,
        attn_norms: NormNames::before("ln_1"),
        mlp_norms: NormNames::before("ln_2"),
    };
    let attention = attention.collect();
    Ok(DecoderSpec {
        bias: Biases::BLOCKS,
        tied: config.flag("tie_word_embeddings", true)?,
        ..plain(sizes, heads, norm, positions, attention, mlp, names)
    })
}
