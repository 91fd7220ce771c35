//! Folders of dictionary_learning: `config.json` beside `ae.pt`, or `ae.safetensors` with the same names.
//!
//! Its classes fix whether `b_dec` is taken off first: all but `AutoEncoderNew` and `JumpReluAutoEncoder` do. An
//! autoencoder of the other kind cannot be said in this format and is refused. What it has no word for is kept under
//! `polysema`. Above 400 lines, since reading and writing share the classes and what each calls its parameters.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use serde_json::{Map, Value, json};

use super::json::JsonObject;
use super::{OURS, SaeConfig, SaeFile, check_written, folder, invalid};
use crate::files::tensors::{TensorFile, Tensors, transposed};

pub(super) const CONFIG: &str = "config.json";
pub(super) const SAFETENSORS: &str = "ae.safetensors";
pub(super) const TORCH: &str = "ae.pt";
/// Files of tensors.
pub(super) const FILES: [&str; 2] = [SAFETENSORS, TORCH];
const CLASSES: [&str; 7] = [
    "AutoEncoder",
    "AutoEncoderNew",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    MATRYOSHKA,
];
const MATRYOSHKA: &str = "MatryoshkaBatchTopKSAE";
const JUMP_RELU: &str = "JumpReluAutoEncoder";
/// Classes that a tensor of their own tells from the others, in the order of looking.
const TELLING: [(&str, &str); 5] = [
    ("group_sizes", MATRYOSHKA),
    ("r_mag", "GatedAutoEncoder"),
    ("W_enc", JUMP_RELU),
    ("bias", "AutoEncoder"),
    ("decoder.bias", "AutoEncoderNew"),
];
/// Key, under ours, of the threshold that a top-k carries beside its k.
const TOP_K_THRESHOLD: &str = "topk_threshold";
/// What a threshold is before it is learned.
const UNSET: f32 = -1.0;

pub(super) fn read(path: &Path) -> Result<SaeFile> {
    let alone = path.is_file();
    let mut config = match path.join(CONFIG) {
        config if config.exists() => JsonObject::read(&config)?,
        _ => JsonObject::empty(path),
    };
    let mut trainer = config.take_object("trainer")?;
    let mut buffer = config.take_object("buffer")?;
    let mut ours = config.take_object(OURS)?;
    let weights = match alone {
        true => vec![path.to_path_buf()],
        false => FILES.map(|name| path.join(name)).to_vec(),
    };
    let Some(weights) = weights.iter().find(|path| path.exists()) else {
        return Err(invalid(format!(
            "{}: {SAFETENSORS} or {TORCH} is required, got neither",
            path.display()
        )));
    };
    let mut tensors = Tensors::read(weights)?;
    let class = match trainer.take_text("dict_class")? {
        Some(class) if CLASSES.contains(&class.as_str()) => class,
        Some(class) => {
            return Err(config.invalid(&format!(
                "a trainer.dict_class of {} is required, got {class}",
                CLASSES.join(", ")
            )));
        }
        None => {
            let told = told(&tensors, &trainer).map(str::to_string);
            trainer.require("trainer.dict_class", told)?
        }
    };
    let jump = class == JUMP_RELU || class == MATRYOSHKA;
    let name = if jump { "W_enc" } else { "encoder.weight" };
    let dtype = tensors.dtype(name)?;
    let (d_in, d_sae) = match tensors.matrix(name)? {
        [d_in, d_sae] if jump => (d_in, d_sae),
        [d_sae, d_in] => (d_in, d_sae),
    };
    for (key, width) in [("activation_dim", d_in), ("dict_size", d_sae)] {
        if let Some(stated) = trainer.take_count(key)?
            && stated != width
        {
            return Err(config.invalid(&format!(
                "trainer.{key} of the {width} in {} is required, got {stated}",
                weights.display()
            )));
        }
    }
    let mut groups = vec![];
    let sae = if jump {
        let variant = match class == MATRYOSHKA {
            true => {
                groups = take_groups(&config, &mut tensors, d_sae)?;
                Variant::BatchTopK {
                    k: k(&mut tensors, &mut trainer)?,
                    threshold: tensors.take_number("threshold")?.max(0.0),
                }
            }
            false => {
                let mut threshold = tensors.take("threshold", &[d_sae])?;
                threshold.iter_mut().for_each(|t| *t = t.max(0.0));
                Variant::JumpRelu { threshold }
            }
        };
        by_rows(&mut tensors, variant, d_in, d_sae)?
    } else {
        linear(&class, &mut tensors, &mut trainer, &mut ours, d_in, d_sae)?
    };
    tensors.finish()?;
    let config = SaeConfig {
        architecture: class,
        hook_name: trainer.take_text("submodule_name")?,
        groups,
        model_name: trainer.take_text("lm_name")?,
        dtype,
        prepend_bos: ours.take_bool("prepend_bos")?,
        context_size: buffer.take_count("ctx_len")?,
        rest: {
            config.put_object("trainer", trainer);
            config.put_object("buffer", buffer);
            config.put_object(OURS, ours);
            config.map
        },
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}

/// Whether the names of a file that lies alone say its class.
pub(super) fn is_bare(tensors: &Tensors) -> bool {
    let whole = ["encoder.weight", "decoder.weight"];
    TELLING.iter().any(|(name, _)| tensors.contains(name))
        && (tensors.contains("threshold") || whole.iter().all(|name| tensors.contains(name)))
}

/// The class of an early file, which does not name it.
fn told(tensors: &Tensors, trainer: &JsonObject) -> Option<&'static str> {
    let telling = TELLING.iter().find(|(name, _)| tensors.contains(name));
    let trained = || {
        let by = trainer.map.get("trainer_class")?.as_str()?;
        Some(match by.contains("BatchTopK") {
            true => "BatchTopKSAE",
            false if by.contains("TopK") => "AutoEncoderTopK",
            false => return None,
        })
    };
    telling.map(|(_, class)| *class).or_else(trained)
}

/// The sizes of a matryoshka's groups, all of which are in use.
fn take_groups(config: &JsonObject, tensors: &mut Tensors, d_sae: usize) -> Result<Vec<usize>> {
    let groups = tensors.take_counts("group_sizes")?;
    if groups.iter().sum::<usize>() != d_sae {
        return Err(config.invalid(&format!(
            "group_sizes of {d_sae} latents together are required, got {groups:?}"
        )));
    }
    if tensors.contains("active_groups") {
        let active = tensors.take_count("active_groups")?;
        if active != groups.len() {
            return Err(config.invalid(&format!(
                "active_groups of all {} groups is required, got {active}",
                groups.len()
            )));
        }
    }
    Ok(groups)
}

/// The classes whose matrices have a row a input, or a latent.
fn by_rows(tensors: &mut Tensors, variant: Variant, d_in: usize, d_sae: usize) -> Result<Sae> {
    let centered = matches!(variant, Variant::BatchTopK { .. });
    Ok(Sae {
        d_in,
        d_sae,
        variant,
        centered,
        w_enc: tensors.take_transposed("W_enc", [d_in, d_sae])?,
        b_enc: tensors.take("b_enc", &[d_sae])?,
        w_dec: tensors.take("W_dec", &[d_sae, d_in])?,
        b_dec: tensors.take("b_dec", &[d_in])?,
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes: false,
    })
}

/// The classes whose matrices are torch's linear layers.
fn linear(
    class: &str,
    tensors: &mut Tensors,
    trainer: &mut JsonObject,
    ours: &mut JsonObject,
    d_in: usize,
    d_sae: usize,
) -> Result<Sae> {
    let (bias, centered) = match class {
        "AutoEncoder" => ("bias", true),
        "AutoEncoderNew" => ("decoder.bias", false),
        "GatedAutoEncoder" => ("decoder_bias", true),
        _ => ("b_dec", true),
    };
    let variant = match class {
        "GatedAutoEncoder" => Variant::Gated {
            b_gate: tensors.take("gate_bias", &[d_sae])?,
            r_mag: tensors.take("r_mag", &[d_sae])?,
            b_mag: tensors.take("mag_bias", &[d_sae])?,
        },
        "AutoEncoderTopK" => {
            let k = k(tensors, trainer)?;
            if tensors.contains("threshold") {
                let threshold = tensors.take_number("threshold")?;
                if threshold != UNSET {
                    ours.map.insert(TOP_K_THRESHOLD.into(), json!(threshold));
                }
            }
            Variant::TopK { k }
        }
        "BatchTopKSAE" => Variant::BatchTopK {
            k: k(tensors, trainer)?,
            threshold: tensors.take_number("threshold")?.max(0.0),
        },
        _ => Variant::Relu,
    };
    let gated = matches!(variant, Variant::Gated { .. });
    Ok(Sae {
        d_in,
        d_sae,
        variant,
        centered,
        w_enc: tensors.take("encoder.weight", &[d_sae, d_in])?,
        b_enc: if gated {
            vec![0.0; d_sae]
        } else {
            tensors.take("encoder.bias", &[d_sae])?
        },
        w_dec: tensors.take_transposed("decoder.weight", [d_in, d_sae])?,
        b_dec: tensors.take(bias, &[d_in])?,
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes: false,
    })
}

/// Active latents: early files have them in the configuration only, the others in both.
fn k(tensors: &mut Tensors, trainer: &mut JsonObject) -> Result<usize> {
    let stated = trainer.take_count("k")?;
    if !tensors.contains("k") {
        return trainer.require("trainer.k", stated);
    }
    let k = tensors.take_count("k")?;
    match stated.filter(|stated| *stated != k) {
        None => Ok(k),
        Some(stated) => Err(trainer.invalid(&format!(
            "trainer.k of the weights' k {k} is required, got {stated}"
        ))),
    }
}

/// Writes a folder with this format's names; for its own loader `ae.pt` is made from `ae.safetensors` as the module
/// doc says. `replace` puts it in the place of another.
pub fn write_dictionary_learning(folder: &Path, file: &SaeFile, replace: bool) -> Result<()> {
    check_written(file, folder)?;
    let class = class(file).map_err(|e| invalid(format!("{}: {e}", folder.display())))?;
    folder::write(folder, replace, |folder| {
        weights(folder, file)?;
        let text = serde_json::to_vec_pretty(&configuration(class, file)?);
        let text = text.map_err(|e| invalid(e.to_string()))?;
        folder::write_file(&folder.join(CONFIG), &text)
    })
}

fn class(file: &SaeFile) -> std::result::Result<&'static str, String> {
    let sae = &file.sae;
    if sae.transcodes || sae.reads_vector_again() {
        return Err(
            "an autoencoder without norm or skip connection is required by dictionary_learning, got another one: write it for \
             SAELens"
                .into(),
        );
    }
    Ok(match (&sae.variant, sae.centered) {
        (Variant::Relu, true) => "AutoEncoder",
        (Variant::Relu, false) => "AutoEncoderNew",
        (Variant::TopK { .. }, true) => "AutoEncoderTopK",
        (Variant::BatchTopK { .. }, true) if !file.config.groups.is_empty() => MATRYOSHKA,
        (Variant::BatchTopK { .. }, true) => "BatchTopKSAE",
        (Variant::Gated { .. }, true) => "GatedAutoEncoder",
        (Variant::JumpRelu { .. }, false) => JUMP_RELU,
        (variant, centered) => {
            let (wanted, got) = if centered {
                ("leaves b_dec in", "takes it off")
            } else {
                ("takes b_dec off", "leaves it in")
            };
            return Err(format!(
                "a {} autoencoder that {wanted} is required by dictionary_learning, got one that {got}: write it for \
                 SAELens",
                variant.name()
            ));
        }
    })
}

fn weights(folder: &Path, file: &SaeFile) -> Result<()> {
    let sae = &file.sae;
    let (d_in, d_sae) = (sae.d_in, sae.d_sae);
    let mut out = TensorFile::new(folder.join(SAFETENSORS), &file.config.dtype)?;
    let groups = &file.config.groups;
    let by_rows = match &sae.variant {
        Variant::JumpRelu { threshold } => Some((threshold.as_slice(), vec![d_sae])),
        Variant::BatchTopK { k, threshold } if !groups.is_empty() => {
            out.add_count("k", *k)?;
            out.add_counts("group_sizes", groups)?;
            Some((std::slice::from_ref(threshold), vec![]))
        }
        _ => None,
    };
    if let Some((threshold, dims)) = by_rows {
        out.add(
            "W_enc",
            &transposed(&sae.w_enc, d_sae, d_in),
            &[d_in, d_sae],
        )?;
        out.add("b_enc", &sae.b_enc, &[d_sae])?;
        out.add("W_dec", &sae.w_dec, &[d_sae, d_in])?;
        out.add("b_dec", &sae.b_dec, &[d_in])?;
        out.add("threshold", threshold, &dims)?;
        return out.finish();
    }
    out.add("encoder.weight", &sae.w_enc, &[d_sae, d_in])?;
    out.add(
        "decoder.weight",
        &transposed(&sae.w_dec, d_sae, d_in),
        &[d_in, d_sae],
    )?;
    let bias = match &sae.variant {
        Variant::Gated {
            b_gate,
            r_mag,
            b_mag,
        } => {
            out.add("gate_bias", b_gate, &[d_sae])?;
            out.add("r_mag", r_mag, &[d_sae])?;
            out.add("mag_bias", b_mag, &[d_sae])?;
            "decoder_bias"
        }
        Variant::TopK { k } => {
            let kept = file
                .config
                .rest
                .get(OURS)
                .and_then(|ours| ours.get(TOP_K_THRESHOLD));
            let kept = kept.and_then(Value::as_f64).map(|t| t as f32);
            out.add_count("k", *k)?;
            out.add("threshold", &[kept.unwrap_or(UNSET)], &[])?;
            "b_dec"
        }
        Variant::BatchTopK { k, threshold } => {
            out.add_count("k", *k)?;
            out.add("threshold", &[*threshold], &[])?;
            "b_dec"
        }
        _ if sae.centered => "bias",
        _ => "decoder.bias",
    };
    if bias != "decoder_bias" {
        out.add("encoder.bias", &sae.b_enc, &[d_sae])?;
    }
    out.add(bias, &sae.b_dec, &[d_in])?;
    out.finish()
}

fn configuration(class: &str, file: &SaeFile) -> Result<Map<String, Value>> {
    let (sae, config) = (&file.sae, &file.config);
    let mut out = config.rest.clone();
    let mut put = |name: &str, fields: Vec<(&str, Option<Value>)>| {
        let mut object = match out.remove(name) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(other) => {
                return Err(invalid(format!(
                    "an object is required for {name}, got {other}"
                )));
            }
        };
        for (key, value) in fields {
            if let Some(value) = value {
                object.insert(key.into(), value);
            }
        }
        if !object.is_empty() {
            out.insert(name.into(), object.into());
        }
        Ok(())
    };
    let k = match &sae.variant {
        Variant::TopK { k } | Variant::BatchTopK { k, .. } => Some(json!(k)),
        _ => None,
    };
    put(
        "trainer",
        vec![
            ("dict_class", Some(json!(class))),
            ("activation_dim", Some(json!(sae.d_in))),
            ("dict_size", Some(json!(sae.d_sae))),
            ("k", k),
            ("lm_name", config.model_name.clone().map(Value::from)),
            ("submodule_name", config.hook_name.clone().map(Value::from)),
        ],
    )?;
    put(
        "buffer",
        vec![("ctx_len", config.context_size.map(Value::from))],
    )?;
    put(
        OURS,
        vec![("prepend_bos", config.prepend_bos.map(Value::from))],
    )?;
    Ok(out)
}
