//! Sparse autoencoders in the field's formats, read and written.
//!
//! ```text
//! SAELens               folder   cfg.json, sae_weights.safetensors
//! dictionary_learning   folder   config.json, ae.safetensors or else ae.pt; the latter alone where its names say its class
//! Gemma Scope           folder   params.npz; the second one's params.safetensors, config.json
//! sparsify              folder   cfg.json, sae.safetensors
//! Llama Scope           folder   hyperparams.json, checkpoints/final.safetensors
//! OpenAI                file     a .pt with pre_bias, latent_bias, encoder.weight, decoder.weight
//! a bare network        file     0.weight, 0.bias, 1.weight, 1.bias; .safetensors or .pt
//! ```
//!
//! The first two are written, too. Checked against the packages' own loaders: SAELens 6.54.12 and dictionary_learning 0.1.0 (tests/reference/sae_exchange.py), and the
//! others' definitions (tests/reference/sae_formats.py).
//! Writing then reading gives back the same autoencoder, bit for bit. A file that would need other numbers to mean the
//! same (an activation scale, decoder norms in a top-k) is read with them folded in. Jump thresholds below 0 do what 0 does and are read as 0.
//!
//! dictionary_learning's loader opens `ae.pt` only. A written folder is made ready for it by
//! `python -c "import safetensors.torch as s, torch; torch.save(s.load_file('ae.safetensors'), 'ae.pt')"`.
//! Its `AutoEncoder.from_pretrained` rescales latents to decoder rows of length 1 unless told otherwise; we keep them as stored.

mod dictionary_learning;
mod fold;
mod folder;
mod format;
mod gemma_scope;
mod hook_names;
mod json;
mod llama_scope;
mod network;
mod openai;
mod saelens;
mod saelens_write;
mod sparsify;

use std::path::{Path, PathBuf};

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use serde_json::{Map, Value};

pub use dictionary_learning::write_dictionary_learning;
pub use format::{FoundSae, SaeFormat};
pub use hook_names::{names_module, transformer_lens};
pub use saelens_write::write_saelens;

use crate::files::invalid;
use crate::files::tensors::Tensors;
use crate::models::HookPoint;

/// Key of the object in which we keep what a format has no word for.
const OURS: &str = "polysema";

/// A sparse autoencoder with what its files say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeFile {
    /// The parameters.
    pub sae: Sae,
    /// Everything else.
    pub config: SaeConfig,
}

/// What a file says about a sparse autoencoder besides its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeConfig {
    /// The format's name of the variant. Not written: the variant is.
    pub architecture: String,
    /// Where in the model the vectors come from, in the words of the file.
    pub hook_name: Option<String>,
    /// Where what a transcoder gives back stands, in the words of the file.
    pub hook_out: Option<String>,
    /// The block they come from, of a file that says no more of the place.
    pub layer: Option<usize>,
    /// Numbers of latents of each group of a matryoshka, which was trained to do with the groups before it alone.
    pub groups: Vec<usize>,
    /// The model they come from.
    pub model_name: Option<String>,
    /// Type of the written numbers: `float32`, `float64`, `float16` or `bfloat16`.
    pub dtype: String,
    /// Whether documents began with a beginning-of-sequence token.
    pub prepend_bos: Option<bool>,
    /// Tokens of a document.
    pub context_size: Option<usize>,
    /// The rest of the configuration, as it was.
    pub rest: Map<String, Value>,
}

impl Default for SaeConfig {
    fn default() -> Self {
        Self {
            architecture: String::new(),
            hook_name: None,
            hook_out: None,
            layer: None,
            groups: vec![],
            model_name: None,
            dtype: "float32".into(),
            prepend_bos: None,
            context_size: None,
            rest: Map::new(),
        }
    }
}

/// The place in a model that a file names, where it is one of ours: of dictionary_learning, what goes into the module where
/// the file says so.
pub fn hook_of(config: &SaeConfig) -> Option<HookPoint> {
    let name = config.hook_name.as_deref()?;
    let inside = |object: &str, field: &str| config.rest.get(object)?.get(field);
    let layers = [
        ("trainer", "layer"),
        ("metadata", "hook_layer"),
        ("metadata", "hook_point_layer"),
    ];
    let mut layers = layers
        .iter()
        .filter_map(|(object, field)| inside(object, field)?.as_u64());
    let layer = layers.next().or(config.layer.map(|layer| layer as u64));
    let hook = hook_names::parse(name, layer.map(|layer| layer as usize))?;
    match inside("buffer", "io").and_then(Value::as_str) {
        None | Some("out") => Some(hook),
        Some("in") => hook_names::input_of(hook),
        Some(_) => None,
    }
}

/// The place where a file says that a transcoder's outputs stand, where it is one of ours.
pub fn hook_out_of(config: &SaeConfig) -> Option<HookPoint> {
    hook_names::parse(config.hook_out.as_deref()?, config.layer)
}

/// Reads what lies at a path in whichever format.
pub fn read(path: &Path) -> Result<SaeFile> {
    read_found(&FoundSae::at(path, None)?)
}

/// Reads one that was found.
pub fn read_found(found: &FoundSae) -> Result<SaeFile> {
    let file = found.read()?;
    check(&file.sae).map_err(|e| invalid(format!("{}: {e}", found.path.display())))?;
    Ok(file)
}

/// A path from the root, whose folders may say something.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A scale of the latents after training was once written as ones; any other changes what is computed.
fn drop_unit_scale(tensors: &mut Tensors, name: &str, d_sae: usize) -> Result<()> {
    if !tensors.contains(name) {
        return Ok(());
    }
    match tensors.take(name, &[d_sae])?.iter().find(|s| **s != 1.0) {
        None => Ok(()),
        Some(scale) => Err(invalid(format!(
            "a {name} of 1 is required, got {scale}: fold it with SAELens first"
        ))),
    }
}

/// What must hold of an autoencoder before it is handed on or written.
fn check(sae: &Sae) -> std::result::Result<(), String> {
    let (d_in, d_sae) = (sae.d_in, sae.d_sae);
    let d_out = match sae.transcodes {
        true => sae.d_out(),
        false => d_in,
    };
    if d_in == 0 || d_sae == 0 || d_out == 0 {
        return Err(format!(
            "widths of at least 1 are required, got d_in {d_in}, d_sae {d_sae}, d_out {d_out}"
        ));
    }
    if sae.transcodes && (sae.centered || sae.norm != InputNorm::None) {
        return Err(
            "a transcoder that reads vectors as they are is required, got one that changes them first".into(),
        );
    }
    if sae.norm == InputNorm::Standard && d_in < 2 {
        return Err(format!(
            "vectors of at least 2 numbers are required to take their length off, got {d_in}"
        ));
    }
    let skip = if sae.w_skip.is_empty() {
        0
    } else {
        d_out * d_in
    };
    let mut parts = vec![
        ("w_enc", &sae.w_enc, d_sae * d_in),
        ("b_enc", &sae.b_enc, d_sae),
        ("w_dec", &sae.w_dec, d_sae * d_out),
        ("b_dec", &sae.b_dec, d_out),
        ("w_skip", &sae.w_skip, skip),
    ];
    match &sae.variant {
        Variant::Relu => {}
        Variant::TopK { k } | Variant::BatchTopK { k, .. } => {
            if !(1..=d_sae).contains(k) {
                return Err(format!("k from 1 to d_sae {d_sae} is required, got {k}"));
            }
        }
        Variant::JumpRelu { threshold } => parts.push(("threshold", threshold, d_sae)),
        Variant::Gated {
            b_gate,
            r_mag,
            b_mag,
        } => parts.extend([
            ("b_gate", b_gate, d_sae),
            ("r_mag", r_mag, d_sae),
            ("b_mag", b_mag, d_sae),
        ]),
    }
    for (name, values, len) in parts {
        if values.len() != len {
            return Err(format!(
                "{name}: {len} values are required, got {}",
                values.len()
            ));
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(format!("{name}: finite values are required, got {bad}"));
        }
    }
    // Below 0 a threshold would let negative codes through, which no format means.
    let thresholds = match &sae.variant {
        Variant::BatchTopK { threshold, .. } => std::slice::from_ref(threshold),
        Variant::JumpRelu { threshold } => threshold.as_slice(),
        _ => &[],
    };
    match thresholds.iter().find(|t| !(t.is_finite() && **t >= 0.0)) {
        None => Ok(()),
        Some(bad) => Err(format!(
            "threshold: a finite value of at least 0 is required, got {bad}"
        )),
    }
}

/// Checks an autoencoder that is about to be written.
fn check_written(file: &SaeFile, folder: &Path) -> Result<()> {
    let refused = |e: String| invalid(format!("{}: {e}", folder.display()));
    check(&file.sae).map_err(refused)
}
