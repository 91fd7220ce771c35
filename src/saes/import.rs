//! Autoencoders from elsewhere into the store, and out of it again.

use std::path::Path;
use std::time::Instant;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::hold;
use serde_json::{Map, Value, json};

use super::exchange::{self, FoundSae, SaeConfig, SaeFile};
use super::loaded::LoadedSae;
use super::of_hub::find_sae;
use super::options::REPLACE;
use super::publish::{Vectors, attach, check_place, commit, facts_of};
use super::weights;
use crate::hub::HubName;
use crate::jobs::JobContext;
use crate::models::HookPoint;
use crate::options::{Options, Word};
use crate::runs::Progress;
use crate::store::{SaeManifest, Source, Store};

/// An autoencoder from elsewhere.
#[derive(Debug)]
pub struct Foreign {
    /// Where it was read: a path, or a name of the hub with the commit.
    pub from: String,
    /// The format's name.
    pub format: &'static str,
    /// Its parameters and what its files say; where options take the place of that, what they say.
    pub file: SaeFile,
    /// What the result's message says of it.
    pub notes: Vec<String>,
    /// Of its parameters.
    _memory: MemoryReservation,
}

impl Foreign {
    /// Reads a folder or file, whose bytes are reserved in the memory of `context` first; of a folder of many, the one in
    /// `subfolder`.
    ///
    /// Errors: none of a format that is known; several.
    pub fn read(path: &Path, subfolder: Option<&str>, context: &JobContext) -> Result<Self> {
        // Of the hub no more is fetched than the folder that is meant.
        let (named, subfolder) = match subfolder {
            Some(inner) if HubName::of(path)?.is_some() => (path.join(inner), None),
            other => (path.to_path_buf(), other),
        };
        let of_hub = find_sae(&named, &mut context.fetch())?;
        let place = of_hub.as_ref().map_or(&*named, |found| &found.place);
        let found = FoundSae::at(place, subfolder)?;
        let from = match &of_hub {
            Some(found) => found.pinned.clone(),
            None => Source::of(&found.path, "")?.path,
        };
        let memory = context.memory("import_sae");
        let of = format_args!("reading the autoencoder in {}", found.path.display());
        hold(&memory, found.bytes_to_read(), of)?;
        let file = exchange::read_found(&found)?;
        weights::hold(&memory, &file.sae)?;
        let format = found.format.name();
        let note = format!("read as {format} ({})", file.config.architecture);
        Ok(Self {
            from,
            format,
            file,
            notes: vec![note],
            _memory: memory,
        })
    }
}

/// Finds the dataset examples of an autoencoder's latents in `vectors`, and commits both.
///
/// Errors: vectors of another width. After an error nothing is visible.
pub fn import_sae(
    store: &Store,
    name: &str,
    foreign: &Foreign,
    vectors: Vectors<'_>,
    options: &Options,
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<SaeManifest> {
    let started = Instant::now();
    check_place(store, name, &vectors)?;
    let writer = store.begin_sae(name, options.get(REPLACE))?;
    if writer.training().exists() {
        return plan_err!(
            "a name without an interrupted training is required, got '{name}': call its train_sae again to \
             end it, or with resume: false to begin it anew"
        );
    }
    let file = &foreign.file;
    let mut facts = SaeManifest {
        name: name.to_string(),
        options: [("path".to_string(), json!(foreign.from))]
            .into_iter()
            .collect(),
        foreign: words_of(&file.config),
        format: Some(foreign.format.to_string()),
        groups: file.config.groups.clone(),
        ..facts_of(&file.sae)
    };
    let attached = attach(
        store, &file.sae, options, vectors, &mut facts, context, progress,
    )?;
    facts.seconds = started.elapsed().as_secs_f64();
    commit(attached, &mut facts, &file.sae, None)?;
    let place = format!(
        "{name}: {} latents, layer {} of run {}",
        facts.d_sae,
        facts.layer.unwrap_or_default(),
        facts.run.as_deref().unwrap_or_default()
    );
    progress(Progress {
        phase: "done",
        documents: 0,
        total_documents: None,
        tokens: 0,
        tokens_per_second: 0.0,
        elapsed_seconds: facts.seconds,
        message: std::iter::once(place)
            .chain(foreign.notes.iter().cloned())
            .collect::<Vec<_>>()
            .join("; "),
    });
    Ok(facts)
}

/// Writes an autoencoder of the store as a folder of the format.
///
/// Errors: the folder exists and `replace` is false; the format has no word for what it is.
pub fn export_sae(
    loaded: &LoadedSae,
    folder: &Path,
    format: ExportFormat,
    replace: bool,
) -> Result<()> {
    let file = SaeFile {
        sae: loaded.sae.clone(),
        config: SaeConfig {
            groups: loaded.stored.manifest.groups.clone(),
            ..config(&loaded.stored.manifest)
        },
    };
    match format {
        ExportFormat::SaeLens => exchange::write_saelens(folder, &file, replace),
        ExportFormat::DictionaryLearning => {
            exchange::write_dictionary_learning(folder, &file, replace)
        }
    }
}

/// A format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// `cfg.json` and `sae_weights.safetensors`.
    SaeLens,
    /// `config.json` and `ae.safetensors`.
    DictionaryLearning,
}

impl Word for ExportFormat {
    fn words() -> Vec<(&'static str, Self)> {
        vec![
            ("saelens", Self::SaeLens),
            ("dictionary_learning", Self::DictionaryLearning),
        ]
    }
}

fn words_of(config: &SaeConfig) -> Map<String, Value> {
    let values = [
        ("architecture", json!(config.architecture)),
        ("hook_name", json!(config.hook_name)),
        ("hook_out", json!(config.hook_out)),
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
        let of_hub = |path: &str| Some(HubName::of(Path::new(path)).ok()??.repo().to_string());
        let name = model.and_then(|model| {
            let file = || Some(Path::new(&model.path).file_name()?.to_str()?.to_string());
            of_hub(&model.path).or_else(file)
        });
        return SaeConfig {
            hook_name: facts
                .hook
                .as_deref()
                .map(|hook| match HookPoint::parse(hook) {
                    Ok(hook) => exchange::transformer_lens(hook),
                    Err(_) => hook.to_string(),
                }),
            model_name: name,
            ..SaeConfig::default()
        };
    }
    let text = |name: &str| of.get(name).and_then(Value::as_str).map(str::to_string);
    SaeConfig {
        architecture: text("architecture").unwrap_or_default(),
        hook_name: text("hook_name"),
        hook_out: text("hook_out"),
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
