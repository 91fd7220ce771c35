//! Folders of SAELens: `cfg.json` beside `sae_weights.safetensors`, matrices with a row a input for `W_enc`.
//!
//! Configurations before version 6 are flat; they are read as SAELens 6 itself reads them, everything it has no field
//! for under `metadata`. A batch top-k is a jump ReLU with one threshold there; its `k` is kept under `metadata.polysema`.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use serde_json::Value;

use super::fold;
use super::json::JsonObject;
use super::{OURS, SaeConfig, SaeFile, drop_unit_scale};
use crate::files::tensors::{Tensors, dtype_name, wider};

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";
/// Files of tensors.
pub(super) const FILES: [&str; 1] = [WEIGHTS];
/// The oldest version with this layout of `cfg.json`.
pub(super) const VERSION: &str = "6.0.0";
const ARCHITECTURES: [&str; 10] = [
    "standard",
    "topk",
    "jumprelu",
    "gated",
    "batchtopk",
    "matryoshka_batchtopk",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
];
/// Ways to lay out the vectors of heads; all have them side by side.
const LAYOUTS: [&str; 2] = ["none", "hook_z"];
/// Switches of training, which change nothing afterwards.
const OF_TRAINING: [&str; 2] = ["use_sparse_activations", "decoder_init_norm"];

/// The threshold of a batch top-k in training.
const LEARNED: &str = "topk_threshold";

/// Fields of a configuration of version 6 outside its metadata.
const FIELDS: [&str; 12] = [
    "architecture",
    "d_in",
    "d_sae",
    "d_out",
    "activation_fn",
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
    let stored = tensors.dtype("W_enc")?;
    let dtype = match cfg.take_text("dtype")? {
        Some(dtype) => dtype_name(&dtype).map_err(|e| cfg.invalid(&e))?.to_string(),
        None => stored.clone(),
    };
    let mut ours = metadata.take_object(OURS)?;
    let variant = variant(&architecture, d_sae, &mut cfg, &mut ours, &mut tensors)?;
    let groups = groups(&mut cfg, &mut ours, d_sae)?;
    metadata.put_object(OURS, ours);
    refuse_others(&mut cfg, &mut metadata)?;

    let transcodes = architecture.ends_with("transcoder");
    let centered = match (cfg.take_bool("apply_b_dec_to_input")?, transcodes) {
        (Some(true), true) => {
            return Err(
                cfg.invalid("apply_b_dec_to_input false is required of a transcoder, got true")
            );
        }
        (stated, _) => stated.unwrap_or(!transcodes),
    };
    let d_out = cfg.take_count("d_out")?;
    let d_out = match transcodes {
        true => cfg.require("d_out", d_out)?,
        false => d_in,
    };
    let gated = matches!(variant, Variant::Gated { .. });
    let mut sae = Sae {
        d_in,
        d_sae,
        variant,
        centered,
        w_enc: tensors.take_transposed("W_enc", [d_in, d_sae])?,
        b_enc: if gated {
            vec![0.0; d_sae]
        } else {
            tensors.take("b_enc", &[d_sae])?
        },
        w_dec: tensors.take("W_dec", &[d_sae, d_out])?,
        b_dec: tensors.take("b_dec", &[d_out])?,
        norm: InputNorm::None,
        w_skip: match architecture.contains("skip") {
            true => tensors.take("W_skip", &[d_out, d_in])?,
            false => vec![],
        },
        transcodes,
    };
    for name in ["scaling_factor", "finetuning_scaling_factor"] {
        drop_unit_scale(&mut tensors, name, d_sae)?;
    }
    tensors.finish()?;
    let folded =
        fold::activation_scale(path, &mut cfg, &mut sae)? | fold::norms(&mut cfg, &mut sae)?;

    let config = SaeConfig {
        architecture,
        hook_name: metadata.take_text("hook_name")?,
        hook_out: match sae.transcodes {
            true => metadata.take_text("hook_name_out")?,
            false => None,
        },
        groups,
        model_name: metadata.take_text("model_name")?,
        dtype: wider(&dtype, if folded { "float32" } else { &stored }),
        prepend_bos: metadata.take_bool("prepend_bos")?,
        context_size: metadata.take_count("context_size")?,
        rest: {
            cfg.put_object("metadata", metadata);
            cfg.map
        },
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}

/// Refuses what would change numbers and is not computed.
fn refuse_others(cfg: &mut JsonObject, metadata: &mut JsonObject) -> Result<()> {
    if let Some(other) = cfg.take_text("reshape_activations")?
        && !LAYOUTS.contains(&other.as_str())
    {
        return Err(cfg.invalid(&format!(
            "reshape_activations of {} is required, got {other}",
            LAYOUTS.join(", ")
        )));
    }
    for name in ["hook_head_index", "hook_head_index_out"] {
        if let Some(head) = metadata.take_count(name)? {
            return Err(cfg.invalid(&format!(
                "{name}: an autoencoder of all heads side by side is required, got one of head {head}"
            )));
        }
    }
    cfg.refuse_switches(&[&FIELDS[..], &OF_TRAINING].concat())
}

/// The groups of a matryoshka: training keeps where each ends.
fn groups(cfg: &mut JsonObject, ours: &mut JsonObject, d_sae: usize) -> Result<Vec<usize>> {
    let counts = |value: &Value| -> Option<Vec<usize>> {
        let counts = value.as_array()?.iter();
        let counts = counts.map(|n| usize::try_from(n.as_u64()?).ok());
        counts.collect()
    };
    let ends = cfg
        .map
        .remove("matryoshka_widths")
        .filter(|ends| !ends.is_null());
    let Some(ends) = ends else {
        let kept = ours.map.remove("groups");
        return Ok(kept.as_ref().and_then(counts).unwrap_or_default());
    };
    let ends = counts(&ends).filter(|ends| ends.is_sorted() && ends.last() <= Some(&d_sae));
    let Some(mut ends) = ends else {
        return Err(cfg.invalid(&format!(
            "matryoshka_widths of at most {d_sae} latents in order are required"
        )));
    };
    if ends.last() != Some(&d_sae) {
        ends.push(d_sae);
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    Ok(starts.zip(&ends).map(|(start, end)| end - start).collect())
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
    // What is nested is of version 6, which may not say so.
    let flat = major < Some(6) && (major.is_some() || metadata.map.is_empty());
    if flat {
        nest_flat(cfg, metadata)?;
    } else {
        check_activation(cfg)?;
    }
    if let Some(version) = version.filter(|v| v != VERSION) {
        // What is written is of our version, whoever trained it.
        let key = if flat {
            "sae_lens_training_version"
        } else {
            "sae_lens_version"
        };
        metadata.map.entry(key).or_insert(version.into());
    }
    Ok(())
}

/// Version 6 has an architecture for each activation; a file that says another beside it means one or the other.
fn check_activation(cfg: &mut JsonObject) -> Result<()> {
    let activation = cfg.take_text("activation_fn")?;
    let architecture = cfg.map.get("architecture").and_then(Value::as_str);
    match (activation.as_deref(), architecture) {
        (None | Some("relu"), _) | (Some("topk"), Some("topk")) => Ok(()),
        (Some(other), _) => Err(cfg.invalid(&format!(
            "an activation_fn of architecture {} is required, got {other}",
            architecture.unwrap_or_default()
        ))),
    }
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
            let stated = cfg.take_text("architecture")?;
            if let Some(other) =
                stated.filter(|name| !["standard", "topk"].contains(&name.as_str()))
            {
                let message = format!(
                    "activation_fn topk: an architecture of standard, topk is required, got {other}"
                );
                return Err(cfg.invalid(&message));
            }
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
        "standard" | "transcoder" | "skip_transcoder" => Variant::Relu,
        "batchtopk" | "matryoshka_batchtopk" => {
            let k = cfg.take_number("k")?;
            let k = cfg.require("k", k)?;
            if !tensors.contains(LEARNED) {
                return Err(cfg.invalid(&format!(
                    "architecture {architecture}: the tensor {LEARNED} that training keeps is required, got none: SAELens' \
                     save_inference_model writes a jumprelu"
                )));
            }
            Variant::BatchTopK {
                k: k.ceil() as usize,
                threshold: tensors.take_number(LEARNED)?.max(0.0),
            }
        }
        "topk" => {
            let k = cfg.take_count("k")?;
            Variant::TopK {
                k: cfg.require("k", k)?,
            }
        }
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => {
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
