//! Folders of sparsify, one a hookpoint and called so: `cfg.json` beside `sae.safetensors`.
//!
//! An autoencoder takes `b_dec` off first, a transcoder does not. A hookpoint names a module: an autoencoder reads what the
//! module gives, a transcoder what goes into it. The settings of the whole training may lie in the folder above.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use serde_json::Value;

use super::json::JsonObject;
use super::saelens::CONFIG;
use super::{SaeConfig, SaeFile, hook_names};
use crate::files::tensors::Tensors;

pub(super) const WEIGHTS: &str = "sae.safetensors";
/// Of the folder above.
const TRAINING: &str = "config.json";
/// Settings that say nothing of what is computed afterwards.
const OF_TRAINING: [&str; 2] = ["normalize_decoder", "multi_topk"];

pub(super) fn read(path: &Path) -> Result<SaeFile> {
    let mut cfg = JsonObject::read(&path.join(CONFIG))?;
    let mut tensors = Tensors::read(&path.join(WEIGHTS))?;
    let activation = cfg.take_text("activation")?;
    if let Some(other) = activation.as_deref().filter(|name| *name != "topk") {
        return Err(cfg.invalid(&format!("an activation of topk is required, got {other}")));
    }
    if cfg.take_bool("signed")? == Some(true) {
        return Err(cfg.invalid(
            "signed false is required, got true: its latents fire negatively, too, which is not computed",
        ));
    }
    let transcodes = cfg.take_bool("transcode")?.unwrap_or(false);
    let skip = cfg.take_bool("skip_connection")?.unwrap_or(false);
    let k = cfg.take_count("k")?;
    let k = cfg.require("k", k)?;
    let d_in = cfg.take_count("d_in")?;
    let d_in = cfg.require("d_in", d_in)?;
    let expansion = cfg.take_count("expansion_factor")?;
    let d_sae = match cfg.take_count("num_latents")?.filter(|n| *n > 0) {
        Some(d_sae) => d_sae,
        None => {
            let factor = cfg.require("num_latents or expansion_factor", expansion)?;
            factor.saturating_mul(d_in)
        }
    };
    cfg.refuse_switches(&OF_TRAINING)?;
    let dtype = tensors.dtype("encoder.weight")?;
    let d_out = match tensors.matrix("W_dec")? {
        [_, d_out] if transcodes => d_out,
        _ => d_in,
    };
    let sae = Sae {
        d_in,
        d_sae,
        variant: Variant::TopK { k },
        centered: !transcodes,
        w_enc: tensors.take("encoder.weight", &[d_sae, d_in])?,
        b_enc: tensors.take("encoder.bias", &[d_sae])?,
        w_dec: tensors.take("W_dec", &[d_sae, d_out])?,
        b_dec: tensors.take("b_dec", &[d_out])?,
        norm: InputNorm::None,
        w_skip: match skip {
            true => tensors.take("W_skip", &[d_out, d_in])?,
            false => vec![],
        },
        transcodes,
    };
    tensors.finish()?;
    let whole = super::whole(path);
    let hookpoint = whole.file_name().map(|name| name.to_string_lossy());
    // A folder that was renamed names no place.
    let hookpoint = hookpoint.filter(|name| hook_names::parse(name, None).is_some());
    let hookpoint = hookpoint.map(|name| name.into_owned());
    let above = whole.parent().map(|folder| folder.join(TRAINING));
    let (model_name, context_size) = match above.filter(|path| path.is_file()) {
        Some(path) => {
            let mut training = JsonObject::read(&path)?;
            (
                training.take_text("model")?,
                training.take_count("ctx_len")?,
            )
        }
        None => (None, None),
    };
    let (hook_name, hook_out) = match (&hookpoint, transcodes) {
        (Some(name), true) => (hook_names::input_name(name), hookpoint.clone()),
        _ => (hookpoint.clone(), None),
    };
    let mut rest = cfg.map;
    if let Some(name) = hookpoint {
        rest.insert("hookpoint".into(), Value::from(name));
    }
    let config = SaeConfig {
        architecture: match (transcodes, skip) {
            (false, false) => "sparse coder",
            (false, true) => "sparse coder with skip connection",
            (true, false) => "transcoder",
            (true, true) => "skip transcoder",
        }
        .into(),
        hook_name,
        hook_out,
        model_name,
        dtype,
        context_size,
        rest,
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}
