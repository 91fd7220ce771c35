//! A corpus through a model into a run: dataset examples of every neuron, exact, in one pass.
//!
//! [`ingest`] blocks; whoever serves others calls it off their threads. Memory: a text file or a batch of rows, the
//! documents' lengths, a histogram per neuron and the candidates of the examples; vectors, windows and token ids
//! wait on disk.

mod candidates;
mod corpus;
mod documents;
mod examples;
mod forward;
mod hooks;
mod idx;
mod images;
mod import;
mod jsonl;
mod latents;
mod observe;
mod options;
mod progress;
mod readable;
mod reading;
mod segments;
mod spool;
mod tokenize;
mod train;
mod vectors;
mod write;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use datafusion::common::plan_err;
use datafusion::error::Result;

pub use images::Split;
pub use import::{ImportRequest, import_options, import_run};
pub use latents::{Attached, Latents, add_to_run, make_run, require_own_run};
pub use options::{IngestOptions, MaxActivations, OPTIONS, OptionDoc, Order, options_markdown};
pub use progress::Progress;
pub use readable::{CorpusOptions, in_name_of};
pub use reading::{ActivationBatch, CorpusReader, ReadBatch};
pub use train::{TrainProgress, TrainRequest, train_mlp};
pub use vectors::{ModelVectors, VectorBatch, VectorSource};

use crate::models::load;
use crate::store::{Counts, RunManifest, Source, Store, Versions};
use documents::Target;
use observe::Layer;
use progress::Reporter;

/// What to ingest.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Name of the run.
    pub run: String,
    /// Folder or file of the model, or the name of a stored one.
    pub model: PathBuf,
    /// The corpus: a `.txt`, `.jsonl` or `.parquet` file, or images in idx files.
    pub corpus: PathBuf,
    /// How.
    pub options: IngestOptions,
}

/// Sends a corpus through a model and commits what its neurons respond to as a run.
///
/// `progress` is called several times a second. Once `cancelled` is true the work ends within a second or two, with
/// an error; after any error there is no run, and one that was to be replaced is untouched.
pub fn ingest(
    store: &Store,
    request: &IngestRequest,
    cancelled: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunManifest> {
    let options = &request.options;
    options.check()?;
    if options.max_activations.is_none()
        && let Some(table) = &options.max_activations_table
    {
        return plan_err!("ingest: the rows of max_activations are required, got '{table}' unread");
    }
    let mut report = Reporter::new(progress, cancelled);
    let mut run = store.begin(&request.run, options.replace)?;
    let message = format!("reading {}", request.corpus.display());
    report.begin("tokenize", None, message)?;
    let mut reader = CorpusReader::read(
        load(&store.resolve_model(&request.model)?)?,
        &request.corpus,
        &options.corpus(),
        Target::Run(&mut run),
        &mut |documents, tokens| {
            report.advance(documents, tokens);
            report.tick()
        },
    )?;
    // No window is wider than the longest document.
    let options = &IngestOptions {
        window: options.window.min(reader.model().n_ctx() - 1),
        ..options.clone()
    };
    let mut layers = (reader.model().layers().iter().enumerate())
        .map(|(index, info)| Layer::new(index, info, options, run.scratch()))
        .collect::<Result<Vec<_>>>()?;
    let n_documents = reader.n_documents() as u64;
    let message = format!("running {}", request.model.display());
    report.begin("forward", Some(n_documents), message)?;
    let most = forward::forward(&mut reader, &mut layers, options, &mut report)?;
    let message = format!("writing run {}", request.run);
    report.begin("write", Some(n_documents), message)?;
    let model = reader.model();
    write::write_layers(model.layers(), &run)?;
    let mut counts = Counts {
        documents: n_documents,
        tokens: reader.n_tokens() as u64,
        layers: layers.len() as u64,
        ..Counts::default()
    };
    let context = write::Context {
        weights: &|layer| model.neuron_weights(layer, options.layer_norm),
        options,
        documents: &reader.documents,
    };
    let written = write::write_all(&context, &layers, &run, &mut report)?;
    counts.neurons = layers.iter().map(|layer| layer.n_neurons as u64).sum();
    counts.examples = written.examples;
    counts.vectors = written.vectors;
    let manifest = RunManifest {
        run: request.run.clone(),
        model: Source {
            path: request.model.display().to_string(),
            hash: reader.model_hash().to_string(),
        },
        architecture: model.architecture().to_string(),
        corpus: Source {
            path: request.corpus.display().to_string(),
            hash: reader.corpus_hash().to_string(),
        },
        layer_norm: options::layer_norm_name(options.layer_norm).to_string(),
        options: request.options.to_json(),
        versions: Versions::default(),
        counts,
        seconds: report.seconds(),
        created_at: RunManifest::now(),
    };
    report.tick()?;
    // The spool files must be closed before the scratch folder goes.
    drop((layers, reader));
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
