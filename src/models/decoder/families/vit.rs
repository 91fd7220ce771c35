//! ViT: an encoder of images, whose patches all see each other; norms as in GPT-2, and a head that reads the first
//! position.
//!
//! Source: Dosovitskiy et al. 2021.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::super::PatchGrid;
use super::super::super::config::Config;
use super::super::read_out::Pooled;
use super::super::spec::{
    Biases, DecoderSpec, EncoderSpec, Heads, MlpNames, MlpSpec, NormNames, NormSpec, PatchSpec,
    Positions, QkvNames, TensorNames,
};
use super::common::{Sizes, n_layers, plain, same_everywhere, usual_scale};

/// Pixels of an image that are believed. Chosen: a thousand times those of today's largest.
const MOST_PIXELS: usize = 1 << 30;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = base(config, 1e-12, "gelu")?;
    spec.bias.qkv = config.flag("qkv_bias", true)?;
    Ok(spec)
}

/// An encoder of images with ViT's names; `epsilon` and `activation` are what holds where the configuration says nothing.
pub(super) fn base(config: &Config, epsilon: f32, activation: &str) -> Result<DecoderSpec> {
    let d_model = config.required(&["hidden_size"])?;
    let grid = PatchGrid {
        channels: config.size(&["num_channels"])?.unwrap_or(3),
        image: config.height_and_width("image_size")?,
        patch: config.height_and_width("patch_size")?,
    };
    if (0..2).any(|i| grid.patch[i] > grid.image[i]) {
        return Err(config.invalid(format!(
            "a patch_size of at most image_size, {:?}, is required, got {:?}",
            grid.image, grid.patch
        )));
    }
    let pixels = grid.image[0].saturating_mul(grid.image[1]);
    if pixels.saturating_mul(grid.channels) > MOST_PIXELS {
        return Err(config.invalid(format!(
            "images of at most {MOST_PIXELS} pixels are required, got {} channels of {:?}",
            grid.channels, grid.image
        )));
    }
    let heads = Heads::read(config, d_model, None)?;
    let sizes = Sizes {
        d_model,
        d_vocab: 0,
        n_ctx: grid.positions(),
        n_layers: n_layers(config)?,
    };
    let norm = NormSpec::layer(config.positive("layer_norm_eps")?.unwrap_or(epsilon));
    let positions = Positions::Learned {
        name: "embeddings.position_embeddings",
        offset: 0,
    };
    let attention = same_everywhere(sizes.n_layers, usual_scale(heads), None);
    let mlp = MlpSpec {
        d_mlp: config.required(&["intermediate_size"])?,
        activation: config.activation(&["hidden_act"], activation)?,
        names: MlpNames::Plain(["intermediate.dense", "output.dense"]),
    };
    let names = TensorNames {
        prefixes: &["vit.", ""],
        embedding: "",
        projections: ["", ""],
        blocks: "encoder.layer",
        final_norm: Some("layernorm"),
        head: "classifier",
        qkv: QkvNames::Apart([
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
        ]),
        attn_out: "attention.output.dense",
        layout: Layout::OutIn,
        attn_norms: NormNames::before("layernorm_before"),
        mlp_norms: NormNames::before("layernorm_after"),
    };
    Ok(DecoderSpec {
        bias: Biases::BLOCKS,
        encoder: Some(EncoderSpec {
            patches: Some(PatchSpec {
                grid,
                name: "embeddings.patch_embeddings.projection",
                bias: true,
                class: "embeddings.cls_token",
            }),
            kinds: None,
            embedding_norm: None,
            transform: None,
            pooled: Pooled::AfterNorm,
        }),
        ..plain(sizes, heads, norm, positions, attention, mlp, names)
    })
}
