//! An autoencoder by a name of the hub: which files of a repository it is made of.

use std::collections::BTreeSet;
use std::path::Path;

use datafusion::common::exec_err;
use datafusion::error::Result;

use crate::hub::{Chosen, Fetch, HubKind, HubName, HubPlace, Offered, find};

/// Endings of the files that autoencoders are made of.
const PARAMETERS: [&str; 5] = ["safetensors", "pt", "pth", "npz", "bin"];
const WORDS: [&str; 3] = ["json", "yaml", "yml"];
/// What sparsify's folder of many says of all of them.
const OF_TRAINING: &str = "config.json";
/// Where some formats put the parameters.
const INNER: &str = "checkpoints/";

/// What a name of the hub means, or none if it is a path.
pub fn find_sae(path: &Path, fetch: &mut Fetch<'_>) -> Result<Option<HubPlace>> {
    match HubName::of(path)? {
        None => Ok(None),
        Some(name) => find(&name, HubKind::Model, &choose, fetch).map(Some),
    }
}

/// The files of one folder, with those of its checkpoints.
fn choose(offered: &Offered<'_>) -> Result<Chosen> {
    let ends = |file: &str, endings: &[&str]| {
        let ending = file.rsplit_once('.').map(|(_, ending)| ending);
        ending.is_some_and(|ending| endings.contains(&ending))
    };
    let own = |file: &&str| !file.strip_prefix(INNER).unwrap_or(file).contains('/');
    let mut own: Vec<_> = offered.below().filter(own).collect();
    if !own.iter().any(|file| ends(file, &PARAMETERS)) {
        let holds = offered.below().filter(|file| ends(file, &PARAMETERS));
        let folders: BTreeSet<_> = holds
            .filter_map(|file| Some(file.rsplit_once('/')?.0))
            .collect();
        let shown: Vec<_> = folders.iter().take(8).copied().collect();
        return match shown.as_slice() {
            [] => exec_err!(
                "files of an autoencoder are required ({}), got none",
                PARAMETERS.join(", ")
            ),
            shown => exec_err!(
                "the folder of an autoencoder is required behind the name, one of {}, got {}",
                shown.join(", "),
                folders.len()
            ),
        };
    }
    own.retain(|file| ends(file, &PARAMETERS) || ends(file, &WORDS));
    let mut files: Vec<_> = own.iter().map(|file| offered.within(file)).collect();
    if !offered.path.is_empty() {
        let above = offered.path.rsplit_once('/').map_or("", |(above, _)| above);
        let above = Offered {
            path: above,
            ..*offered
        };
        files.extend(above.has(OF_TRAINING).then(|| above.within(OF_TRAINING)));
    }
    Ok(Chosen {
        files,
        place: offered.folder.join(offered.path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], path: &str) -> Result<Vec<String>> {
        let files: Vec<_> = files.iter().map(|file| (*file).to_string()).collect();
        let offered = Offered {
            files: &files,
            path,
            folder: Path::new("c"),
        };
        Ok(choose(&offered)?.files)
    }

    #[test]
    fn the_files_of_a_folder_make_an_autoencoder() {
        let files = [
            "README.md",
            "layers.5/cfg.json",
            "layers.5/sae.safetensors",
            "layers.6/cfg.json",
            "layers.6/sae.safetensors",
        ];
        assert_eq!(
            chosen(&files, "layers.5").unwrap(),
            ["layers.5/cfg.json", "layers.5/sae.safetensors"]
        );
        let trained = [&files[..], &["config.json"]].concat();
        let of_training = chosen(&trained, "layers.5").unwrap();
        assert_eq!(of_training.last().map(String::as_str), Some("config.json"));
        let error = chosen(&files, "").unwrap_err().strip_backtrace();
        assert!(
            error.ends_with("one of layers.5, layers.6, got 2"),
            "{error}"
        );
        let inner = ["a/hyperparams.json", "a/checkpoints/final.safetensors"];
        assert_eq!(chosen(&inner, "a").unwrap(), inner);
        assert!(chosen(&["config.json"], "").is_err());
    }
}
