//! Folders of SAELens: `cfg.json` beside `sae_weights.safetensors`, matrices with a row a input for `W_enc`.
//!
//! Configurations before version 6 are flat; they are read as SAELens 6 itself reads them, everything it has no field
//! for under `metadata`. A batch top-k is a jump ReLU with one threshold there; its `k` is kept under `metadata.polysema`.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{Sae, Variant};
use serde_json::{Map, Value, json};

use super::fold;
use super::json::JsonObject;
use super::{OURS, SaeConfig, SaeFile, check_written, folder};
use crate::files::tensors::{TensorFile, Tensors, dtype_name, transposed, wider};

pub(super) const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
/// Files of tensors.
pub(super) const FILES: [&str; 1] = [WEIGHTS];
/// The oldest version with this layout of `cfg.json`.
const VERSION: &str = "6.0.0";
const ARCHITECTURES: [&str; 4] = ["standard", "topk", "jumprelu", "gated"];

/// Fields of a configuration of version 6 outside its metadata.
const FIELDS: [&str; 10] = [
    "architecture",
    "d_in",
    "d_sae",
    "dtype",
    "device",
    "apply_b_dec_to_input",
    "normalize_activations",
    "reshape_activations",
    "k",
    "rescale_acts_by_decoder_norm",
];

pub(super) fn read(path: &Path) -> Result<SaeFile> {
    let mut cfg = JsonObject::read(&path.join(CONFIG))?;
    let mut metadata = cfg.take_object("metadata")?;
    nest(&mut cfg, &mut metadata)?;
    let mut tensors = Tensors::read(&path.join(WEIGHTS))?;

    let architecture = cfg.take_text("architecture")?;
    let architecture = cfg.require("architecture", architecture)?;
    let (d_in, d_sae) = (cfg.take_count("d_in")?, cfg.take_count("d_sae")?);
    let (d_in, d_sae) = (cfg.require("d_in", d_in)?, cfg.require("d_sae", d_sae)?);
    let dtype = cfg.take_text("dtype")?;
    let dtype = dtype_name(&cfg.require("dtype", dtype)?).map_err(|e| cfg.invalid(&e))?;
    let mut ours = metadata.take_object(OURS)?;
    let variant = variant(&architecture, d_sae, &mut cfg, &mut ours, &mut tensors)?;
    metadata.put_object(OURS, ours);

    let stored = tensors.dtype("W_enc")?;
    let gated = matches!(variant, Variant::Gated { .. });
    let mut sae = Sae {
        d_in,
        d_sae,
        variant,
        centered: cfg.take_bool("apply_b_dec_to_input")?.unwrap_or(true),
        w_enc: tensors.take_transposed("W_enc", [d_in, d_sae])?,
        b_enc: if gated {
            vec![0.0; d_sae]
        } else {
            tensors.take("b_enc", &[d_sae])?
        },
        w_dec: tensors.take("W_dec", &[d_sae, d_in])?,
        b_dec: tensors.take("b_dec", &[d_in])?,
    };
    drop_unit_scale(&cfg, &mut tensors, d_sae)?;
    tensors.finish()?;
    let folded =
        fold::activation_scale(path, &mut cfg, &mut sae)? | fold::norms(&mut cfg, &mut sae)?;

    let config = SaeConfig {
        architecture,
        hook_name: metadata.take_text("hook_name")?,
        model_name: metadata.take_text("model_name")?,
        dtype: wider(dtype, if folded { "float32" } else { &stored }),
        normalize_activations: "none".into(),
        prepend_bos: metadata.take_bool("prepend_bos")?,
        context_size: metadata.take_count("context_size")?,
        rest: {
            cfg.put_object("metadata", metadata);
            cfg.map
        },
    };
    Ok(SaeFile { sae, config })
}

/// Brings a flat configuration, of a version before 6, into the form of version 6.
fn nest(cfg: &mut JsonObject, metadata: &mut JsonObject) -> Result<()> {
    let version = match cfg.take_text("sae_lens_version")? {
        Some(version) => Some(version),
        None => metadata.take_text("sae_lens_version")?,
    };
    let major = version
        .as_deref()
        .and_then(|v| v.split('.').next()?.parse::<u32>().ok());
    if major < Some(6) {
        nest_flat(cfg, metadata)?;
    }
    if let Some(version) = version.filter(|v| v != VERSION) {
        // What is written is of our version, whoever trained it.
        let key = if major < Some(6) {
            "sae_lens_training_version"
        } else {
            "sae_lens_version"
        };
        metadata.map.entry(key).or_insert(version.into());
    }
    Ok(())
}

fn nest_flat(cfg: &mut JsonObject, metadata: &mut JsonObject) -> Result<()> {
    for (old, new) in [
        ("hook_point", "hook_name"),
        ("hook_point_head_index", "hook_head_index"),
        ("activation_fn_str", "activation_fn"),
    ] {
        if let Some(value) = cfg.map.remove(old) {
            cfg.map.insert(new.into(), value);
        }
    }
    let mut arguments = cfg.take_object("activation_fn_kwargs")?;
    match cfg.take_text("activation_fn")?.as_deref() {
        None | Some("relu") => {}
        Some("topk") => {
            cfg.map.insert("architecture".into(), "topk".into());
        }
        Some(other) => {
            let message = format!("an activation_fn relu or topk is required, got {other}");
            return Err(cfg.invalid(&message));
        }
    }
    if let Some(k) = arguments.map.remove("k") {
        cfg.map.insert("k".into(), k);
    }
    cfg.put_object("activation_fn_kwargs", arguments);
    cfg.map.entry("architecture").or_insert("standard".into());
    if let Some(Value::Bool(normalized)) = cfg.map.get("normalize_activations") {
        let name = if *normalized {
            "expected_average_only_in"
        } else {
            "none"
        };
        cfg.map.insert("normalize_activations".into(), name.into());
    }
    let hook = cfg.map.get("hook_name").and_then(Value::as_str);
    if hook.is_some_and(|hook| hook.contains("hook_z")) {
        cfg.map
            .entry("reshape_activations")
            .or_insert("hook_z".into());
    }
    cfg.map.entry("prepend_bos").or_insert(true.into());
    let flat = std::mem::take(&mut cfg.map);
    for (key, value) in flat.into_iter().filter(|(_, value)| !value.is_null()) {
        let map = if FIELDS.contains(&key.as_str()) {
            &mut cfg.map
        } else {
            &mut metadata.map
        };
        map.insert(key, value);
    }
    Ok(())
}

fn variant(
    architecture: &str,
    d_sae: usize,
    cfg: &mut JsonObject,
    ours: &mut JsonObject,
    tensors: &mut Tensors,
) -> Result<Variant> {
    Ok(match architecture {
        "standard" => Variant::Relu,
        "topk" => {
            let k = cfg.take_count("k")?;
            Variant::TopK {
                k: cfg.require("k", k)?,
            }
        }
        "jumprelu" => {
            let threshold = thresholds(d_sae, tensors)?;
            match ours.take_count("batch_topk_k")? {
                None => Variant::JumpRelu { threshold },
                Some(k) => match threshold.split_first() {
                    Some((first, others)) if others.iter().all(|t| t == first) => {
                        Variant::BatchTopK {
                            k,
                            threshold: *first,
                        }
                    }
                    _ => {
                        return Err(cfg.invalid(
                            "one threshold for all latents of a batch top-k is required, got several",
                        ));
                    }
                },
            }
        }
        "gated" => Variant::Gated {
            b_gate: tensors.take("b_gate", &[d_sae])?,
            r_mag: tensors.take("r_mag", &[d_sae])?,
            b_mag: tensors.take("b_mag", &[d_sae])?,
        },
        other => {
            return Err(cfg.invalid(&format!(
                "an architecture of {} is required, got {other}",
                ARCHITECTURES.join(", ")
            )));
        }
    })
}

fn thresholds(d_sae: usize, tensors: &mut Tensors) -> Result<Vec<f32>> {
    // Checkpoints of training once held the logarithm.
    let logarithm = tensors.contains("log_threshold") && !tensors.contains("threshold");
    let mut threshold = if logarithm {
        tensors.take("log_threshold", &[d_sae])?
    } else {
        tensors.take("threshold", &[d_sae])?
    };
    for t in &mut threshold {
        *t = if logarithm { t.exp() } else { t.max(0.0) };
    }
    Ok(threshold)
}

/// A scale of the latents after training was once written as ones; any other changes what is computed.
fn drop_unit_scale(cfg: &JsonObject, tensors: &mut Tensors, d_sae: usize) -> Result<()> {
    let name = "scaling_factor";
    if !tensors.contains(name) {
        return Ok(());
    }
    match tensors.take(name, &[d_sae])?.iter().find(|s| **s != 1.0) {
        None => Ok(()),
        Some(scale) => Err(cfg.invalid(&format!(
            "a scaling_factor of 1 is required, got {scale}: fold it with SAELens first"
        ))),
    }
}

/// Writes a folder that SAELens 6 and we read; `replace` puts it in the place of another.
pub fn write_saelens(folder: &Path, file: &SaeFile, replace: bool) -> Result<()> {
    check_written(file, folder)?;
    folder::write(folder, replace, |folder| {
        weights(folder, file)?;
        let text = serde_json::to_vec_pretty(&configuration(file)?);
        let text = text.map_err(|e| super::invalid(e.to_string()))?;
        folder::write_file(&folder.join(CONFIG), &text)
    })
}

fn weights(folder: &Path, file: &SaeFile) -> Result<()> {
    let sae = &file.sae;
    let (d_in, d_sae) = (sae.d_in, sae.d_sae);
    let mut out = TensorFile::new(folder.join(WEIGHTS), &file.config.dtype)?;
    out.add(
        "W_enc",
        &transposed(&sae.w_enc, d_sae, d_in),
        &[d_in, d_sae],
    )?;
    out.add("W_dec", &sae.w_dec, &[d_sae, d_in])?;
    out.add("b_dec", &sae.b_dec, &[d_in])?;
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

fn configuration(file: &SaeFile) -> Result<Map<String, Value>> {
    let (sae, config) = (&file.sae, &file.config);
    let mut cfg = config.rest.clone();
    let mut metadata = object(cfg.remove("metadata"))?;
    let architecture = match &sae.variant {
        Variant::Relu => "standard",
        Variant::TopK { k } => {
            cfg.insert("k".into(), json!(k));
            "topk"
        }
        Variant::BatchTopK { k, .. } => {
            let mut ours = object(metadata.remove(OURS))?;
            ours.insert("batch_topk_k".into(), json!(k));
            metadata.insert(OURS.into(), ours.into());
            "jumprelu"
        }
        Variant::JumpRelu { .. } => "jumprelu",
        Variant::Gated { .. } => "gated",
    };
    metadata.entry("sae_lens_version").or_insert(VERSION.into());
    for (key, value) in [
        ("hook_name", config.hook_name.clone().map(Value::from)),
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
        ("normalize_activations", json!(config.normalize_activations)),
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
