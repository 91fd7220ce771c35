//! Which of the field's formats lies at a path: a folder says so by the names of its files, a file by its tensors.

use std::path::{Component, Path, PathBuf};

use datafusion::error::Result;

use super::json::JsonObject;
use super::{SaeFile, network};
use super::{dictionary_learning, gemma_scope, invalid, llama_scope, openai, saelens, sparsify};
use crate::files::disk;
use crate::files::tensors::{Tensors, is_torch};

/// Folders within each other that are looked at for autoencoders: Gemma Scope has layers of widths of sparsities.
const DEPTH: usize = 4;
/// Folders that are looked at; chosen, not tuned.
const MOST_FOLDERS: usize = 4096;
/// Autoencoders that a message lists.
const MOST_LISTED: usize = 24;

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaeFormat {
    /// `cfg.json`, `sae_weights.safetensors`
    SaeLens,
    /// `config.json`, `ae.pt`; or the latter alone
    DictionaryLearning,
    /// `params.npz`
    GemmaScope,
    /// `config.json`, `params.safetensors`
    GemmaScope2,
    /// `cfg.json`, `sae.safetensors`
    Sparsify,
    /// one `.pt` file
    OpenAi,
    /// `hyperparams.json`, `checkpoints/final.safetensors`
    LlamaScope,
    /// one file of two linear layers
    Network,
}

impl SaeFormat {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SaeLens => "SAELens",
            Self::DictionaryLearning => "dictionary_learning",
            Self::GemmaScope => "Gemma Scope",
            Self::GemmaScope2 => "Gemma Scope 2",
            Self::Sparsify => "sparsify",
            Self::OpenAi => "OpenAI",
            Self::LlamaScope => "Llama Scope",
            Self::Network => "network of two linear layers",
        }
    }
}

/// An autoencoder that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSae {
    /// Its format.
    pub format: SaeFormat,
    /// Its folder or file.
    pub path: PathBuf,
}

impl FoundSae {
    /// The one at a path, or in the folder `subfolder` of it.
    ///
    /// Errors: none of a format that is known; several, which are listed.
    pub fn at(path: &Path, subfolder: Option<&str>) -> Result<Self> {
        let whole = match subfolder {
            None => path.to_path_buf(),
            Some(inner) if is_inner(inner) => path.join(inner),
            Some(inner) => {
                return Err(invalid(format!(
                    "a subfolder of {} is required, got '{inner}'",
                    path.display()
                )));
            }
        };
        if whole.is_file() {
            return of_file(&whole);
        }
        if let Some(format) = of_folder(&whole)? {
            return Ok(Self {
                format,
                path: whole,
            });
        }
        let mut below = vec![];
        find_below(&whole, DEPTH, &mut MOST_FOLDERS.clone(), &mut below)?;
        match below.len() {
            0 => Err(invalid(format!(
                "{}: a folder with {}, {}, {} or {}, or a file of tensors is required, got {}",
                whole.display(),
                saelens::CONFIG,
                dictionary_learning::CONFIG,
                llama_scope::CONFIG,
                gemma_scope::ARRAYS,
                match whole.exists() {
                    true => "none of them",
                    false => "no such path",
                }
            ))),
            1 => Ok(below.swap_remove(0)),
            n => Err(invalid(format!(
                "{}: one autoencoder is required, got {n}: say subfolder, one of {}",
                whole.display(),
                listed(&whole, &below)
            ))),
        }
    }

    /// Reads it.
    pub(super) fn read(&self) -> Result<SaeFile> {
        let path = &self.path;
        match self.format {
            SaeFormat::SaeLens => saelens::read(path),
            SaeFormat::DictionaryLearning => dictionary_learning::read(path),
            SaeFormat::GemmaScope => gemma_scope::read(path),
            SaeFormat::GemmaScope2 => gemma_scope::read_second(path),
            SaeFormat::Sparsify => sparsify::read(path),
            SaeFormat::OpenAi => openai::read(path),
            SaeFormat::LlamaScope => llama_scope::read(path),
            SaeFormat::Network => network::read(path),
        }
    }

    /// Bytes that reading it takes at most: all its numbers as float32, and of a file of torch what is not read in place.
    pub fn bytes_to_read(&self) -> usize {
        let path = &self.path;
        let names: &[&str] = match self.format {
            SaeFormat::SaeLens => &saelens::FILES,
            SaeFormat::DictionaryLearning => &dictionary_learning::FILES,
            SaeFormat::GemmaScope => &[gemma_scope::ARRAYS],
            SaeFormat::GemmaScope2 => &[gemma_scope::TENSORS],
            SaeFormat::Sparsify => &[sparsify::WEIGHTS],
            SaeFormat::LlamaScope => &llama_scope::FILES,
            SaeFormat::OpenAi | SaeFormat::Network => &[],
        };
        let files = std::iter::once(path.clone()).chain(names.iter().map(|name| path.join(name)));
        let bytes = files.filter(|file| file.is_file()).map(|file| {
            if is_torch(&file) {
                let size = file.metadata().map_or(0, |data| data.len());
                return usize::try_from(size)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(3);
            }
            // What cannot be read is refused by who reads it.
            Tensors::read(&file).map_or(0, |tensors| tensors.bytes_as_floats())
        });
        bytes.max().unwrap_or(0)
    }
}

/// Whether a name stays within the folder that it is joined to.
fn is_inner(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A file alone, or of a folder whose other files say what it means.
fn of_file(path: &Path) -> Result<FoundSae> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    const PARTS: [&str; 9] = [
        saelens::CONFIG,
        saelens::WEIGHTS,
        dictionary_learning::CONFIG,
        dictionary_learning::SAFETENSORS,
        dictionary_learning::TORCH,
        sparsify::WEIGHTS,
        gemma_scope::ARRAYS,
        gemma_scope::TENSORS,
        llama_scope::CONFIG,
    ];
    if PARTS.contains(&&*name)
        && let Some(format) = of_folder(folder)?
    {
        let path = folder.to_path_buf();
        return Ok(FoundSae { format, path });
    }
    let format = match path.extension().is_some_and(|e| e == "npz") {
        true => SaeFormat::GemmaScope,
        false => {
            match &openai::parts(path)?.0 {
                names if names.contains("pre_bias") || names.contains("latent_bias") => {
                    SaeFormat::OpenAi
                }
                names if names.contains("0.weight") => SaeFormat::Network,
                names if dictionary_learning::is_bare(names) => SaeFormat::DictionaryLearning,
                names if names.contains("W_enc") || names.contains("encoder.weight") => {
                    return Err(invalid(format!(
                        "{}: a folder with {} or {} beside the tensors is required, got a file alone, which does not say what \
                         its latents' activation is",
                        path.display(),
                        saelens::CONFIG,
                        dictionary_learning::CONFIG
                    )));
                }
                // Its missing tensors are named.
                _ => SaeFormat::Network,
            }
        }
    };
    let path = path.to_path_buf();
    Ok(FoundSae { format, path })
}

fn of_folder(folder: &Path) -> Result<Option<SaeFormat>> {
    // What is no file is refused by who reads it.
    let has = |name: &str| folder.join(name).exists();
    let any = |names: &[&str]| names.iter().any(|name| has(name));
    Ok(if has(llama_scope::CONFIG) {
        Some(SaeFormat::LlamaScope)
    } else if has(saelens::CONFIG) {
        match has(sparsify::WEIGHTS) {
            true => Some(SaeFormat::Sparsify),
            false => Some(SaeFormat::SaeLens),
        }
    } else if has(gemma_scope::ARRAYS) {
        Some(SaeFormat::GemmaScope)
    } else if has(gemma_scope::TENSORS) {
        Some(SaeFormat::GemmaScope2)
    } else if any(&dictionary_learning::FILES) {
        Some(SaeFormat::DictionaryLearning)
    } else if has(dictionary_learning::CONFIG) {
        of_config(&folder.join(dictionary_learning::CONFIG))?
    } else {
        None
    })
}

/// Of a `config.json` without the files that are known.
fn of_config(path: &Path) -> Result<Option<SaeFormat>> {
    let config = JsonObject::read(path)?;
    match (config.map.get("trainer"), config.map.get("sae_type")) {
        (Some(_), _) => Ok(Some(SaeFormat::DictionaryLearning)),
        (_, Some(kind)) => Err(config.invalid(&format!(
            "Llama Scope's {} beside its weights is required, got its later format of sae_type {kind}: open it with its own \
             program and save it for SAELens",
            llama_scope::CONFIG
        ))),
        // The settings of a training whose autoencoders lie in folders below.
        _ => Ok(None),
    }
}

fn find_below(
    folder: &Path,
    depth: usize,
    left: &mut usize,
    found: &mut Vec<FoundSae>,
) -> Result<()> {
    if depth == 0 {
        return Ok(());
    }
    for path in disk::entries(folder)? {
        if !path.is_dir() || *left == 0 {
            continue;
        }
        *left -= 1;
        match of_folder(&path)? {
            Some(format) => found.push(FoundSae { format, path }),
            None => find_below(&path, depth - 1, left, found)?,
        }
    }
    Ok(())
}

/// Names below a folder, numbers in them by size.
fn listed(folder: &Path, found: &[FoundSae]) -> String {
    let name = |found: &FoundSae| {
        let inner = found.path.strip_prefix(folder).unwrap_or(&found.path);
        inner.display().to_string()
    };
    let mut names: Vec<_> = found.iter().map(name).collect();
    names.sort_by_cached_key(|name| numbered(name));
    let more = names.len().saturating_sub(MOST_LISTED);
    names.truncate(MOST_LISTED);
    match more {
        0 => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    }
}

/// The parts of a name, each run of digits as a number.
fn numbered(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0_u64)];
    for c in name.chars() {
        let (text, number) = parts
            .last_mut()
            .expect("never empty: it begins with one part");
        match c.to_digit(10) {
            Some(digit) => *number = number.saturating_mul(10).saturating_add(digit.into()),
            None if *number > 0 => parts.push((c.to_string(), 0)),
            None => text.push(c),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_in_order() {
        let mut names = [
            "layers.10",
            "layers.2.mlp",
            "layers.2",
            "embed",
            "layers.11",
        ];
        names.sort_by_cached_key(|name| numbered(name));
        assert_eq!(
            names,
            [
                "embed",
                "layers.2",
                "layers.2.mlp",
                "layers.10",
                "layers.11"
            ]
        );
    }

    #[test]
    fn a_subfolder_stays_inside() {
        for name in ["layers.5", "layer_2/width_16k/average_l0_20"] {
            assert!(is_inner(name), "{name}");
        }
        for name in ["", "..", "a/../../b", "/etc"] {
            assert!(!is_inner(name), "{name}");
        }
    }
}
