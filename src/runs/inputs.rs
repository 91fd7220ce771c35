//! An ingest whose model is loaded and whose corpus is found: what is read, kept and written of it, in one pass or in
//! shards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::error::Result;
use serde_json::{Map, Value};

use super::checkpoint::IngestState;
use super::context::Context;
use super::forward::{Forward, Stretch};
use super::identity::Identity;
use super::layer::Layer;
use super::options::{
    CHECKPOINT_EVERY, INGEST, LAYER_NORM, MAX_ACTIVATIONS, MaxActivations, Pick, SIGN, Sign,
    WINDOW, WINDOW_VECTORS,
};
use super::progress::Reporter;
use super::write;
use crate::corpus::{
    BOS, CorpusPlace, CorpusReader, FoundCorpus, Target, find_corpus, has_special,
};
use crate::files::clock;
use crate::files::loaded::Resident;
use crate::jobs::{JobContext, Rows};
use crate::models::{LayerNorm, LoadedModel, Model, find_model, loaded};
use crate::options::{Options, Word};
use crate::store::{ModelPath, RunManifest, RunWriter, Source, Store, Versions};

/// What to ingest.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Name of the run.
    pub run: String,
    /// Folder or file of the model, or the name of a stored one.
    pub model: PathBuf,
    /// The corpus: a file, a folder or a pattern of files; of the rows of a relation, how that was written.
    pub corpus: PathBuf,
    /// How.
    pub options: Options,
    /// The rows of the table that the options name.
    pub max_activations: Option<MaxActivations>,
}

/// An ingest whose model is loaded and whose corpus is found.
pub(super) struct IngestInputs<'a> {
    pub(super) store: &'a Store,
    pub(super) request: &'a IngestRequest,
    pub(super) settled: Settled,
    model: Arc<Resident<LoadedModel>>,
    sources: Sources<'a>,
    context: &'a JobContext,
    /// Holds a stored model.
    _place: ModelPath,
}

/// What all documents have shown.
pub(super) struct AllSeen {
    pub(super) layers: Vec<Layer>,
    /// Seconds of work, by whomever, beside those that this process has worked.
    pub(super) seconds: f64,
    /// The most candidates that were in memory at once.
    pub(super) most_candidates: usize,
}

impl<'a> IngestInputs<'a> {
    /// Finds, fetches and loads what the request names.
    pub(super) fn new(
        store: &'a Store,
        request: &'a IngestRequest,
        rows: Option<&'a Rows>,
        context: &'a JobContext,
        report: &mut Reporter<'_>,
    ) -> Result<Self> {
        let mut fetch = context.fetch_telling(|doing| report.fetch(doing));
        let place = find_model(store, &request.model, &mut fetch)?;
        let corpus = match rows {
            Some(rows) => Found::Relation(rows, written(request)?),
            None => Found::Files(find_corpus(&request.corpus, &mut fetch)?),
        };
        drop(fetch);
        begin_reading(request, report)?;
        let model = loaded(store.loaded(), &place)?;
        check_effect(&request.options, model.model.as_ref())?;
        // What cannot be written down is refused before the work.
        let sources = Sources {
            model: place.source("")?,
            corpus_source: corpus.source()?,
            corpus,
        };
        Ok(Self {
            store,
            request,
            settled: Settled::new(request, &model)?,
            model,
            sources,
            context,
            _place: place,
        })
    }

    /// What it is made of, as far as that is known before the corpus is read.
    pub(super) fn identity(&self) -> Identity {
        let maxima = self.request.max_activations.as_ref();
        Identity::new(self.settled.recorded.clone(), &self.model.hash, maxima)
    }

    /// Reads the corpus, in the phase that has begun.
    pub(super) fn read(
        &self,
        target: Target<'_>,
        report: &mut Reporter<'_>,
    ) -> Result<CorpusReader> {
        CorpusReader::read(
            Arc::clone(&self.model),
            self.sources.corpus.place(),
            &self.request.options,
            target,
            self.context,
            &mut |documents, tokens| {
                report.advance(documents, tokens);
                report.tick()
            },
        )
    }

    /// A layer of neurons for each of the model's, which have seen nothing.
    pub(super) fn layers(&self, reader: &CorpusReader, scratch: &Path) -> Result<Vec<Layer>> {
        let pick = Pick {
            options: &self.request.options,
            maxima: self.request.max_activations.as_ref(),
            sign: self.settled.sign,
            longest: reader.documents.longest(),
            skip: usize::from(reader.has_bos()),
        };
        let layers = reader.model().layers().iter().enumerate();
        let layers = layers.map(|(index, info)| {
            let memory = self.context.memory("candidates");
            Layer::new(index, info, pick, scratch, memory)
        });
        layers.collect()
    }

    /// Sends a part of the documents through the model, from where its last checkpoint is.
    pub(super) fn forward<'c>(
        &self,
        layers: Vec<Layer>,
        (identity, found): (Identity, Option<IngestState>),
        reader: &mut CorpusReader,
        stretch: Stretch<'c>,
        report: &mut Reporter<'_>,
    ) -> Result<Forward<'c>> {
        if let Some(found) = &found {
            stretch.say_kept(found, report);
        }
        let first = stretch.documents.start;
        let resumed = found.as_ref().map(|found| found.at.documents - first);
        let resumed = resumed.map_or(String::new(), |n| format!(", resumed at {n} documents"));
        let model = self.request.model.display();
        let message = format!("running {model}{}{resumed}", stretch.said);
        report.begin("forward", Some(stretch.documents.len() as u64), message)?;
        let replaces = stretch.checkpoints.committed(self.store);
        let begun = IngestState::new(identity, reader.start(first), replaces);
        let every = self.request.options.get(CHECKPOINT_EVERY);
        let mut forward = Forward::begin(layers, begun, found, &reader.documents, stretch, every)?;
        forward.run(reader, self.settled.layer_norm, report)?;
        Ok(forward)
    }

    /// Writes the tables of the layers and commits the run.
    pub(super) fn commit(
        self,
        run: RunWriter,
        reader: CorpusReader,
        seen: AllSeen,
        report: &mut Reporter<'_>,
    ) -> Result<RunManifest> {
        let request = self.request;
        let model = reader.model();
        let message = format!("writing run {}", request.run);
        report.begin("write", Some(reader.n_documents() as u64), message)?;
        write::write_layers(model.layers(), &run)?;
        let parts = Context {
            weights: &|layer| model.neuron_weights(layer, self.settled.layer_norm),
            maxima: request.max_activations.as_ref(),
            documents: &reader.documents,
            weights_bytes: (0..seen.layers.len())
                .map(|layer| model.neuron_bytes(layer))
                .max()
                .unwrap_or(0),
            memory: report.memory("writing"),
        };
        write::write_all(&parts, &seen.layers, &run, report)?;
        let (seconds, most) = (seen.seconds + report.seconds(), seen.most_candidates);
        let manifest = self.manifest(&reader, &run, seconds);
        report.tick()?;
        // The spool files must be closed before the scratch folder goes.
        drop(seen);
        drop(reader);
        run.commit(manifest.clone())?;
        let counts = manifest.counts;
        report.finish(
            &counts,
            format!(
                "run {}: {} examples of {} neurons, at most {most} candidates in memory",
                request.run, counts.examples, counts.neurons
            ),
        );
        Ok(manifest)
    }

    fn manifest(self, reader: &CorpusReader, run: &RunWriter, seconds: f64) -> RunManifest {
        RunManifest {
            run: self.request.run.clone(),
            model: Source {
                hash: reader.model_hash().to_string(),
                ..self.sources.model
            },
            architecture: reader.model().architecture().to_string(),
            weight_types: reader.weight_types().to_vec(),
            corpus: Source {
                hash: reader.corpus_hash().to_string(),
                ..self.sources.corpus_source
            },
            layer_norm: self.settled.layer_norm.name().to_string(),
            options: self.settled.recorded,
            versions: Versions::default(),
            counts: run.counts(),
            seconds,
            created_at: clock::seconds(),
        }
    }
}

/// Begins the phase in which the corpus is read.
pub(super) fn begin_reading(request: &IngestRequest, report: &mut Reporter<'_>) -> Result<()> {
    let message = format!("reading {}", request.corpus.display());
    report.begin("tokenize", None, message)
}

/// Where the corpus is.
enum Found<'a> {
    Files(FoundCorpus),
    /// The rows of a relation, and how that was written.
    Relation(&'a Rows, &'a str),
}

impl Found<'_> {
    fn place(&self) -> CorpusPlace<'_> {
        match self {
            Self::Files(found) => CorpusPlace::Files(&found.place),
            Self::Relation(rows, written) => CorpusPlace::Relation(rows, written),
        }
    }

    fn source(&self) -> Result<Source> {
        match self {
            Self::Files(found) => found.source(),
            Self::Relation(_, written) => Ok(Source::of_relation(written)),
        }
    }
}

/// How the relation of a corpus was written.
fn written(request: &IngestRequest) -> Result<&str> {
    let corpus = &request.corpus;
    let none = || {
        plan_datafusion_err!(
            "a corpus written in UTF-8 is required, got {}",
            corpus.display()
        )
    };
    corpus.to_str().ok_or_else(none)
}

/// Where the model and the corpus are from.
struct Sources<'a> {
    model: Source,
    corpus: Found<'a>,
    corpus_source: Source,
}

/// What the model settles of the options.
pub(super) struct Settled {
    sign: Sign,
    pub(super) layer_norm: LayerNorm,
    /// Every option, for the manifest.
    recorded: Map<String, Value>,
}

impl Settled {
    fn new(request: &IngestRequest, model: &LoadedModel) -> Result<Self> {
        let (options, model) = (&request.options, model.model.as_ref());
        let sign = sign(options, model)?;
        Ok(Self {
            sign,
            layer_norm: layer_norm(options, model),
            recorded: recorded(options, request.max_activations.as_ref(), sign, model),
        })
    }
}

/// Every option, for the manifest.
fn recorded(
    options: &Options,
    maxima: Option<&MaxActivations>,
    sign: Sign,
    model: &dyn Model,
) -> Map<String, Value> {
    let mut all = Options::usual(&INGEST).to_json();
    all.extend(options.to_json());
    if maxima.is_some() && !options.given(MAX_ACTIVATIONS) {
        all.insert(MAX_ACTIVATIONS.spec.name.into(), "given".into());
    }
    all.insert(
        LAYER_NORM.spec.name.into(),
        layer_norm(options, model).name().into(),
    );
    all.insert(BOS.spec.name.into(), has_special(options, model).into());
    if model.layers().iter().any(|layer| layer.gated) {
        all.insert(SIGN.spec.name.into(), sign.name().into());
    }
    all
}

/// What the neurons receive: where no norm stands before them there is nothing to fold.
fn layer_norm(options: &Options, model: &dyn Model) -> LayerNorm {
    let reads_tokens = model.d_vocab() > 0;
    match options.given(LAYER_NORM) || model.folds() || !reads_tokens {
        true => options.get(LAYER_NORM),
        false => LayerNorm::Raw,
    }
}

/// Which lists of examples the neurons get. The sign of a gated neuron's activation is that of its weights up and out
/// together, which may both be flipped, so neither sign is the natural one.
fn sign(options: &Options, model: &dyn Model) -> Result<Sign> {
    let gated = model.layers().iter().any(|layer| layer.gated);
    match (gated, options.get(SIGN)) {
        (true, sign) => {
            let sign = sign.unwrap_or(Sign::Both);
            match options.given(MAX_ACTIVATIONS) && sign != Sign::Positive {
                true => plan_err!(
                    "sign must be 'positive' with max_activations, which give one maximum a neuron, got '{}'",
                    sign.name()
                ),
                false => Ok(sign),
            }
        }
        (false, None) => Ok(Sign::Positive),
        (false, Some(sign)) => plan_err!(
            "sign must come with gated neurons, got '{}' for the plain ones of architecture {}",
            sign.name(),
            model.architecture()
        ),
    }
}

/// Refuses options that say something of a network of another kind.
fn check_effect(options: &Options, model: &dyn Model) -> Result<()> {
    if model.d_vocab() > 0 || model.image().is_some() {
        return Ok(());
    }
    match options.any_given(&[WINDOW.spec, WINDOW_VECTORS.spec, LAYER_NORM.spec]) {
        None => Ok(()),
        Some(name) => plan_err!(
            "{name} must come with a model that reads tokens, got architecture {}",
            model.architecture()
        ),
    }
}
