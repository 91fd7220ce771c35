//! What an autoencoder's file says of where its vectors come from, held against the run it is imported into.
//!
//! What the file says chooses the place; a model, beginning-of-sequence token or context that is not the run's is
//! refused. An option takes the place of what the file says, and the result's message says so.

use std::path::Path;

use datafusion::common::plan_err;
use datafusion::error::Result;
use serde_json::Value;

use super::exchange::{SaeConfig, hook_of, hook_out_of, names_module, transformer_lens};
use super::options::{BOS, CONTEXT, HOOK, HOOK_OUT, MODEL_NAME};
use crate::hub::HubName;
use crate::models::{HookPoint, Site};
use crate::options::{Options, Word};
use crate::store::{LayerRow, RunManifest};

/// Architectures in which what an MLP or an attention gives goes through a norm before the block adds it.
const NORMED_OUTPUTS: [&str; 5] = ["gemma2", "gemma3", "gemma3_text", "olmo2", "olmo3"];

/// What an import goes by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Agreed {
    /// The place in the layer; what is usual if nothing is said.
    pub site: Option<Site>,
    /// The place whose values a transcoder gives back.
    pub target: Option<HookPoint>,
    /// What was taken from the file or put in its place, for people.
    pub notes: Vec<String>,
}

/// Compares a file with the run whose layer it is imported into; `config` is then what holds.
///
/// Errors (planning): the file's place is none of ours or in another layer, its model, token or context another one,
/// and no option takes the place of it.
pub fn agree(
    config: &mut SaeConfig,
    transcodes: bool,
    facts: &RunManifest,
    layer: &LayerRow,
    options: &Options,
) -> Result<Agreed> {
    let mut agreed = Agreed::default();
    place(config, layer, options, &mut agreed)?;
    require_own_output(config, transcodes, facts)?;
    agreed.target = target(config, transcodes, layer, options, &mut agreed)?;
    let name = text_of(
        options.get(MODEL_NAME),
        &mut config.model_name,
        "model_name",
        &mut agreed,
    );
    if let Some(name) = name
        && !is_model(&name, &facts.model.path)
    {
        return plan_err!(
            "model_name must be that of the run's model, {}, got {name}: say model_name to take its place",
            facts.model.path
        );
    }
    // A classifier's documents have no first token and no length.
    if facts.architecture == "mlp" {
        return Ok(agreed);
    }
    let bos = facts
        .options
        .get(BOS.spec.name)
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if let Some(stated) = text_of(
        options.get(BOS),
        &mut config.prepend_bos,
        "bos",
        &mut agreed,
    ) && stated != bos
    {
        return plan_err!(
            "bos must be that of run '{}', {bos}, got {stated}: say bos to take its place, or ingest with bos: {stated}",
            facts.run
        );
    }
    let context = facts.options.get(CONTEXT.spec.name).and_then(Value::as_u64);
    if let Some(stated) = text_of(
        options.get(CONTEXT),
        &mut config.context_size,
        "context",
        &mut agreed,
    ) && let Some(context) = context
    {
        if stated < context as usize {
            return plan_err!(
                "context must be at least that of run '{}', {context}, got {stated}: say context to take its place, or \
                 ingest with context: {stated}",
                facts.run
            );
        }
        if stated > context as usize {
            agreed
                .notes
                .push(format!("context {context}, where the file says {stated}"));
        }
    }
    Ok(agreed)
}

/// What holds: the option, which is then noted and put into the configuration, else what the file says.
fn text_of<T: Clone + PartialEq + std::fmt::Display>(
    option: Option<T>,
    stated: &mut Option<T>,
    name: &str,
    agreed: &mut Agreed,
) -> Option<T> {
    if let Some(given) = option {
        match stated.replace(given.clone()) {
            Some(before) if before != given => {
                let note = format!("{name} {given} in place of the file's {before}");
                agreed.notes.push(note);
            }
            _ => {}
        }
    }
    stated.clone()
}

/// The place whose values a transcoder gives back.
fn target(
    config: &mut SaeConfig,
    transcodes: bool,
    layer: &LayerRow,
    options: &Options,
    agreed: &mut Agreed,
) -> Result<Option<HookPoint>> {
    let found = hook_out_of(config);
    let stated = config.hook_out.clone();
    let said = stated.clone().unwrap_or_else(|| "none".to_string());
    let given = options.get(HOOK_OUT).map(|site| HookPoint {
        layer: layer.layer as usize,
        site,
    });
    match (transcodes, given, found) {
        (false, None, _) => Ok(None),
        (false, Some(given), _) => {
            plan_err!("hook_out must come with a transcoder, got {given} for an autoencoder")
        }
        (true, Some(given), Some(found)) if given != found => plan_err!(
            "hook_out must be the file's {} ({said}), got {given}",
            found.site.name()
        ),
        (true, Some(given), None) => {
            config.hook_out = Some(transformer_lens(given));
            agreed.notes.push(match stated {
                Some(stated) => format!("gives {given} in place of the file's {stated}"),
                None => format!("gives {given}"),
            });
            Ok(Some(given))
        }
        (true, _, Some(found)) => {
            let note = format!("gives {found}, as the file says ({said})");
            agreed.notes.push(note);
            Ok(Some(found))
        }
        (true, None, None) => plan_err!(
            "the place whose values a transcoder gives back must be named by the file, {}, got {said}: say hook_out",
            sites()
        ),
    }
}

/// Refuses a module's name where the block adds something else than what the module gives.
fn require_own_output(config: &SaeConfig, transcodes: bool, facts: &RunManifest) -> Result<()> {
    let stated = match transcodes {
        true => &config.hook_out,
        false => &config.hook_name,
    };
    match stated {
        Some(stated)
            if NORMED_OUTPUTS.contains(&facts.architecture.as_str()) && names_module(stated) =>
        {
            plan_err!(
                "a place in the model must be named by the file, {}, got {stated}: what this module gives goes through a norm \
                 in architecture {} before the block adds it",
                sites(),
                facts.architecture
            )
        }
        _ => Ok(()),
    }
}

fn place(
    config: &mut SaeConfig,
    layer: &LayerRow,
    options: &Options,
    agreed: &mut Agreed,
) -> Result<()> {
    let number = layer.layer as usize;
    let found = hook_of(config);
    let stated = config.hook_name.clone();
    if let (None, Some(said)) = (&stated, config.layer)
        && said != number
    {
        return plan_err!("the layer must be {said}, since the file says so, got layer {number}");
    }
    match (options.get(HOOK), stated, found) {
        (Some(site), Some(stated), Some(found)) if !may_mean(&stated, found, number, site) => {
            plan_err!(
                "hook must be the file's, {found} ({stated}), got blocks.{number}.{}",
                site.name()
            )
        }
        (Some(site), stated, found) => {
            let hook = HookPoint {
                layer: number,
                site,
            };
            agreed.site = Some(site);
            if let Some(stated) = stated
                && found != Some(hook)
            {
                config.hook_name = Some(transformer_lens(hook));
                agreed
                    .notes
                    .push(format!("read at {hook} in place of the file's {stated}"));
            }
            Ok(())
        }
        (None, None, _) => {
            agreed.notes.push("the file names no place".to_string());
            Ok(())
        }
        (None, Some(stated), None) => plan_err!(
            "a place in the model must be named by the file, {}, got {stated}: say hook to take its place",
            sites()
        ),
        (None, Some(stated), Some(hook)) if hook.layer != number => plan_err!(
            "the layer must be {}, since the file says {stated}, got layer {number}: say hook to take its place",
            hook.layer
        ),
        (None, Some(stated), Some(hook)) => {
            agreed.site = Some(hook.site);
            agreed
                .notes
                .push(format!("read at {hook}, as the file says ({stated})"));
            Ok(())
        }
    }
}

/// Whether an option's place is the file's, or one that the file's word may mean, too: with the norm folded into the weights
/// or without.
fn may_mean(stated: &str, found: HookPoint, layer: usize, site: Site) -> bool {
    const EITHER: [Site; 2] = [Site::Normalized, Site::Ln2Out];
    let same = found.site == site;
    let either = stated.ends_with("ln2.hook_normalized") && EITHER.contains(&site);
    found.layer == layer && (same || either)
}

/// `'resid.pre', ... or 'resid.post'`.
fn sites() -> String {
    let names: Vec<_> = Site::words().into_iter().map(|(name, _)| name).collect();
    format!("one of {}", names.join(", "))
}

/// Whether a model in this place may be called so: by its folder's name, by that of Hugging Face's cache, or by the name
/// that its configuration carries.
fn is_model(name: &str, path: &str) -> bool {
    if let Ok(Some(of_hub)) = HubName::of(path.as_ref()) {
        return plain(of_hub.repo()) == plain(name);
    }
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let cached = whole
        .components()
        .map(|c| c.as_os_str().to_string_lossy().into_owned());
    let cached = cached.filter(|folder| folder.starts_with("models--"));
    let own = whole
        .file_stem()
        .map(|name| name.to_string_lossy().into_owned());
    let mut names = cached.chain(own).chain(named_in(&whole));
    names.any(|known| plain(&known) == plain(name))
}

/// What `config.json` says of its origin.
fn named_in(folder: &Path) -> Option<String> {
    let text = crate::files::regular::read_configuration(&folder.join("config.json")).ok()?;
    let config: Value = serde_json::from_slice(&text).ok()?;
    Some(config.get("_name_or_path")?.as_str()?.to_string())
}

/// A model's name without its owner, in lower case, as Hugging Face writes it: TransformerLens says `gpt2-small`.
fn plain(name: &str) -> String {
    let name = name.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name
        .rsplit("--")
        .next()
        .unwrap_or(name)
        .to_ascii_lowercase();
    match name.as_str() {
        "gpt2-small" => "gpt2".to_string(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_goes_by_the_names_it_has() {
        for (name, path) in [
            ("gpt2-small", "models/gpt2"),
            ("openai-community/gpt2", "gpt2"),
            (
                "gpt2",
                "hub/models--openai-community--gpt2/snapshots/607a30d7",
            ),
            ("EleutherAI/Pythia-70m", "a/pythia-70m/"),
            ("digits", "digits.safetensors"),
        ] {
            assert!(is_model(name, path), "{name} in {path}");
        }
        for (name, path) in [
            ("gpt2", "models/gpt2-medium"),
            ("gpt2", "gpt2/model"),
            ("", "gpt2"),
        ] {
            assert!(!is_model(name, path), "{name} in {path}");
        }
    }
}
