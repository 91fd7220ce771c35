//! A corpus through a model into a run: dataset examples of every neuron, exact, in one pass.
//!
//! [`ingest`] blocks; whoever serves others calls it off their threads. Memory: a text file or a batch of rows, the
//! documents' lengths, a histogram per neuron and the candidates of the examples; vectors, windows and token ids
//! wait on disk.

use std::path::PathBuf;

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use serde_json::{Map, Value};

use super::context::Context;
use super::layer::Layer;
use super::observer::{NeuronHooks, Observer};
use super::options::{
    INGEST, LAYER_NORM, MAX_ACTIVATIONS, MaxActivations, Pick, REPLACE, SIGN, Sign, WINDOW,
    WINDOW_VECTORS,
};
use super::progress::{Progress, Reporter};
use super::write;
use crate::corpus::{CorpusPlace, CorpusReader, Target, check_lengths};
use crate::files::clock;
use crate::jobs::{JobContext, Rows};
use crate::models::{LayerNorm, Model, loaded};
use crate::options::{Options, Word};
use crate::store::{RunManifest, Source, Store, Versions};

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
/// an error; after any error there is no run, and one that was to be replaced is untouched.
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
    let message = format!("reading {}", request.corpus.display());
    report.begin("tokenize", None, message)?;
    let model_path = store.resolve_model(&request.model)?;
    let model = loaded(store.loaded(), &model_path)?;
    check_effect(options, model.model.as_ref())?;
    // What cannot be written down is refused before the work.
    let written = request.corpus.to_string_lossy();
    let (corpus, corpus_source) = match rows {
        None => (
            CorpusPlace::Files(&request.corpus),
            Source::of(&request.corpus, "")?,
        ),
        Some(rows) => (
            CorpusPlace::Relation(rows, &written),
            Source::of_relation(&written),
        ),
    };
    let model_source = model_path.source("")?;
    let mut reader = CorpusReader::read(
        model,
        corpus,
        options,
        Target::Run(&mut run),
        context,
        &mut |documents, tokens| {
            report.advance(documents, tokens);
            report.tick()
        },
    )?;
    let maxima = request.max_activations.as_ref();
    let pick = Pick {
        options,
        maxima,
        sign: sign(options, reader.model())?,
        longest: reader.documents.longest(),
        skip: usize::from(reader.has_bos()),
    };
    let mut layers = (reader.model().layers().iter().enumerate())
        .map(|(index, info)| {
            let memory = context.memory("candidates");
            Layer::new(index, info, pick, run.scratch(), memory)
        })
        .collect::<Result<Vec<_>>>()?;
    let n_documents = reader.n_documents() as u64;
    let message = format!("running {}", request.model.display());
    report.begin("forward", Some(n_documents), message)?;
    let layer_norm = layer_norm(options, reader.model());
    let most = forward(&mut reader, &mut layers, layer_norm, &mut report)?;
    let message = format!("writing run {}", request.run);
    report.begin("write", Some(n_documents), message)?;
    let model = reader.model();
    write::write_layers(model.layers(), &run)?;
    let parts = Context {
        weights: &|layer| model.neuron_weights(layer, layer_norm),
        maxima,
        documents: &reader.documents,
        weights_bytes: (0..layers.len())
            .map(|layer| model.neuron_bytes(layer))
            .max()
            .unwrap_or(0),
        memory: context.memory("writing"),
    };
    write::write_all(&parts, &layers, &run, &mut report)?;
    let counts = run.counts();
    let manifest = RunManifest {
        run: request.run.clone(),
        model: Source {
            hash: reader.model_hash().to_string(),
            ..model_source
        },
        architecture: model.architecture().to_string(),
        corpus: Source {
            hash: reader.corpus_hash().to_string(),
            ..corpus_source
        },
        layer_norm: layer_norm.name().to_string(),
        options: recorded(options, maxima, pick.sign, reader.model()),
        versions: Versions::default(),
        counts,
        seconds: report.seconds(),
        created_at: clock::seconds(),
    };
    report.tick()?;
    // The spool files must be closed before the scratch folder goes.
    drop((layers, parts));
    drop(reader);
    run.commit(manifest.clone())?;
    report.finish(
        &counts,
        format!(
            "run {}: {} examples of {} neurons, at most {most} candidates in memory",
            request.run, counts.examples, counts.neurons
        ),
    );
    Ok(manifest)
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
    if model.d_vocab() > 0 {
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

/// The most candidates that were in memory at once.
fn forward(
    reader: &mut CorpusReader,
    layers: &mut [Layer],
    layer_norm: LayerNorm,
    report: &mut Reporter<'_>,
) -> Result<usize> {
    let places = (0..layers.len())
        .map(|layer| {
            Ok(NeuronHooks {
                received: reader.model().received_at(layer, layer_norm)?,
                activation: reader.model().activation_at(layer),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut most = 0;
    reader.for_each_batch(&mut |model, batch, input| {
        let n_tokens: usize = batch.documents.iter().map(|(_, n)| n).sum();
        let mut observer = Observer {
            layers: &mut *layers,
            places: &places,
            batch,
            report: &mut *report,
            seen: [None, None],
        };
        model.forward(input, &mut observer)?;
        report.advance(batch.documents.len() as u64, n_tokens as u64);
        report.tick()?;
        if batch.ends_block {
            most = most.max(layers.iter().map(Layer::n_candidates).sum());
            for layer in &mut *layers {
                layer.end_block()?;
            }
        }
        Ok(())
    })?;
    for layer in &mut *layers {
        let (activity, _) = layer.activity(0);
        let seen: u64 = activity.histogram[0].iter().map(|n| u64::from(*n)).sum();
        let expected = reader.n_rows();
        if seen != expected as u64 {
            return exec_err!(
                "{expected} activations of each neuron are required, got {seen} in layer {}",
                layer.index
            );
        }
        layer.flush()?;
    }
    Ok(most)
}
