//! OpenAI's autoencoders of GPT-2: one `.pt` file, a state dict that says in words what its activation is.
//!
//! Those with a top-k read vectors without mean and length, and give both back; no word says so, and its loader goes by the
//! activation, too. Where a file keeps the name of its place in the published folder, that is its place.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use serde_json::{Map, Value};

use super::{SaeConfig, SaeFile, invalid};
use crate::files::pickle::Pickled;
use crate::files::tensors::{Tensors, is_torch};
use crate::files::torch::{self, Words};

/// What training counted.
const COUNTED: [&str; 3] = [
    "stats_last_nonzero",
    "latents_activation_frequency",
    "latents_mean_square",
];
/// Published folders, by TransformerLens' names for their places.
const PLACES: [(&str, &str); 5] = [
    ("mlp_post_act", "mlp.hook_post"),
    ("resid_delta_mlp", "hook_mlp_out"),
    ("resid_delta_attn", "hook_attn_out"),
    ("resid_post_attn", "hook_resid_mid"),
    ("resid_post_mlp", "hook_resid_post"),
];

/// The tensors of a file, and what one of torch says beside them.
pub(super) fn parts(path: &Path) -> Result<(Tensors, Words)> {
    if !is_torch(path) {
        return Ok((Tensors::read(path)?, vec![]));
    }
    let (arrays, words) = torch::read_with_words(path)?;
    Ok((Tensors::of_arrays(path, arrays), words))
}

pub(super) fn read(path: &Path) -> Result<SaeFile> {
    let (mut tensors, words) = parts(path)?;
    let (variant, norm) = activation(path, &words)?;
    COUNTED.iter().for_each(|name| tensors.discard(name));
    let [d_sae, d_in] = tensors.matrix("encoder.weight")?;
    let dtype = tensors.dtype("encoder.weight")?;
    let sae = Sae {
        d_in,
        d_sae,
        variant,
        centered: true,
        w_enc: tensors.take("encoder.weight", &[d_sae, d_in])?,
        b_enc: tensors.take("latent_bias", &[d_sae])?,
        w_dec: tensors.take_transposed("decoder.weight", [d_in, d_sae])?,
        b_dec: tensors.take("pre_bias", &[d_in])?,
        norm,
        w_skip: vec![],
        transcodes: false,
    };
    tensors.finish()?;
    let config = SaeConfig {
        architecture: match sae.variant {
            Variant::TopK { .. } => "TopK",
            _ => "ReLU",
        }
        .into(),
        hook_name: place(path),
        model_name: super::whole(path)
            .components()
            .any(|part| part.as_os_str() == "gpt2-small")
            .then(|| "gpt2-small".to_string()),
        dtype,
        rest: Map::from_iter(words.into_iter().map(|(name, word)| {
            let word = match word {
                Pickled::Text(text) => Value::from(text),
                Pickled::Int(n) => Value::from(n),
            };
            (name, word)
        })),
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}

fn activation(path: &Path, words: &[(String, Pickled)]) -> Result<(Variant, InputNorm)> {
    let refused = |what: String| invalid(format!("{}: {what}", path.display()));
    let (mut name, mut after, mut k) = ("ReLU", None, None);
    for (key, word) in words {
        match (key.as_str(), word) {
            ("activation", Pickled::Text(text)) => name = text,
            ("activation_state_dict.postact_fn", Pickled::Text(text)) => {
                after = Some(text.as_str())
            }
            ("activation_state_dict.k", Pickled::Int(n)) => k = usize::try_from(*n).ok(),
            (other, _) => {
                return Err(refused(format!(
                    "activation with its k and postact_fn beside tensors is required, got {other}"
                )));
            }
        }
    }
    match (name, after, k) {
        ("ReLU", None, None) => Ok((Variant::Relu, InputNorm::None)),
        ("TopK", None | Some("ReLU"), Some(k)) => Ok((Variant::TopK { k }, InputNorm::Standard)),
        ("TopK", Some(other), Some(_)) => Err(refused(format!(
            "activation TopK: a postact_fn ReLU is required, got {other}"
        ))),
        ("TopK", _, None) => Err(refused("activation TopK: a k is required, got none".into())),
        (other, ..) => Err(refused(format!(
            "an activation of ReLU, TopK is required, got {other}"
        ))),
    }
}

/// `resid_post_mlp_v5_32k/autoencoders/8.pt`, as they are published.
fn place(path: &Path) -> Option<String> {
    let whole = super::whole(path);
    let layer: usize = whole.file_stem()?.to_str()?.parse().ok()?;
    let folder = whole.parent()?;
    if folder.file_name()? != "autoencoders" {
        return None;
    }
    let location = folder.parent()?.file_name()?.to_str()?;
    let (_, site) = PLACES.iter().find(|(name, _)| {
        let version = location.strip_prefix(name);
        version.is_some_and(|version| version.is_empty() || version.starts_with("_v"))
    })?;
    Some(format!("blocks.{layer}.{site}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_folders_name_places() {
        for (path, expected) in [
            (
                "gpt2-small/resid_post_mlp_v5_32k/autoencoders/8.pt",
                Some("blocks.8.hook_resid_post"),
            ),
            (
                "mlp_post_act/autoencoders/0.pt",
                Some("blocks.0.mlp.hook_post"),
            ),
            (
                "resid_delta_mlp_v4/autoencoders/11.pt",
                Some("blocks.11.hook_mlp_out"),
            ),
            ("resid_post_mlps/autoencoders/8.pt", None),
            ("resid_post_mlp/8.pt", None),
            ("openai_topk.pt", None),
        ] {
            assert_eq!(place(Path::new(path)).as_deref(), expected, "{path}");
        }
    }
}
