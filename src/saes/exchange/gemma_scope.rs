//! Gemma Scope: `params.npz` in folders that say the rest by their names, and Gemma Scope 2, `params.safetensors` beside
//! `config.json`.
//!
//! ```text
//! gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz     -mlp, -att, -transcoders
//! resid_post/layer_12_width_16k_l0_small/params.safetensors
//! ```
//!
//! All are jump ReLUs that leave `b_dec` in. Transcoders read what the MLP receives and give what its block adds.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use serde_json::{Map, Value};

use super::json::JsonObject;
use super::{SaeConfig, SaeFile, invalid};
use crate::files::tensors::Tensors;

pub(super) const ARRAYS: &str = "params.npz";
pub(super) const TENSORS: &str = "params.safetensors";
const CONFIG: &str = "config.json";
/// Kinds of the first one's folders: what goes in, and what a transcoder gives.
const KINDS: [(&str, &str, Option<&str>); 4] = [
    ("res", "hook_resid_post", None),
    ("mlp", "hook_mlp_out", None),
    ("att", "attn.hook_z", None),
    ("transcoders", "ln2.out", Some("hook_mlp_out")),
];

/// What the names of folders say.
#[derive(Debug, Default, PartialEq)]
struct Said {
    layer: Option<usize>,
    hook: Option<String>,
    hook_out: Option<String>,
    model: Option<String>,
    embedding: bool,
}

impl Said {
    fn of(path: &Path) -> Self {
        let mut said = Self::default();
        let mut kind = None;
        for part in path.components() {
            let part = part.as_os_str().to_string_lossy();
            if let Some(layer) = part.strip_prefix("layer_") {
                said.layer = layer.parse().ok();
            }
            said.embedding |= part == "embedding";
            let Some((_, rest)) = part.split_once("gemma-scope-") else {
                continue;
            };
            let words: Vec<_> = rest.split('-').collect();
            let [size, tuned, of, ..] = words[..] else {
                continue;
            };
            kind = KINDS.iter().find(|(name, ..)| *name == of);
            said.model = match tuned {
                "pt" => Some(format!("gemma-2-{size}")),
                "it" => Some(format!("gemma-2-{size}-it")),
                _ => None,
            };
        }
        if let (Some((_, hook, out)), Some(layer)) = (kind, said.layer) {
            let name = |site: &str| format!("blocks.{layer}.{site}");
            (said.hook, said.hook_out) = (Some(name(hook)), out.map(name));
        }
        said
    }
}

/// The first one, of a folder or of a file.
pub(super) fn read(path: &Path) -> Result<SaeFile> {
    let file = match path.is_file() {
        true => path.to_path_buf(),
        false => path.join(ARRAYS),
    };
    let said = Said::of(&super::whole(&file));
    if said.embedding {
        return Err(invalid(format!(
            "{}: an autoencoder of a block is required, got one of the embedding",
            file.display()
        )));
    }
    let tensors = Tensors::read(&file)?;
    let (sae, dtype) = jump_relu(tensors, said.hook_out.is_some(), false)?;
    let config = SaeConfig {
        architecture: "jump_relu".into(),
        hook_name: said.hook,
        hook_out: said.hook_out,
        layer: said.layer,
        model_name: said.model,
        dtype,
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}

/// The second one.
pub(super) fn read_second(path: &Path) -> Result<SaeFile> {
    let mut config = JsonObject::read(&path.join(CONFIG))?;
    let mut text = |name: &str| config.take_text(name);
    let (architecture, kind) = (text("architecture")?, text("type")?);
    let (hook_name, hook_out) = (text("hf_hook_point_in")?, text("hf_hook_point_out")?);
    let model_name = text("model_name")?.map(|name| of_hugging_face(&name));
    if let Some(other) = architecture.filter(|name| name != "jump_relu") {
        return Err(config.invalid(&format!(
            "an architecture of jump_relu is required, got {other}"
        )));
    }
    let transcodes = match kind.as_deref() {
        Some("sae") => false,
        Some("transcoder") => true,
        Some(other) => {
            let message = format!("a type of sae, transcoder is required, got {other}");
            return Err(config.invalid(&message));
        }
        None => hook_out.is_some() && hook_out != hook_name,
    };
    if !transcodes && hook_out.is_some() && hook_out != hook_name {
        return Err(config.invalid(&format!(
            "type sae: one place for hf_hook_point_in and hf_hook_point_out is required, got {} and {}",
            hook_name.unwrap_or_default(),
            hook_out.unwrap_or_default()
        )));
    }
    let affine = config.take_bool("affine_connection")?.unwrap_or(false);
    config.refuse_switches(&[])?;
    let tensors = Tensors::read(&path.join(TENSORS))?;
    let (sae, dtype) = jump_relu(tensors, transcodes, affine)?;
    if let Some(width) = config.map.get("width").and_then(Value::as_u64)
        && width != sae.d_sae as u64
    {
        return Err(config.invalid(&format!(
            "a width of the weights' {} is required, got {width}",
            sae.d_sae
        )));
    }
    let config = SaeConfig {
        architecture: "jump_relu".into(),
        hook_name,
        hook_out: hook_out.filter(|_| transcodes),
        model_name,
        dtype,
        rest: Map::from_iter([("config".to_string(), Value::Object(config.map))]),
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}

/// Hugging Face calls `gemma-v3-1b-pt` `gemma-3-1b-pt`, and leaves the smallest one's `-pt` out.
fn of_hugging_face(name: &str) -> String {
    let name = name.replace("gemma-v3-", "gemma-3-");
    match name.strip_suffix("-pt") {
        Some(rest) if rest.ends_with("270m") => rest.to_string(),
        _ => name,
    }
}

fn jump_relu(mut tensors: Tensors, transcodes: bool, affine: bool) -> Result<(Sae, String)> {
    let [w_enc, w_dec] =
        [["W_enc", "w_enc"], ["W_dec", "w_dec"]].map(|[upper, lower]| {
            match tensors.contains(lower) {
                true => lower,
                false => upper,
            }
        });
    let dtype = tensors.dtype(w_enc)?;
    let [d_in, d_sae] = tensors.matrix(w_enc)?;
    let d_out = match tensors.matrix(w_dec)? {
        [_, d_out] if transcodes => d_out,
        _ => d_in,
    };
    let w_skip = match affine {
        true => tensors.take_transposed("affine_skip_connection", [d_in, d_out])?,
        false => vec![],
    };
    super::drop_unit_scale(&mut tensors, "scaling_factor", d_sae)?;
    let mut threshold = tensors.take("threshold", &[d_sae])?;
    threshold.iter_mut().for_each(|t| *t = t.max(0.0));
    let sae = Sae {
        d_in,
        d_sae,
        variant: Variant::JumpRelu { threshold },
        centered: false,
        w_enc: tensors.take_transposed(w_enc, [d_in, d_sae])?,
        b_enc: tensors.take("b_enc", &[d_sae])?,
        w_dec: tensors.take(w_dec, &[d_sae, d_out])?,
        b_dec: tensors.take("b_dec", &[d_out])?,
        norm: InputNorm::None,
        w_skip,
        transcodes,
    };
    tensors.finish()?;
    Ok((sae, dtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_say_model_layer_and_place() {
        for (path, model, hook, out) in [
            (
                "hub/models--google--gemma-scope-2b-pt-res/snapshots/1f/layer_20/width_16k/average_l0_71/params.npz",
                "gemma-2-2b",
                "blocks.20.hook_resid_post",
                None,
            ),
            (
                "google/gemma-scope-9b-it-att/layer_3/width_16k/average_l0_12/params.npz",
                "gemma-2-9b-it",
                "blocks.3.attn.hook_z",
                None,
            ),
            (
                "gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_7/params.npz",
                "gemma-2-2b",
                "blocks.0.ln2.out",
                Some("blocks.0.hook_mlp_out"),
            ),
        ] {
            let said = Said::of(Path::new(path));
            assert_eq!(said.model.as_deref(), Some(model));
            assert_eq!(said.hook.as_deref(), Some(hook));
            assert_eq!(said.hook_out.as_deref(), out);
        }
        let said = Said::of(Path::new("layer_5/width_16k/params.npz"));
        assert_eq!((said.layer, said.hook, said.model), (Some(5), None, None));
        assert_eq!(of_hugging_face("gemma-v3-270m-pt"), "gemma-3-270m");
        assert_eq!(of_hugging_face("gemma-v3-1b-pt"), "gemma-3-1b-pt");
    }
}
