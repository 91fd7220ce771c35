//! What the model of a run gives at a hook, from what the run's manifest says of model and corpus.

use std::path::PathBuf;

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use serde_json::Value;

use super::publish::Vectors;
use crate::corpus::{
    BOS, CONTEXT, CORPUS, CorpusReader, MAX_DOCUMENTS, ModelVectors, SPLIT, Split, find_corpus,
    is_there,
};
use crate::jobs::{JobContext, Rows};
use crate::models::{HookPoint, Site, find_model, loaded};
use crate::options::Options;
use crate::runs::model_of_run;
use crate::store::{LayerRow, RunManifest, SaeManifest, Store};

/// What is read in place of the run's own model and corpus.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OtherCorpus {
    /// A model's folder, file or name: with hook and corpus, for an autoencoder that was trained on a table; alone,
    /// where the model of its run is now.
    pub model: Option<String>,
    /// The place in it, `blocks.2.mlp.out`.
    pub hook: Option<HookPoint>,
    /// Another file or folder; of the rows of a relation, how they were written.
    pub corpus: Option<PathBuf>,
    /// Whether it is rows, which are those of the work's relation.
    pub of_rows: bool,
    /// Other images of the folder.
    pub split: Option<Split>,
    /// Most documents.
    pub max_documents: Option<usize>,
}

/// Where a run's model and corpus are now, if not where they were.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places {
    /// A model's folder, file or name.
    pub model: Option<String>,
    /// The corpus's file or folder.
    pub corpus: Option<PathBuf>,
}

impl Places {
    /// Where the run's corpus is looked for.
    fn corpus(&self, facts: &RunManifest) -> PathBuf {
        let given = self.corpus.clone();
        given.unwrap_or_else(|| PathBuf::from(&facts.corpus.path))
    }
}

impl OtherCorpus {
    /// The options of a corpus with these in their place.
    fn over(&self, mut options: Options) -> Options {
        if self.split.is_some() {
            options = options.with(SPLIT, self.split);
        }
        match self.max_documents {
            None => options,
            most => options.with(MAX_DOCUMENTS, most),
        }
    }
}

fn open(
    store: &Store,
    facts: &RunManifest,
    places: &Places,
    rows: Option<&Rows>,
    options: &Options,
    context: &JobContext,
) -> Result<CorpusReader> {
    let loaded = model_of_run(store, facts, places.model.as_deref(), context)?;
    let of_rows = facts.corpus.is_relation() && places.corpus.is_none();
    let is_files = !of_rows && rows.is_none();
    let corpus = match is_files {
        true => find_corpus(&places.corpus(facts), &mut context.fetch())?.place,
        false => places.corpus(facts),
    };
    if is_files && !is_there(&corpus) {
        return exec_err!(
            "the corpus of run '{}' is required, got nothing at {}: the option corpus says where it is now",
            facts.run,
            corpus.display()
        );
    }
    // Rows may have gone or changed since: the run has their tokens.
    match of_rows {
        true => CorpusReader::of_run(loaded, store.run(&facts.run)?.as_ref(), options, context),
        false => CorpusReader::over_rows(loaded, rows, &corpus, options, context),
    }
}

/// The vectors of a layer of a run: what its model gives at `site` of that block for its corpus. A transcoder of them gives
/// back what is at `target`.
///
/// Errors: the layer is not one of the model's; model or corpus are not where they were or not what they were.
pub fn layer_vectors(
    store: &Store,
    facts: &RunManifest,
    layer: &LayerRow,
    site: Option<Site>,
    target: Option<HookPoint>,
    places: &Places,
    context: &JobContext,
) -> Result<Vectors<'static>> {
    if layer.kind != "mlp" {
        return plan_err!(
            "a layer of the model is required, got '{}' of kind {}",
            layer.name,
            layer.kind
        );
    }
    let options = Options::recorded(&CORPUS, &facts.options)?;
    let reader = open(store, facts, places, None, &options, context)?;
    if reader.corpus_hash() != facts.corpus.hash {
        return exec_err!(
            "the corpus that run '{}' was made of is required in {}, got another one",
            facts.run,
            places.corpus(facts).display()
        );
    }
    let site = site.unwrap_or(match reader.model().n_ctx() {
        1 => Site::MlpPost,
        _ => Site::MlpOut,
    });
    let hook = HookPoint {
        layer: layer.layer as usize,
        site,
    };
    reader.check_hook(hook)?;
    let description = format!("{hook} of run {}", facts.run);
    Ok(Vectors::Layer {
        run: facts.run.clone(),
        vectors: Box::new(ModelVectors {
            reader,
            hook,
            description,
        }),
        target: target.unwrap_or(hook),
        model: facts.model.clone(),
        corpus: facts.corpus.clone(),
    })
}

/// Documents as an imported autoencoder's file says it was trained on, and never longer ones.
fn as_trained(sae: &SaeManifest) -> Options {
    let said = |name: &str| sae.foreign.get(name);
    let options = Options::default();
    let usual = options.get(CONTEXT);
    let context = said("context_size").and_then(Value::as_u64);
    let context = context.map_or(usual, |most| usual.min(most as usize));
    let bos = said("prepend_bos").and_then(Value::as_bool);
    options.usually(CONTEXT, context).usually(BOS, bos)
}

/// The model an autoencoder reads, over its run's corpus or another one, the place that it reads, and the place whose values
/// it gives back.
///
/// Errors: it reads a table; model or corpus are not where they were; it is not known where a transcoder gives its values.
pub fn sae_reader(
    store: &Store,
    sae: &SaeManifest,
    other: &OtherCorpus,
    context: &JobContext,
) -> Result<(CorpusReader, [HookPoint; 2])> {
    let rows = context.rows().filter(|_| other.of_rows);
    if let (Some(model), Some(hook), Some(corpus)) = (&other.model, other.hook, &other.corpus) {
        if sae.transcodes {
            return plan_err!(
                "an autoencoder is required at a place of its own, got the transcoder '{}': import it over a layer to \
                 measure what it gives at another place",
                sae.name
            );
        }
        let options = other.over(as_trained(sae));
        let model = find_model(store, model.as_ref(), &mut context.fetch())?;
        let loaded = loaded(store.loaded(), &model)?;
        let reader = CorpusReader::over_rows(loaded, rows, corpus, &options, context);
        return Ok((reader?, [hook, hook]));
    }
    let (Some(run), Some(hook), None) = (&sae.run, &sae.hook, other.hook) else {
        return plan_err!(
            "rows, or the options model, hook and corpus, are required for '{}', which was trained on {}",
            sae.name,
            sae.source
        );
    };
    let facts = store.run(run)?.manifest().clone();
    let options = other.over(Options::recorded(&CORPUS, &facts.options)?);
    if sae.model.as_ref().map(|model| &model.hash) != Some(&facts.model.hash) {
        return exec_err!(
            "the model that '{}' was trained on is required in run '{run}', got another one: was it replaced since?",
            sae.name
        );
    }
    let places = Places {
        model: other.model.clone(),
        corpus: other.corpus.clone(),
    };
    let reader = open(store, &facts, &places, rows, &options, context)?;
    let target = sae.hook_out.as_ref().unwrap_or(hook);
    Ok((reader, [HookPoint::parse(hook)?, HookPoint::parse(target)?]))
}
