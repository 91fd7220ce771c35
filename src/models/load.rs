//! From a folder on disk to a model: which architecture, which tokenizer, which hash; and the pool they compute on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use serde_json::Value;

use super::config::Config;
use super::error::invalid;
use super::weights::{Weights, read_hashed};
use super::{Model, Tokenizer, gpt2, mlp};

/// Builds a model from its configuration and weights.
type Build = fn(&Config, Weights) -> Result<Arc<dyn Model>>;

/// What a configuration's `model_type` or `kind` may be. A new architecture is one line here.
const ARCHITECTURES: [(&str, Build); 2] = [("gpt2", gpt2::build), ("mlp", mlp::build)];

/// A network with what belongs to it.
pub struct LoadedModel {
    /// The network.
    pub model: Arc<dyn Model>,
    /// The tokenizer, if the folder has one.
    pub tokenizer: Option<Tokenizer>,
    /// blake3 of configuration, weights and tokenizer, in hexadecimal digits.
    pub hash: String,
    /// Where it was read.
    pub folder: PathBuf,
}

/// Loads a Hugging Face folder (`config.json`, weights in safetensors, `tokenizer.json` if it has one), or a bare
/// safetensors file with the layers of a ReLU classifier.
pub fn load(folder: &Path) -> Result<LoadedModel> {
    let mut hasher = blake3::Hasher::new();
    let bare = folder.extension().is_some_and(|e| e == "safetensors") && folder.is_file();
    let (config, weights) = if bare {
        let json = serde_json::json!({"kind": "mlp", "activation_function": "relu"});
        (
            Config {
                path: folder.to_path_buf(),
                json,
            },
            Weights::read_file(folder, &mut hasher)?,
        )
    } else {
        let config = read_config(&folder.join("config.json"), &mut hasher)?;
        (config, Weights::read_folder(folder, &mut hasher)?)
    };
    let model = architecture(&config)?(&config, weights)?;
    let path = folder.join("tokenizer.json");
    let tokenizer = if !bare && path.exists() {
        let bytes = read_hashed(&path, &mut hasher)?;
        let bos = config.json.get("bos_token_id").and_then(Value::as_u64);
        let bos = bos.and_then(|id| u32::try_from(id).ok());
        Some(Tokenizer::read(&path, &bytes, model.d_vocab(), bos)?)
    } else {
        None
    };
    let hash = hasher.finalize().to_hex().to_string();
    Ok(LoadedModel {
        model,
        tokenizer,
        hash,
        folder: folder.to_path_buf(),
    })
}

fn read_config(path: &Path, hasher: &mut blake3::Hasher) -> Result<Config> {
    let bytes = read_hashed(path, hasher)?;
    let json = serde_json::from_slice(&bytes)
        .map_err(|e| invalid(format!("{}: JSON is required, got {e}", path.display())))?;
    Ok(Config {
        path: path.to_path_buf(),
        json,
    })
}

fn architecture(config: &Config) -> Result<Build> {
    let known = ARCHITECTURES.map(|(name, _)| name).join(", ");
    let name = ["model_type", "kind"]
        .iter()
        .find_map(|key| config.json.get(key)?.as_str());
    let Some(name) = name else {
        return Err(config.invalid(format!(
            "model_type or kind is required, one of {known}, got neither"
        )));
    };
    match ARCHITECTURES.iter().find(|(known, _)| *known == name) {
        Some((_, build)) => Ok(*build),
        None => Err(config.invalid(format!("a model_type of {known} is required, got {name}"))),
    }
}

/// Threads that compute forward passes.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Fixes the number of threads that compute. Once per process and before the first computation; later only the
/// same number is accepted.
pub fn set_threads(threads: usize) -> Result<()> {
    if threads == 0 {
        return Err(DataFusionError::Plan(
            "polysema.threads: at least 1 is required, got 0".into(),
        ));
    }
    let fixed = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global();
    if fixed.is_err() && rayon::current_num_threads() != threads {
        return Err(DataFusionError::Plan(format!(
            "polysema.threads: the pool has {} threads since the first computation, got {threads}",
            rayon::current_num_threads()
        )));
    }
    Ok(())
}
