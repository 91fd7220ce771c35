//! The part of CLIP that sees: ViT with a norm of the embeddings, and the last one of the first position alone.
//!
//! Source: Radford et al. 2021.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::read_out::Pooled;
use super::super::spec::{
    DecoderSpec, EncoderSpec, MlpNames, MlpSpec, NormNames, PatchSpec, Positions, QkvNames,
    TensorNames,
};
use super::vit;

/// Of a folder of both parts, whose text is left alone.
pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let Some(vision) = config.part("vision_config") else {
        return Err(config.invalid("a vision_config is required, got none".to_string()));
    };
    let spec = of_vision(&vision)?;
    vision.finish()?;
    Ok(spec)
}

pub(super) fn of_vision(config: &Config) -> Result<DecoderSpec> {
    let spec = vit::base(config, 1e-5, "quick_gelu")?;
    let patches = spec.encoder.and_then(|encoder| encoder.patches);
    Ok(DecoderSpec {
        positions: Positions::Learned {
            name: "embeddings.position_embedding.weight",
            offset: 0,
        },
        names: TensorNames {
            prefixes: &["vision_model.", ""],
            blocks: "encoder.layers",
            final_norm: Some("post_layernorm"),
            head: "",
            qkv: QkvNames::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
            attn_out: "self_attn.out_proj",
            attn_norms: NormNames::before("layer_norm1"),
            mlp_norms: NormNames::before("layer_norm2"),
            ..spec.names
        },
        mlp: MlpSpec {
            names: MlpNames::Plain(["mlp.fc1", "mlp.fc2"]),
            ..spec.mlp
        },
        encoder: Some(EncoderSpec {
            patches: patches.map(|patches| PatchSpec {
                name: "embeddings.patch_embedding",
                bias: false,
                class: "embeddings.class_embedding",
                ..patches
            }),
            kinds: None,
            embedding_norm: Some("pre_layrnorm"),
            transform: None,
            pooled: Pooled::BeforeNorm,
        }),
        ..spec
    })
}
