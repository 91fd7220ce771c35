//! A corpus through a model into a run: dataset examples of every neuron, exact, in one pass.
//!
//! [`ingest`] blocks; whoever serves others calls it off their threads. Memory: a text file or a batch of rows, the
//! documents' lengths, a histogram per neuron and the candidates of the examples; vectors, windows and token ids
//! wait on disk.

mod candidates;
mod corpus;
mod forward;
mod import;
mod jsonl;
mod observe;
mod options;
mod progress;
mod segments;
mod spool;
mod tokenize;
mod write;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;

pub use import::{ImportRequest, import_options, import_run};
pub use options::{IngestOptions, MaxActivations, OPTIONS, OptionDoc, Order, options_markdown};
pub use progress::Progress;

use crate::models::{LoadedModel, Tokenizer, load};
use crate::store::{Counts, RunManifest, Source, Store, Versions};
use corpus::Corpus;
use observe::Layer;
use progress::Reporter;

/// What to ingest.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Name of the run.
    pub run: String,
    /// Folder of the model.
    pub model: PathBuf,
    /// File of the corpus: `.txt`, `.jsonl` or `.parquet`.
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
    let loaded = load(&request.model)?;
    let tokenizer = readable_model(&loaded, request)?;
    let model = loaded.model.as_ref();
    let mut layers = (model.layers().iter().enumerate())
        .map(|(index, info)| Layer::new(index, info, options, run.scratch()))
        .collect::<Result<Vec<_>>>()?;
    let mut corpus = Corpus::open(&request.corpus, &options.column, &mut || report.tick())?;
    let mut documents = tokenize::tokenize(
        &mut corpus,
        &request.corpus,
        tokenizer,
        model.d_vocab(),
        options,
        &mut run,
        &mut report,
    )?;
    let n_documents = documents.len() as u64;
    let message = format!("running {}", request.model.display());
    report.begin("forward", Some(n_documents), message)?;
    let most = forward::forward(model, &mut documents, &mut layers, options, &mut report)?;
    let message = format!("writing run {}", request.run);
    report.begin("write", Some(n_documents), message)?;
    write::write_layers(model.layers(), &mut run)?;
    let mut counts = Counts {
        documents: n_documents,
        tokens: documents.total_tokens() as u64,
        layers: layers.len() as u64,
        ..Counts::default()
    };
    let context = write::Context {
        weights: &|layer| model.neuron_weights(layer, options.layer_norm),
        options,
        documents: &documents,
    };
    for layer in &mut layers {
        let written = write::write_layer(&context, layer, &mut run, &mut report)?;
        counts.neurons += layer.n_neurons as u64;
        counts.examples += written.examples;
        counts.vectors += written.vectors;
    }
    let manifest = RunManifest {
        run: request.run.clone(),
        model: Source {
            path: request.model.display().to_string(),
            hash: loaded.hash.clone(),
        },
        architecture: model.architecture().to_string(),
        corpus: Source {
            path: request.corpus.display().to_string(),
            hash: corpus.hash,
        },
        layer_norm: options::layer_norm_name(options.layer_norm).to_string(),
        options: options.to_json(),
        versions: Versions::default(),
        counts,
        seconds: report.seconds(),
        created_at: RunManifest::now(),
    };
    report.tick()?;
    // The spool files must be closed before the scratch folder goes.
    drop((layers, documents));
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

/// The tokenizer, if the model can read this request's documents.
fn readable_model<'a>(loaded: &'a LoadedModel, request: &IngestRequest) -> Result<&'a Tokenizer> {
    let model = loaded.model.as_ref();
    let folder = loaded.folder.display();
    if model.d_vocab() == 0 {
        return exec_err!(
            "ingest: a model that reads token ids is required, got architecture {} in {folder}",
            model.architecture()
        );
    }
    let context = request.options.context;
    if context > model.n_ctx() {
        return plan_err!(
            "ingest: context requires at most the model's {} positions, got {context}",
            model.n_ctx()
        );
    }
    match &loaded.tokenizer {
        Some(tokenizer) => Ok(tokenizer),
        None => exec_err!("ingest: a tokenizer is required, got no tokenizer.json in {folder}"),
    }
}
