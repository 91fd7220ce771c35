//! Sparse autoencoders in the field's formats, read and written.
//!
//! ```text
//! SAELens               folder   cfg.json, sae_weights.safetensors
//! dictionary_learning   folder   config.json, ae.safetensors or else ae.pt
//! a bare network        file     0.weight, 0.bias, 1.weight, 1.bias; .safetensors or .pt
//! ```
//!
//! Checked against the packages' own loaders: SAELens 6.54.12 and dictionary_learning 0.1.0 (tests/reference/sae_exchange.py).
//! Writing then reading gives back the same autoencoder, bit for bit. A file that would need other numbers to mean the
//! same (an activation scale, decoder norms in a top-k) is read with them folded in; what depends on the vectors
//! themselves is refused. Jump thresholds below 0 do what 0 does and are read as 0.
//!
//! dictionary_learning's loader opens `ae.pt` only. A written folder is made ready for it by
//! `python -c "import safetensors.torch as s, torch; torch.save(s.load_file('ae.safetensors'), 'ae.pt')"`.
//! Its `AutoEncoder.from_pretrained` rescales latents to decoder rows of length 1 unless told otherwise; we keep them as stored.

mod dictionary_learning;
mod fold;
mod folder;
mod hook_names;
mod json;
mod saelens;

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{Sae, Variant};
use serde_json::{Map, Value};

pub use dictionary_learning::write_dictionary_learning;
pub use hook_names::transformer_lens;
pub use saelens::write_saelens;

use crate::files::invalid;
use crate::files::tensors::{Tensors, is_torch};
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
    /// The model they come from.
    pub model_name: Option<String>,
    /// Type of the written numbers: `float32`, `float64`, `float16` or `bfloat16`.
    pub dtype: String,
    /// What is done to a vector before it is encoded: `none`, once read.
    pub normalize_activations: String,
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
            model_name: None,
            dtype: "float32".into(),
            normalize_activations: "none".into(),
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
    let layer = inside("trainer", "layer").and_then(Value::as_u64);
    let hook = hook_names::parse(name, layer.map(|layer| layer as usize))?;
    match inside("buffer", "io").and_then(Value::as_str) {
        None | Some("out") => Some(hook),
        Some("in") => hook_names::input_of(hook),
        Some(_) => None,
    }
}

/// Bytes that [`read`] takes at most: all numbers, and one of the two matrices turned; of a file of torch the file itself
/// besides, whose numbers may be wider in memory.
pub fn bytes_to_read(path: &Path) -> usize {
    let inside = saelens::FILES.iter().chain(&dictionary_learning::FILES);
    let files = std::iter::once(path.to_path_buf()).chain(inside.map(|name| path.join(name)));
    let bytes = files.filter(|file| file.is_file()).map(|file| {
        if is_torch(&file) {
            let size = file.metadata().map_or(0, |data| data.len());
            return usize::try_from(size)
                .unwrap_or(usize::MAX)
                .saturating_mul(3);
        }
        // What cannot be read is refused by who reads it.
        let numbers = Tensors::read(&file).map_or(0, |tensors| tensors.bytes());
        numbers.saturating_add(numbers / 2)
    });
    bytes.max().unwrap_or(0)
}

/// Reads a folder of SAELens or dictionary_learning, or a file of a bare network, whichever is there.
pub fn read(path: &Path) -> Result<SaeFile> {
    let file = if path.is_file() {
        read_bare(path)?
    } else if path.join(saelens::CONFIG).exists() {
        saelens::read(path)?
    } else if path.join(dictionary_learning::CONFIG).exists() {
        dictionary_learning::read(path)?
    } else {
        return Err(invalid(format!(
            "{}: a folder with {} or {}, or a file of tensors is required, got {}",
            path.display(),
            saelens::CONFIG,
            dictionary_learning::CONFIG,
            if path.exists() {
                "none of them"
            } else {
                "no such path"
            }
        )));
    };
    check(&file.sae).map_err(|e| invalid(format!("{}: {e}", path.display())))?;
    Ok(file)
}

/// A `Sequential` of two linear layers, as Foote's published autoencoders are: `b_dec` is both the second layer's
/// bias and what is taken off the vectors.
fn read_bare(path: &Path) -> Result<SaeFile> {
    let mut tensors = Tensors::read(path)?;
    let [d_sae, d_in] = tensors.matrix("0.weight")?;
    let dtype = tensors.dtype("0.weight")?;
    let sae = Sae {
        d_in,
        d_sae,
        variant: Variant::Relu,
        centered: true,
        w_enc: tensors.take("0.weight", &[d_sae, d_in])?,
        b_enc: tensors.take("0.bias", &[d_sae])?,
        w_dec: tensors.take_transposed("1.weight", [d_in, d_sae])?,
        b_dec: tensors.take("1.bias", &[d_in])?,
    };
    tensors.finish()?;
    let config = SaeConfig {
        architecture: "Sequential".into(),
        dtype,
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}

/// What must hold of an autoencoder before it is handed on or written.
fn check(sae: &Sae) -> std::result::Result<(), String> {
    let (d_in, d_sae) = (sae.d_in, sae.d_sae);
    if d_in == 0 || d_sae == 0 {
        return Err(format!(
            "widths of at least 1 are required, got d_in {d_in}, d_sae {d_sae}"
        ));
    }
    let mut parts = vec![
        ("w_enc", &sae.w_enc, d_sae * d_in),
        ("b_enc", &sae.b_enc, d_sae),
        ("w_dec", &sae.w_dec, d_sae * d_in),
        ("b_dec", &sae.b_dec, d_in),
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
    check(&file.sae).map_err(refused)?;
    match file.config.normalize_activations.as_str() {
        "none" => Ok(()),
        other => Err(refused(format!(
            "normalize_activations none is required, got {other}"
        ))),
    }
}
