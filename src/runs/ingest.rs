//! A corpus through a model into a run: dataset examples of every neuron, exact, in one pass.
//!
//! [`ingest`] blocks; whoever serves others calls it off their threads. Memory: a text file or a batch of rows, the
//! documents' lengths, a histogram per neuron and the candidates of the examples; vectors, windows and token ids
//! wait on disk.

use datafusion::common::plan_err;
use datafusion::error::Result;

use super::checkpoint::IngestCheckpoints;
use super::forward::Stretch;
use super::inputs::{AllSeen, IngestInputs, IngestRequest};
use super::options::{INGEST, MAX_ACTIVATIONS, REPLACE, RESUME, SHARDS};
use super::progress::{Progress, Reporter};
use super::shards;
use crate::corpus::{Target, check_lengths};
use crate::jobs::{JobContext, Rows};
use crate::options::Options;
use crate::store::{RunManifest, Store};

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
    // Of a run that is there, before that is refused. What cannot be read is an error where it is used.
    let _ = IngestCheckpoints::remove_made(store, &request.run, request.max_activations.as_ref());
    let mut report = Reporter::new(progress, context);
    if options.get(SHARDS) > 1 {
        return shards::ingest(store, request, rows, context, &mut report);
    }
    let mut run = store.begin(&request.run, options.get(REPLACE))?;
    let checkpoints = IngestCheckpoints::of(store, &request.run)?;
    if !options.get(RESUME) {
        checkpoints.remove()?;
        store.remove_shards(&request.run)?;
    }
    run.ends([checkpoints.generations().clone()]);
    let found = checkpoints.find()?;
    if let Some(found) = &found {
        report.keep(found.at.documents as u64);
    }
    let inputs = IngestInputs::new(store, request, rows, context, &mut report)?;
    let mut identity = inputs.identity();
    IngestCheckpoints::require_all(store, &request.run, &identity)?;
    let found = checkpoints.require(found, &identity, store)?;
    let mut reader = inputs.read(Target::Run(&mut run), &mut report)?;
    identity.of_corpus(reader.corpus_hash(), &reader.documents);
    let found = checkpoints.require(found, &identity, store)?;
    let layers = inputs.layers(&reader, run.scratch())?;
    let stretch = Stretch {
        documents: 0..reader.n_documents(),
        checkpoints: &checkpoints,
        said: String::new(),
        done: 0,
        others_seconds: 0.0,
    };
    let state = (identity, found);
    let forward = inputs.forward(layers, state, &mut reader, stretch, &mut report)?;
    let seen = AllSeen {
        seconds: forward.before,
        most_candidates: forward.state.most_candidates,
        layers: forward.layers,
    };
    inputs.commit(run, reader, seen, &mut report)
}

/// Refuses options that exclude each other.
fn check(options: &Options) -> Result<()> {
    options.check(&INGEST)?;
    check_lengths(options)
}
