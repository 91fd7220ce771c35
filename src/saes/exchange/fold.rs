//! Constants that SAELens keeps beside the weights, multiplied into them: the same function without the constant.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::Sae;

use super::json::JsonObject;

/// Beside a checkpoint whose vectors were scaled by a constant.
const SCALER: &str = "activation_scaler.json";

/// Folds a constant scale of the vectors into the weights; true if there was one.
pub(super) fn activation_scale(path: &Path, cfg: &mut JsonObject, sae: &mut Sae) -> Result<bool> {
    let normalization = cfg.take_text("normalize_activations")?;
    match normalization.as_deref() {
        None | Some("none") => return Ok(false),
        Some("expected_average_only_in") if path.join(SCALER).exists() => {}
        Some("expected_average_only_in") => {
            return Err(cfg.invalid(&format!(
                "normalize_activations expected_average_only_in: a {SCALER} with the scale is required beside it, \
                 got none: fold the scale with SAELens first"
            )));
        }
        Some(other) => {
            return Err(cfg.invalid(&format!(
                "normalize_activations none is required, got {other}, which depends on every vector"
            )));
        }
    }
    let mut scaler = JsonObject::read(&path.join(SCALER))?;
    let scale = scaler.take_number("scaling_factor")?;
    let scale = scaler.require("scaling_factor", scale)?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(scaler.invalid(&format!(
            "a positive scaling_factor is required, got {scale}"
        )));
    }
    let scaled = |values: &mut [f32], by: f64| {
        for value in values {
            *value = (f64::from(*value) * by) as f32;
        }
    };
    scaled(&mut sae.w_enc, scale);
    scaled(&mut sae.w_dec, scale.recip());
    scaled(&mut sae.b_dec, scale.recip());
    Ok(true)
}

/// Folds the decoder's norms, by which some top-k's weigh their latents, into the weights; true if they do.
pub(super) fn norms(cfg: &mut JsonObject, sae: &mut Sae) -> Result<bool> {
    if cfg.take_bool("rescale_acts_by_decoder_norm")? != Some(true) {
        return Ok(false);
    }
    for latent in 0..sae.d_sae {
        let row = latent * sae.d_in..(latent + 1) * sae.d_in;
        let direction = &mut sae.w_dec[row.clone()];
        let norm = direction
            .iter()
            .map(|w| f64::from(*w).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm == 0.0 {
            return Err(cfg.invalid(&format!(
                "rescale_acts_by_decoder_norm: a direction in W_dec is required, got zeros for latent {latent}"
            )));
        }
        for w in direction {
            *w = (f64::from(*w) / norm) as f32;
        }
        for w in sae.w_enc[row].iter_mut().chain([&mut sae.b_enc[latent]]) {
            *w = (f64::from(*w) * norm) as f32;
        }
    }
    Ok(true)
}
