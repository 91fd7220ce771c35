//! Constants that SAELens keeps beside the weights, multiplied into them: the same function without the constant.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae};

use super::json::JsonObject;

/// What is done to each vector, by SAELens' names.
pub(super) const NORMS: [(&str, InputNorm); 2] = [
    ("constant_norm_rescale", InputNorm::Rms),
    ("layer_norm", InputNorm::Standard),
];
/// Beside a checkpoint whose vectors were scaled by a constant.
const SCALER: &str = "activation_scaler.json";

/// Folds a constant scale of the vectors into the weights, true if there was one; or says what is done to each vector.
pub(super) fn activation_scale(path: &Path, cfg: &mut JsonObject, sae: &mut Sae) -> Result<bool> {
    let normalization = cfg.take_text("normalize_activations")?;
    let normalization = normalization.as_deref().filter(|name| *name != "none");
    if let (true, Some(name)) = (sae.transcodes, normalization) {
        return Err(cfg.invalid(&format!(
            "normalize_activations none is required of a transcoder, got {name}, which its outputs would not be freed of"
        )));
    }
    if let Some((_, norm)) = NORMS
        .iter()
        .find(|(known, _)| normalization == Some(*known))
    {
        sae.norm = *norm;
        return Ok(false);
    }
    match normalization {
        None => return Ok(false),
        Some("expected_average_only_in") if path.join(SCALER).exists() => {}
        Some("expected_average_only_in") => {
            return Err(cfg.invalid(&format!(
                "normalize_activations expected_average_only_in: a {SCALER} with the scale is required beside it, \
                 got none: fold the scale with SAELens first"
            )));
        }
        Some(other) => {
            let known = NORMS.map(|(name, _)| name).join(", ");
            return Err(cfg.invalid(&format!(
                "normalize_activations of none, expected_average_only_in, {known} is required, got {other}"
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
    scaled(&mut sae.w_enc, scale);
    scaled(&mut sae.w_dec, scale.recip());
    scaled(&mut sae.b_dec, scale.recip());
    Ok(true)
}

/// Multiplies numbers by a constant.
pub(super) fn scaled(values: &mut [f32], by: f64) {
    for value in values {
        *value = (f64::from(*value) * by) as f32;
    }
}

/// Folds the decoder's norms, by which some top-k's weigh their latents, into the weights; true if they do.
pub(super) fn norms(cfg: &mut JsonObject, sae: &mut Sae) -> Result<bool> {
    if cfg.take_bool("rescale_acts_by_decoder_norm")? != Some(true) {
        return Ok(false);
    }
    unit_decoder(sae).map_err(|e| cfg.invalid(&format!("rescale_acts_by_decoder_norm: {e}")))?;
    Ok(true)
}

/// Makes what each latent writes as long as 1, and its activation as much larger.
pub(super) fn unit_decoder(sae: &mut Sae) -> std::result::Result<(), String> {
    let (d_in, d_out) = (sae.d_in, sae.d_out());
    for latent in 0..sae.d_sae {
        let direction = &mut sae.w_dec[latent * d_out..(latent + 1) * d_out];
        let norm = direction
            .iter()
            .map(|w| f64::from(*w).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm == 0.0 {
            return Err(format!(
                "a direction in W_dec is required, got zeros for latent {latent}"
            ));
        }
        for w in direction {
            *w = (f64::from(*w) / norm) as f32;
        }
        let row = &mut sae.w_enc[latent * d_in..(latent + 1) * d_in];
        for w in row.iter_mut().chain([&mut sae.b_enc[latent]]) {
            *w = (f64::from(*w) * norm) as f32;
        }
    }
    Ok(())
}
