//! Folders of Llama Scope: `hyperparams.json` beside `checkpoints/final.safetensors`.
//!
//! Its loader brings parameters that were trained on vectors of a fixed average norm back to the model's vectors, then makes
//! decoder rows as long as 1 where sparsity counts their norms; the threshold holds for what that gives, and so here.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};

use super::json::JsonObject;
use super::{SaeConfig, SaeFile, fold, invalid};
use crate::files::tensors::Tensors;

pub(super) const CONFIG: &str = "hyperparams.json";
/// Of the model, beside it.
const MODEL: &str = "lm_config.json";
/// In its loader's order.
pub(super) const FILES: [&str; 3] = [
    "sae_weights.safetensors",
    "checkpoints/pruned.safetensors",
    "checkpoints/final.safetensors",
];

pub(super) fn read(path: &Path) -> Result<SaeFile> {
    let mut config = JsonObject::read(&path.join(CONFIG))?;
    let file = FILES
        .iter()
        .map(|name| path.join(name))
        .find(|file| file.is_file());
    let Some(file) = file else {
        return Err(invalid(format!(
            "{}: {} is required, got none of them",
            path.display(),
            FILES.join(" or ")
        )));
    };
    let mut tensors = Tensors::read(&file)?;
    let hook_name = config.take_text("hook_point_in")?;
    let hook_out = config.take_text("hook_point_out")?;
    let transcodes = hook_out.is_some() && hook_out != hook_name;
    if config.take_bool("use_glu_encoder")? == Some(true) {
        return Err(config.invalid("use_glu_encoder false is required, got true"));
    }
    let [d_sae, d_in] = tensors.matrix("encoder.weight")?;
    for (key, width) in [("d_model", d_in), ("d_sae", d_sae)] {
        if let Some(stated) = config.take_count(key)?
            && stated != width
        {
            return Err(config.invalid(&format!(
                "{key} of the {width} in {} is required, got {stated}",
                file.display()
            )));
        }
    }
    let dtype = tensors.dtype("encoder.weight")?;
    let biased = config.take_bool("use_decoder_bias")?.unwrap_or(true);
    let before = config.take_bool("apply_decoder_bias_to_pre_encoder")?;
    let mut sae = Sae {
        d_in,
        d_sae,
        variant: activation(&mut config, d_sae)?,
        centered: biased && before.unwrap_or(true),
        w_enc: tensors.take("encoder.weight", &[d_sae, d_in])?,
        b_enc: tensors.take("encoder.bias", &[d_sae])?,
        w_dec: tensors.take_transposed("decoder.weight", [d_in, d_sae])?,
        b_dec: match biased {
            true => tensors.take("decoder.bias", &[d_in])?,
            false => vec![0.0; d_in],
        },
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes,
    };
    tensors.finish()?;
    let mut folded = norm(&mut config, &mut sae)?;
    if config.take_bool("sparsity_include_decoder_norm")? != Some(false) {
        fold::unit_decoder(&mut sae)
            .map_err(|e| config.invalid(&format!("sparsity_include_decoder_norm: {e}")))?;
        folded = true;
    }
    let model = path.join(MODEL);
    let model_name = match model.is_file() {
        true => JsonObject::read(&model)?.take_text("model_name")?,
        false => None,
    };
    let config = SaeConfig {
        architecture: sae.variant.name().into(),
        hook_name,
        hook_out: hook_out.filter(|_| transcodes),
        model_name,
        dtype: match folded {
            true => "float32".into(),
            false => dtype,
        },
        rest: config.map,
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}

fn activation(config: &mut JsonObject, d_sae: usize) -> Result<Variant> {
    let name = config.take_text("act_fn")?;
    let name = name.as_deref().unwrap_or("relu").to_ascii_lowercase();
    let least = config.take_number("jump_relu_threshold")?.unwrap_or(0.0) as f32;
    let k = config.take_count("top_k")?;
    Ok(match name.as_str() {
        "relu" => Variant::Relu,
        // Its loader takes the threshold that was found for a top-k in the place of its k.
        "topk" if least <= 0.0 => Variant::TopK {
            k: config.require("top_k", k)?,
        },
        "topk" | "jumprelu" => Variant::JumpRelu {
            threshold: vec![least.max(0.0); d_sae],
        },
        other => {
            return Err(config.invalid(&format!(
                "an act_fn of relu, topk, jumprelu is required, got {other}"
            )));
        }
    })
}

/// Takes the norm of vectors in training out of the parameters; true if there was one.
fn norm(config: &mut JsonObject, sae: &mut Sae) -> Result<bool> {
    let name = config.take_text("norm_activation")?;
    match name.as_deref().unwrap_or("token-wise") {
        "none" | "inference" => Ok(false),
        "token-wise" if !sae.transcodes => {
            sae.norm = InputNorm::Rms;
            Ok(false)
        }
        "dataset-wise" => {
            let mut norms = config.take_object("dataset_average_activation_norm")?;
            let mut factor = |side: &str| {
                let norm = norms.take_number(side)?;
                let norm = norms.require(&format!("dataset_average_activation_norm.{side}"), norm)?;
                match norm.is_finite() && norm > 0.0 {
                    true => Ok((sae.d_in as f64).sqrt() / norm),
                    false => Err(norms.invalid(&format!(
                        "dataset_average_activation_norm.{side}: a positive number is required, got {norm}"
                    ))),
                }
            };
            let (read, given) = (factor("in")?, factor("out")?);
            fold::scaled(&mut sae.b_enc, read.recip());
            fold::scaled(&mut sae.b_dec, given.recip());
            fold::scaled(&mut sae.w_dec, read / given);
            Ok(true)
        }
        other => Err(config.invalid(&format!(
            "a norm_activation of dataset-wise, inference, none, or token-wise of an autoencoder is required, got {other}"
        ))),
    }
}
