//! A corpus through a model into a run: dataset examples of every neuron, exact, in one pass.
//!
//! [`ingest`] blocks; whoever serves others calls it off their threads. Memory: a text file or a batch of rows, the
//! documents' lengths, a histogram per neuron and the candidates of the examples; vectors, windows and token ids
//! wait on disk.

use std::path::PathBuf;

use datafusion::common::plan_err;
use datafusion::error::Result;
use serde_json::{Map, Value};

use super::checkpoint::{Identity, IngestCheckpoints, IngestState};
use super::context::Context;
use super::forward::Forward;
use super::layer::Layer;
use super::options::{
    CHECKPOINT_EVERY, INGEST, LAYER_NORM, MAX_ACTIVATIONS, MaxActivations, Pick, REPLACE, RESUME,
    SIGN, Sign, WINDOW, WINDOW_VECTORS,
};
use super::progress::{Progress, Reporter};
use super::write;
use crate::corpus::{
    BOS, CorpusPlace, CorpusReader, FoundCorpus, Target, check_lengths, find_corpus, has_special,
};
use crate::files::clock;
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

/// Sends a corpus through a model and commits what its neurons respond to as a run.
///
/// `progress` is called several times a second. Once `context` is cancelled the work ends within a second or two, with
/// an error; after any error there is no run, one that was to be replaced is untouched, and the same call goes on from the
/// last checkpoint if there is one.
pub fn ingest(
    store: &Store,
    request: &IngestRequest,
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunManifest> {
    ingest_rows(store, request, None, context, progress)
}

/// As [`ingest`], of the rows of a relation where these are given.
pub fn ingest_rows(
    store: &Store,
    request: &IngestRequest,
    rows: Option<&Rows>,
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunManifest> {
    let options = &request.options;
    check(options)?;
    if request.max_activations.is_none()
        && let Some(table) = options.get(MAX_ACTIVATIONS)
    {
        return plan_err!("the rows of max_activations are required, got '{table}' unread");
    }
    let mut report = Reporter::new(progress, context);
    let mut run = store.begin(&request.run, options.get(REPLACE))?;
    let checkpoints = IngestCheckpoints::of(store, &request.run)?;
    if !options.get(RESUME) {
        checkpoints.remove()?;
    }
    run.ends(checkpoints.generations().clone());
    let found = checkpoints.find()?;
    if let Some(found) = &found {
        report.keep(found.at.documents as u64);
    }
    let (model_path, files) = places(store, request, rows, context, &mut report)?;
    let message = format!("reading {}", request.corpus.display());
    report.begin("tokenize", None, message)?;
    let model = loaded(store.loaded(), &model_path)?;
    check_effect(options, model.model.as_ref())?;
    // What cannot be written down is refused before the work.
    let sources = Sources::new(request, rows, files.as_ref(), &model_path)?;
    let settled = Settled::new(request, &model)?;
    let mut identity = Identity::new(
        settled.recorded.clone(),
        &model.hash,
        request.max_activations.as_ref(),
    );
    let found = checkpoints.require(found, &identity, store)?;
    let mut reader = CorpusReader::read(
        model,
        sources.place,
        options,
        Target::Run(&mut run),
        context,
        &mut |documents, tokens| {
            report.advance(documents, tokens);
            report.tick()
        },
    )?;
    identity.of_corpus(reader.corpus_hash(), &reader.documents);
    let found = checkpoints.require(found, &identity, store)?;
    let resumed = found.as_ref().map(|found| found.at.documents);
    let resumed = resumed.map_or(String::new(), |n| format!(", resumed at {n} documents"));
    let message = format!("running {}{resumed}", request.model.display());
    report.begin("forward", Some(reader.n_documents() as u64), message)?;
    let layers = new_layers(request, settled.sign, &reader, &run, context)?;
    let mut forward = Forward::begin(
        layers,
        IngestState::new(identity, reader.start(), checkpoints.committed(store)),
        found,
        &reader,
        &checkpoints,
        options.get(CHECKPOINT_EVERY),
    )?;
    forward.run(&mut reader, settled.layer_norm, &mut report)?;
    let message = format!("writing run {}", request.run);
    report.begin("write", Some(reader.n_documents() as u64), message)?;
    write_run(request, &reader, &forward, &settled, &run, &mut report)?;
    let manifest = sources.manifest(request, settled, &reader, &run, forward.seconds(&report));
    report.tick()?;
    let most = forward.state.most_candidates;
    // The spool files must be closed before the scratch folder goes.
    drop(forward);
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

/// What the model settles of the options.
struct Settled {
    sign: Sign,
    layer_norm: LayerNorm,
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

/// Where model and corpus are, fetched from the hub where it is named; no files of the rows of a relation.
fn places(
    store: &Store,
    request: &IngestRequest,
    rows: Option<&Rows>,
    context: &JobContext,
    report: &mut Reporter<'_>,
) -> Result<(ModelPath, Option<FoundCorpus>)> {
    let mut fetch = context.fetch_telling(|doing| report.fetch(doing));
    let model = find_model(store, &request.model, &mut fetch)?;
    let files = match rows {
        None => Some(find_corpus(&request.corpus, &mut fetch)?),
        Some(_) => None,
    };
    Ok((model, files))
}

/// Where the model and the corpus are from.
struct Sources<'a> {
    place: CorpusPlace<'a>,
    model: Source,
    corpus: Source,
}

impl<'a> Sources<'a> {
    fn new(
        request: &'a IngestRequest,
        rows: Option<&'a Rows>,
        files: Option<&'a FoundCorpus>,
        model: &ModelPath,
    ) -> Result<Self> {
        let (place, corpus) = match (rows, files) {
            (None, None) => {
                return plan_err!("files or rows of a corpus are required, got neither");
            }
            (None, Some(found)) => (CorpusPlace::Files(&found.place), found.source()?),
            (Some(rows), _) => {
                let Some(written) = request.corpus.to_str() else {
                    return plan_err!(
                        "a corpus written in UTF-8 is required, got {}",
                        request.corpus.display()
                    );
                };
                (
                    CorpusPlace::Relation(rows, written),
                    Source::of_relation(written),
                )
            }
        };
        Ok(Self {
            place,
            model: model.source("")?,
            corpus,
        })
    }

    fn manifest(
        self,
        request: &IngestRequest,
        settled: Settled,
        reader: &CorpusReader,
        run: &RunWriter,
        seconds: f64,
    ) -> RunManifest {
        RunManifest {
            run: request.run.clone(),
            model: Source {
                hash: reader.model_hash().to_string(),
                ..self.model
            },
            architecture: reader.model().architecture().to_string(),
            weight_types: reader.weight_types().to_vec(),
            corpus: Source {
                hash: reader.corpus_hash().to_string(),
                ..self.corpus
            },
            layer_norm: settled.layer_norm.name().to_string(),
            options: settled.recorded,
            versions: Versions::default(),
            counts: run.counts(),
            seconds,
            created_at: clock::seconds(),
        }
    }
}

/// A layer of neurons for each of the model's, which have seen nothing.
fn new_layers(
    request: &IngestRequest,
    sign: Sign,
    reader: &CorpusReader,
    run: &RunWriter,
    context: &JobContext,
) -> Result<Vec<Layer>> {
    let pick = Pick {
        options: &request.options,
        maxima: request.max_activations.as_ref(),
        sign,
        longest: reader.documents.longest(),
        skip: usize::from(reader.has_bos()),
    };
    let layers = reader.model().layers().iter().enumerate();
    let layers = layers.map(|(index, info)| {
        let memory = context.memory("candidates");
        Layer::new(index, info, pick, run.scratch(), memory)
    });
    layers.collect()
}

/// Writes the tables of the layers.
fn write_run(
    request: &IngestRequest,
    reader: &CorpusReader,
    forward: &Forward<'_>,
    settled: &Settled,
    run: &RunWriter,
    report: &mut Reporter<'_>,
) -> Result<()> {
    let model = reader.model();
    write::write_layers(model.layers(), run)?;
    let parts = Context {
        weights: &|layer| model.neuron_weights(layer, settled.layer_norm),
        maxima: request.max_activations.as_ref(),
        documents: &reader.documents,
        weights_bytes: (0..forward.layers.len())
            .map(|layer| model.neuron_bytes(layer))
            .max()
            .unwrap_or(0),
        memory: report.memory("writing"),
    };
    write::write_all(&parts, &forward.layers, run, report)
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

/// Refuses options that exclude each other.
fn check(options: &Options) -> Result<()> {
    options.check(&INGEST)?;
    check_lengths(options)
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
