//! From a folder on disk to a model: which architecture, which tokenizer, which hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::error::Result;

use super::config::Config;
use super::error::invalid;
use super::gguf::{GgufModel, is_gguf};
use super::weights::{self, read_hashed};
use super::{Model, Pixels, Tokenizer, decoder, mlp, tokenizer};
use crate::files::file_error;
use crate::files::loaded::{Loaded, Resident, identity};
use crate::files::tensors::Tensors;

/// What a configuration's `kind` may be, beside the `model_type` of a decoder.
const MLP: &str = "mlp";

/// A network with what belongs to it.
pub struct LoadedModel {
    /// The network.
    pub model: Arc<dyn Model>,
    /// The tokenizer, if the folder has one that is read.
    pub tokenizer: Option<Tokenizer>,
    /// What the folder has instead, in a message's words.
    instead: String,
    /// blake3 of configuration, weights and tokenizer, in hexadecimal digits.
    pub hash: String,
    /// Types of the weights' numbers in their files, that of most of them first: `F32`, `BF16`, `Q4_1`.
    pub weight_types: Vec<String>,
    /// Where it was read.
    pub folder: PathBuf,
    /// Bytes of its weights and its tokenizer in memory.
    pub bytes: usize,
    /// How it reads images, if its folder says so.
    pub pixels: Option<Pixels>,
}

impl LoadedModel {
    /// The tokenizer; an error that says what is there instead.
    pub fn required_tokenizer(&self) -> Result<&Tokenizer> {
        let none = || invalid(format!("a tokenizer is required, got {}", self.instead));
        self.tokenizer.as_ref().ok_or_else(none)
    }
}

/// As [`load`], from memory if none of the model's files was written since it was read.
pub fn loaded(memory: &Loaded, folder: &Path) -> Result<Arc<Resident<LoadedModel>>> {
    let read = || {
        let model = load(folder)?;
        let bytes = model.bytes;
        Ok((model, bytes))
    };
    match known_by(folder) {
        Ok((files, key)) => {
            let what = format!("the model in {}", folder.display());
            memory.get(&key, &what, || expected(&files), read)
        }
        // Reading it says what is missing.
        Err(error) => read().and_then(|_| Err(file_error("read", folder, error))),
    }
}

/// The files a model may be made of, and what changes when one of them is written anew.
fn known_by(folder: &Path) -> std::io::Result<(Vec<PathBuf>, String)> {
    let mut files = vec![folder.to_path_buf()];
    if folder.is_dir() {
        let entries: std::io::Result<Vec<_>> = std::fs::read_dir(folder)?.collect();
        let paths = entries?.into_iter().map(|entry| entry.path());
        let is_part = |path: &PathBuf| {
            let kind = path.extension();
            let part = tokenizer::is_part(path);
            let of_model = kind.is_some_and(|e| e == "json" || e == "safetensors" || e == "bin");
            (part || of_model) && path.is_file()
        };
        files = paths.filter(is_part).collect();
        files.sort();
    }
    let mut key = "model".to_string();
    for file in &files {
        key += &format!(" {}", identity(file)?);
    }
    Ok((files, key))
}

/// Bytes of weights and tokenizer in memory, as the headers and sizes of their files say. A file that cannot be read
/// counts nothing: reading it says why.
fn expected(files: &[PathBuf]) -> usize {
    let bytes = |file: &PathBuf| match file.extension() {
        _ if tokenizer::is_part(file) => {
            let size = file.metadata().map_or(0, |data| data.len());
            Tokenizer::bytes(size as usize)
        }
        Some(kind) if kind == "gguf" => GgufModel::expected(file).unwrap_or(0),
        Some(kind) if kind == "safetensors" || kind == "bin" => {
            Tensors::read(file).map_or(0, |tensors| tensors.bytes())
        }
        _ => 0,
    };
    files.iter().map(bytes).fold(0, usize::saturating_add)
}

/// Loads the model in a GGUF file.
fn load_gguf(path: &Path) -> Result<LoadedModel> {
    let (found, config, weights) = GgufModel::read(path)?;
    let mut bytes = weights.bytes();
    let weight_types = weights.matrix_types();
    let model = build(&config, weights)?;
    let mut hasher = blake3::Hasher::new();
    weights::hash(&[path.to_path_buf()], &mut hasher)?;
    let tokenizer = found.tokenizer(model.d_vocab())?;
    let instead = match tokenizer {
        Some(_) => String::new(),
        None => format!("no tokenizer.ggml.model in {}", path.display()),
    };
    let tokenizer = tokenizer.map(|(tokenizer, size)| {
        bytes += size;
        tokenizer
    });
    Ok(LoadedModel {
        model,
        tokenizer,
        instead,
        hash: hasher.finalize().to_hex().to_string(),
        weight_types,
        folder: path.to_path_buf(),
        bytes,
        pixels: None,
    })
}

/// Loads a Hugging Face folder (`config.json`, weights in safetensors, its tokenizer's files if it has one), a GGUF
/// file, or a bare safetensors file with the layers of a ReLU classifier.
pub fn load(folder: &Path) -> Result<LoadedModel> {
    if is_gguf(folder) {
        return load_gguf(folder);
    }
    let mut hasher = blake3::Hasher::new();
    let bare = folder.extension().is_some_and(|e| e == "safetensors") && folder.is_file();
    let (config, (weights, files)) = if bare {
        let json = serde_json::json!({"kind": "mlp", "activation_function": "relu"});
        (
            Config::new(folder.to_path_buf(), json),
            weights::of_file(folder)?,
        )
    } else {
        let config = read_config(&folder.join("config.json"), &mut hasher)?;
        (config, weights::of_folder(folder, &mut hasher)?)
    };
    let mut bytes = weights.bytes();
    let weight_types = weights.matrix_types();
    let model = build(&config, weights)?;
    weights::hash(&files, &mut hasher)?;
    let (tokenizer, instead) = match bare {
        true => (None, "a file of weights alone".to_string()),
        false => {
            let found = tokenizer::of_folder(folder, config.json(), model.d_vocab(), &mut hasher)?;
            bytes += found.bytes;
            match found.tokenizer {
                Ok(tokenizer) => (Some(tokenizer), String::new()),
                Err(instead) => (None, instead),
            }
        }
    };
    let pixels = match model.image() {
        Some(grid) => Pixels::of_folder(folder, grid, &mut hasher)?,
        None => None,
    };
    let hash = hasher.finalize().to_hex().to_string();
    Ok(LoadedModel {
        model,
        tokenizer,
        instead,
        hash,
        weight_types,
        folder: folder.to_path_buf(),
        bytes,
        pixels,
    })
}

fn read_config(path: &Path, hasher: &mut blake3::Hasher) -> Result<Config> {
    let bytes = read_hashed(path, hasher)?;
    let json = serde_json::from_slice(&bytes)
        .map_err(|e| invalid(format!("{}: JSON is required, got {e}", path.display())))?;
    Ok(Config::new(path.to_path_buf(), json))
}

/// Builds the model that a configuration names.
fn build(config: &Config, tensors: Tensors) -> Result<Arc<dyn Model>> {
    let known = || {
        let names = decoder::names().chain([MLP]);
        names.collect::<Vec<_>>().join(", ")
    };
    match config.text(&["model_type", "kind"])? {
        Some(MLP) => mlp::build(config, tensors),
        Some(name) => decoder::build(name, config, tensors).unwrap_or_else(|| {
            let known = known();
            Err(config.invalid(format!("a model_type of {known} is required, got {name}")))
        }),
        None => Err(config.invalid(format!(
            "model_type or kind is required, one of {}, got neither",
            known()
        ))),
    }
}
