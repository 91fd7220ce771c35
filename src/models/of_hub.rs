//! A model by a name of the hub: which files of a repository it is made of.

use std::path::Path;

use datafusion::error::Result;

use super::error::invalid;
use super::{pixels, tokenizer, weights};
use crate::hub::{Chosen, Fetch, HubKind, HubName, Offered, find};
use crate::store::{ModelPath, Source, Store};

/// Where a model is: its files of the hub, or what the store makes of a path.
pub fn find_model(store: &Store, model: &Path, fetch: &mut Fetch<'_>) -> Result<ModelPath> {
    match HubName::of(model)? {
        None => store.resolve_model(model),
        Some(name) => Ok(ModelPath::of_hub(find(
            &name,
            HubKind::Model,
            &choose,
            fetch,
        )?)),
    }
}

/// Where the model of a manifest is.
pub fn model_of(store: &Store, source: &Source, fetch: &mut Fetch<'_>) -> Result<ModelPath> {
    match source.is_of_hub() {
        false => store.model_of(source),
        true => find_model(store, source.path.as_ref(), fetch),
    }
}

/// The configuration, the weights in one format, the tokenizer, and what is made of pixels.
fn choose(offered: &Offered<'_>) -> Result<Chosen> {
    const CONFIG: &str = "config.json";
    let has = |name: &str| offered.has(name);
    if !has(CONFIG) {
        let is_gguf = |file: &&str| file.ends_with(".gguf");
        let found: Vec<_> = offered.below().filter(is_gguf).collect();
        return Err(invalid(match found.as_slice() {
            [] => format!("{} is required, got none", offered.within(CONFIG)),
            files => format!(
                "{} or the path of a GGUF file is required, got files {}",
                offered.within(CONFIG),
                files.join(", ")
            ),
        }));
    }
    let folder = match offered.path {
        "" => offered.folder.to_path_buf(),
        path => offered.folder.join(path),
    };
    let Some(weights) = weights::wanted(&folder, has)? else {
        return Err(invalid(format!(
            "{} is required, got none of them",
            weights::FILES.join(" or ")
        )));
    };
    let mut files = vec![CONFIG.to_string()];
    files.extend(weights);
    files.extend(tokenizer::wanted(has));
    files.extend(has(pixels::FILE).then(|| pixels::FILE.to_string()));
    Ok(Chosen {
        files: files.iter().map(|file| offered.within(file)).collect(),
        place: folder,
    })
}
