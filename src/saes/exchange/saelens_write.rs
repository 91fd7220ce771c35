//! Writing folders of SAELens: what it calls what an autoencoder is, and what it has no word for under `metadata.polysema`.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{Sae, Variant};
use serde_json::{Map, Value, json};

use super::saelens::{CONFIG, VERSION, WEIGHTS};
use super::{OURS, SaeFile, check_written, fold, folder};
use crate::files::tensors::{TensorFile, transposed};

/// Writes a folder that SAELens 6 and we read; `replace` puts it in the place of another.
pub fn write_saelens(folder: &Path, file: &SaeFile, replace: bool) -> Result<()> {
    check_written(file, folder)?;
    architecture(&file.sae).map_err(|e| super::invalid(format!("{}: {e}", folder.display())))?;
    folder::write(folder, replace, |folder| {
        weights(folder, file)?;
        let text = serde_json::to_vec_pretty(&configuration(file)?);
        let text = text.map_err(|e| super::invalid(e.to_string()))?;
        folder::write_file(&folder.join(CONFIG), &text)
    })
}

fn weights(folder: &Path, file: &SaeFile) -> Result<()> {
    let sae = &file.sae;
    let (d_in, d_sae, d_out) = (sae.d_in, sae.d_sae, sae.d_out());
    let mut out = TensorFile::new(folder.join(WEIGHTS), &file.config.dtype)?;
    out.add(
        "W_enc",
        &transposed(&sae.w_enc, d_sae, d_in),
        &[d_in, d_sae],
    )?;
    out.add("W_dec", &sae.w_dec, &[d_sae, d_out])?;
    out.add("b_dec", &sae.b_dec, &[d_out])?;
    if !sae.w_skip.is_empty() {
        out.add("W_skip", &sae.w_skip, &[d_out, d_in])?;
    }
    match &sae.variant {
        Variant::Gated {
            b_gate,
            r_mag,
            b_mag,
        } => {
            for (name, values) in [("b_gate", b_gate), ("r_mag", r_mag), ("b_mag", b_mag)] {
                out.add(name, values, &[d_sae])?;
            }
            return out.finish();
        }
        Variant::JumpRelu { threshold } => out.add("threshold", threshold, &[d_sae])?,
        Variant::BatchTopK { threshold, .. } => {
            out.add("threshold", &vec![*threshold; d_sae], &[d_sae])?;
        }
        Variant::Relu | Variant::TopK { .. } => {}
    }
    out.add("b_enc", &sae.b_enc, &[d_sae])?;
    out.finish()
}

/// SAELens' name of what an autoencoder is.
fn architecture(sae: &Sae) -> std::result::Result<&'static str, String> {
    let skip = !sae.w_skip.is_empty();
    if !sae.transcodes && skip {
        return Err(
            "a skip connection of a transcoder is required by SAELens, got one of an autoencoder"
                .into(),
        );
    }
    Ok(match (&sae.variant, sae.transcodes) {
        (Variant::Relu, false) => "standard",
        (Variant::TopK { .. }, false) => "topk",
        (Variant::JumpRelu { .. } | Variant::BatchTopK { .. }, false) => "jumprelu",
        (Variant::Gated { .. }, false) => "gated",
        (Variant::Relu, true) if skip => "skip_transcoder",
        (Variant::Relu, true) => "transcoder",
        (Variant::JumpRelu { .. } | Variant::BatchTopK { .. }, true) => match skip {
            true => "jumprelu_skip_transcoder",
            false => "jumprelu_transcoder",
        },
        (variant, true) => {
            return Err(format!(
                "a transcoder of relu, jump_relu is required by SAELens, got {}",
                variant.name()
            ));
        }
    })
}

fn configuration(file: &SaeFile) -> Result<Map<String, Value>> {
    let (sae, config) = (&file.sae, &file.config);
    let mut cfg = config.rest.clone();
    let mut metadata = object(cfg.remove("metadata"))?;
    let architecture = architecture(sae).map_err(super::invalid)?;
    let mut ours = object(metadata.remove(OURS))?;
    match &sae.variant {
        Variant::TopK { k } => {
            cfg.insert("k".into(), json!(k));
        }
        Variant::BatchTopK { k, .. } => {
            ours.insert("batch_topk_k".into(), json!(k));
        }
        _ => {}
    }
    if !config.groups.is_empty() {
        ours.insert("groups".into(), json!(config.groups));
    }
    if !ours.is_empty() {
        metadata.insert(OURS.into(), ours.into());
    }
    if sae.transcodes {
        cfg.insert("d_out".into(), json!(sae.d_out()));
    }
    let norm = fold::NORMS.iter().find(|(_, norm)| *norm == sae.norm);
    let norm = norm.map_or("none", |(name, _)| name);
    metadata.entry("sae_lens_version").or_insert(VERSION.into());
    for (key, value) in [
        ("hook_name", config.hook_name.clone().map(Value::from)),
        ("hook_name_out", config.hook_out.clone().map(Value::from)),
        ("model_name", config.model_name.clone().map(Value::from)),
        ("prepend_bos", config.prepend_bos.map(Value::from)),
        ("context_size", config.context_size.map(Value::from)),
    ] {
        if let Some(value) = value {
            metadata.insert(key.into(), value);
        }
    }
    for (key, value) in [
        ("architecture", json!(architecture)),
        ("d_in", json!(sae.d_in)),
        ("d_sae", json!(sae.d_sae)),
        ("dtype", json!(config.dtype)),
        ("apply_b_dec_to_input", json!(sae.centered)),
        ("normalize_activations", json!(norm)),
        ("metadata", metadata.into()),
    ] {
        cfg.insert(key.into(), value);
    }
    Ok(cfg)
}

fn object(value: Option<Value>) -> Result<Map<String, Value>> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => Err(super::invalid(format!(
            "an object is required for metadata, got {other}"
        ))),
    }
}
