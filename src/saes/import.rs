//! Autoencoders from elsewhere into the store, and out of it again.

use std::path::Path;
use std::time::Instant;

use datafusion::common::plan_err;
use datafusion::error::Result;
use serde_json::{Map, Value, json};

use super::exchange::{self, SaeConfig, SaeFile};
use super::loaded::LoadedSae;
use super::options::{EXAMPLES, MIN_ACTIVATION};
use super::publish::{Vectors, attach, check_place, commit, facts_of};
use crate::corpus::OptionDoc;
use crate::jobs::JobContext;
use crate::runs::{IngestOptions, OPTIONS, Progress};
use crate::store::{SaeManifest, Source, Store};

/// Every option of `import_sae` that picks the latents' dataset examples.
pub fn import_sae_options() -> Vec<OptionDoc> {
    let examples = OPTIONS
        .iter()
        .filter(|option| EXAMPLES.contains(&option.name) || option.name == "replace");
    examples.copied().collect()
}

/// Reads the pairs of [`import_sae_options`].
pub fn example_options<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<IngestOptions> {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let given = |name: &str| pairs.iter().any(|(given, _)| *given == name);
    let share = given("activation_threshold");
    if share && given("min_activation") {
        return plan_err!("one of activation_threshold and min_activation is required, got both");
    }
    let mut options = IngestOptions {
        min_activation: (!share).then_some(MIN_ACTIVATION),
        ..IngestOptions::default()
    };
    for (name, value) in pairs {
        options.set(name, value)?;
    }
    Ok(options)
}

/// Reads an autoencoder, finds its latents' dataset examples in `vectors`, and commits both.
///
/// Errors: not a file that is known; vectors of another width. After an error nothing is visible.
pub fn import_sae(
    store: &Store,
    name: &str,
    path: &Path,
    vectors: Vectors<'_>,
    examples: &IngestOptions,
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<SaeManifest> {
    let started = Instant::now();
    check_place(store, name, &vectors)?;
    let writer = store.begin_sae(name, examples.replace)?;
    if writer.training().exists() {
        return plan_err!(
            "a name without an interrupted training is required, got '{name}': call its train_sae again to \
             end it, or with resume: false to begin it anew"
        );
    }
    let file = exchange::read(path)?;
    check_hook(&file.config, &vectors)?;
    let mut facts = SaeManifest {
        name: name.to_string(),
        options: [("path".to_string(), json!(Source::of(path, "")?.path))]
            .into_iter()
            .collect(),
        foreign: foreign(&file.config),
        ..facts_of(&file.sae)
    };
    let attached = attach(
        store, &file.sae, examples, vectors, &mut facts, context, progress,
    )?;
    facts.seconds = started.elapsed().as_secs_f64();
    commit(attached, &mut facts, &file.sae)?;
    progress(Progress {
        phase: "done",
        documents: 0,
        total_documents: None,
        tokens: 0,
        tokens_per_second: 0.0,
        elapsed_seconds: facts.seconds,
        message: format!(
            "{name}: {} latents, layer {} of run {}",
            facts.d_sae,
            facts.layer.unwrap_or_default(),
            facts.run.as_deref().unwrap_or_default()
        ),
    });
    Ok(facts)
}

/// Refuses the vectors of another layer than the file says it was trained for.
fn check_hook(config: &SaeConfig, vectors: &Vectors<'_>) -> Result<()> {
    let (Some(name), Vectors::Layer { vectors, .. }) = (&config.hook_name, vectors) else {
        return Ok(());
    };
    let layer = name
        .strip_prefix("blocks.")
        .and_then(|rest| rest.split_once('.')?.0.parse::<usize>().ok());
    match layer.filter(|layer| *layer != vectors.hook.layer) {
        None => Ok(()),
        Some(layer) => plan_err!(
            "vectors of layer {layer} are required, since the file says {name}, got {}",
            vectors.hook
        ),
    }
}

/// Writes an autoencoder of the store as a folder of the format.
///
/// Errors: the folder exists and `replace` is false; the format has no word for what it is.
pub fn export_sae(loaded: &LoadedSae, folder: &Path, format: Format, replace: bool) -> Result<()> {
    let file = SaeFile {
        sae: loaded.sae.clone(),
        config: config(&loaded.stored.manifest),
    };
    match format {
        Format::SaeLens => exchange::write_saelens(folder, &file, replace),
        Format::DictionaryLearning => exchange::write_dictionary_learning(folder, &file, replace),
    }
}

/// A format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `cfg.json` and `sae_weights.safetensors`.
    SaeLens,
    /// `config.json` and `ae.safetensors`.
    DictionaryLearning,
}

impl Format {
    /// Their names.
    pub const NAMES: [(&str, Format); 2] = [
        ("saelens", Self::SaeLens),
        ("dictionary_learning", Self::DictionaryLearning),
    ];
}

fn foreign(config: &SaeConfig) -> Map<String, Value> {
    let values = [
        ("architecture", json!(config.architecture)),
        ("hook_name", json!(config.hook_name)),
        ("model_name", json!(config.model_name)),
        ("dtype", json!(config.dtype)),
        ("prepend_bos", json!(config.prepend_bos)),
        ("context_size", json!(config.context_size)),
        ("rest", Value::Object(config.rest.clone())),
    ];
    values
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

/// The configuration an export carries: what an import brought, else what is known of model and hook.
fn config(facts: &SaeManifest) -> SaeConfig {
    let of = &facts.foreign;
    if of.is_empty() {
        let model = facts.model.as_ref();
        let name = model.and_then(|model| Path::new(&model.path).file_name()?.to_str());
        return SaeConfig {
            hook_name: facts.hook.as_deref().map(transformer_lens),
            model_name: name.map(str::to_string),
            ..SaeConfig::default()
        };
    }
    let text = |name: &str| of.get(name).and_then(Value::as_str).map(str::to_string);
    SaeConfig {
        architecture: text("architecture").unwrap_or_default(),
        hook_name: text("hook_name"),
        model_name: text("model_name"),
        dtype: text("dtype").unwrap_or_else(|| "float32".to_string()),
        prepend_bos: of.get("prepend_bos").and_then(Value::as_bool),
        context_size: of
            .get("context_size")
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok()),
        rest: match of.get("rest") {
            Some(Value::Object(rest)) => rest.clone(),
            _ => Map::new(),
        },
        ..SaeConfig::default()
    }
}

/// The name TransformerLens has for a hook, where it has one.
fn transformer_lens(hook: &str) -> String {
    let known = [
        ("resid.pre", "hook_resid_pre"),
        ("resid.mid", "hook_resid_mid"),
        ("resid.post", "hook_resid_post"),
        ("attn.out", "hook_attn_out"),
        ("mlp.out", "hook_mlp_out"),
        ("attn.z", "attn.hook_z"),
        ("mlp.pre", "mlp.hook_pre"),
        ("mlp.post", "mlp.hook_post"),
        ("ln2.normalized", "ln2.hook_normalized"),
    ];
    for (ours, theirs) in known {
        if let Some(block) = hook.strip_suffix(ours) {
            return format!("{block}{theirs}");
        }
    }
    hook.to_string()
}
