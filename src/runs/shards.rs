//! An ingest in shards, ranges of consecutive documents, by as many processes as make the same call on one store.
//!
//! A checkpoint of all documents of a shard is its result. Who finds all of them done merges them in their order, so that
//! maxima are those of all documents and the first examples of the corpus the first ones of the shards.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::checkpoint::{IngestCheckpoints, IngestState};
use super::forward::Stretch;
use super::identity::Identity;
use super::inputs::{AllSeen, IngestInputs, IngestRequest, begin_reading};
use super::layer::Layer;
use super::options::{REPLACE, RESUME, SHARDS};
use super::progress::Reporter;
use crate::corpus::{CorpusReader, Target};
use crate::files::scratch::Scratch;
use crate::files::{disk, file_error};
use crate::jobs::{JobContext, Rows};
use crate::store::{CorpusShard, RunManifest, RunWriter, Store, Tried};

/// Between two looks at what other processes do.
const PAUSE: Duration = Duration::from_millis(50);

/// A shard and how far it is.
struct ShardWork {
    shard: CorpusShard,
    documents: Range<usize>,
    checkpoints: IngestCheckpoints,
    identity: Identity,
}

impl ShardWork {
    /// Whether a checkpoint has all of it.
    fn is_done(&self, found: Option<&IngestState>) -> bool {
        found.is_some_and(|found| found.at.documents == self.documents.end)
    }
}

/// One ingest, as this process sees it.
struct ShardedIngest<'a> {
    inputs: IngestInputs<'a>,
    /// The files of the run that was there as this process began.
    before: Option<PathBuf>,
}

/// Works on the shards that nobody works on, waits for the others, and merges them unless another process does.
pub(super) fn ingest(
    store: &Store,
    request: &IngestRequest,
    rows: Option<&Rows>,
    context: &JobContext,
    report: &mut Reporter<'_>,
) -> Result<RunManifest> {
    let name = &request.run;
    store.begin_shards(name, request.options.get(REPLACE))?;
    let before = store.generation(name);
    if !request.options.get(RESUME) {
        store.remove_unfinished(name)?;
    }
    let inputs = IngestInputs::new(store, request, rows, context, report)?;
    IngestCheckpoints::require_all(store, name, &inputs.identity())?;
    let all = ShardedIngest { inputs, before };
    let identity = all.work(report)?;
    let replace = request.options.get(REPLACE);
    let run = store.begin_after(name, replace, Some(&mut |held| report.wait(held)));
    if all.is_made() {
        return all.made(&identity, report);
    }
    all.merge(run?, report)
}

impl ShardedIngest<'_> {
    /// Whether another process has made the run since this one began.
    fn is_made(&self) -> bool {
        let IngestInputs { store, request, .. } = &self.inputs;
        store.generation(&request.run) != self.before
    }

    /// What the run is made of, and its shards, by the documents that were read.
    fn cut(&self, reader: &CorpusReader) -> Result<(Identity, Vec<ShardWork>)> {
        let IngestInputs { store, request, .. } = &self.inputs;
        let mut identity = self.inputs.identity();
        identity.of_corpus(reader.corpus_hash(), &reader.documents);
        IngestCheckpoints::require_all(store, &request.run, &identity)?;
        let of = request.options.get(SHARDS);
        let shards = reader.shards(of)?.into_iter().zip(1..);
        let shards = shards.map(|(documents, number)| {
            let shard = CorpusShard { number, of };
            Ok(ShardWork {
                shard,
                identity: identity.clone().of_documents(&documents),
                documents,
                checkpoints: IngestCheckpoints::of_shard(store, &request.run, shard)?,
            })
        });
        let shards = shards.collect::<Result<_>>()?;
        Ok((identity, shards))
    }

    /// Works on shards until all of them are done, or another process has made the run of them. What that is made of.
    fn work(&self, report: &mut Reporter<'_>) -> Result<Identity> {
        let IngestInputs { store, request, .. } = &self.inputs;
        let scratch = Scratch::new()?;
        let mut reader = (self.inputs).read(Target::Scratch(scratch.path()), report)?;
        let (identity, shards) = self.cut(&reader)?;
        // A commit removes the checkpoints.
        while !self.is_made() {
            let (mut others, mut done) = (None, 0);
            for work in &shards {
                if work.is_done(work.checkpoints.find()?.as_ref()) {
                    done += work.documents.len();
                    continue;
                }
                match store.hold_shard(&request.run, work.shard)? {
                    Tried::Held(by) => others = Some((work.shard, by)),
                    Tried::Locked(_held) => {
                        self.pass(work, done, &mut reader, scratch.path(), report)?;
                        done += work.documents.len();
                    }
                }
            }
            match others {
                None => return Ok(identity),
                Some((shard, by)) => report.wait(&format!("waiting for {shard}, of {by}"))?,
            }
            std::thread::sleep(PAUSE);
        }
        Ok(identity)
    }

    /// Sends the documents of a shard that is held through the model.
    fn pass(
        &self,
        work: &ShardWork,
        done: usize,
        reader: &mut CorpusReader,
        scratch: &Path,
        report: &mut Reporter<'_>,
    ) -> Result<()> {
        let found = work.checkpoints.find()?;
        // Another process may have ended it, or made the run of it, before this one held it.
        if work.is_done(found.as_ref()) || self.is_made() {
            return Ok(());
        }
        let found = (work.checkpoints).require(found, &work.identity, self.inputs.store)?;
        let folder = scratch.join("shard");
        disk::create_folder(&folder).map_err(|e| file_error("create", &folder, e))?;
        let stretch = Stretch {
            documents: work.documents.clone(),
            checkpoints: &work.checkpoints,
            said: format!(", {}", work.shard),
            done,
            others_seconds: report.seconds(),
        };
        let layers = self.layers(reader, &folder)?;
        let state = (work.identity.clone(), found);
        let mut forward = (self.inputs).forward(layers, state, reader, stretch, report)?;
        forward.keep(report)?;
        drop(forward);
        disk::remove_all(&folder).map_err(|e| file_error("remove", &folder, e))
    }

    fn layers(&self, reader: &CorpusReader, scratch: &Path) -> Result<Vec<Layer>> {
        let layers = self.inputs.layers(reader, scratch)?.into_iter();
        layers.map(|layer| layer.of_shard(scratch)).collect()
    }

    /// Makes the run of the shards.
    fn merge(self, mut run: RunWriter, report: &mut Reporter<'_>) -> Result<RunManifest> {
        begin_reading(self.inputs.request, report)?;
        let reader = self.inputs.read(Target::Run(&mut run), report)?;
        let (_, shards) = self.cut(&reader)?;
        let generations = |work: &ShardWork| work.checkpoints.generations().clone();
        run.ends(shards.iter().map(generations));
        let message = format!("merging {} shards", shards.len());
        report.begin("merge", Some(reader.n_documents() as u64), message)?;
        let mut layers = self.inputs.layers(&reader, run.scratch())?;
        layers.iter_mut().try_for_each(Layer::flush)?;
        let mut seen = AllSeen {
            layers,
            // The shards say what was worked on them, also by this process.
            seconds: -report.seconds(),
            most_candidates: 0,
        };
        for work in &shards {
            let folder = run.scratch().join(work.shard.number.to_string());
            disk::create_folder(&folder).map_err(|e| file_error("create", &folder, e))?;
            let mut later = self.layers(&reader, &folder)?;
            let state = work.checkpoints.restore(&mut later, &reader.documents)?;
            if !work.is_done(Some(&state)) {
                return exec_err!("all documents of {} are required, got fewer", work.shard);
            }
            for (layer, mut later) in seen.layers.iter_mut().zip(later) {
                later.flush()?;
                layer.follow(later)?;
                report.tick()?;
            }
            seen.seconds += state.seconds;
            seen.most_candidates = seen.most_candidates.max(state.most_candidates);
            report.advance(work.documents.len() as u64, state.tokens);
        }
        self.inputs.commit(run, reader, seen, report)
    }

    /// What another process has made of the shards.
    fn made(self, identity: &Identity, report: &mut Reporter<'_>) -> Result<RunManifest> {
        let IngestInputs { store, request, .. } = self.inputs;
        let name = &request.run;
        let run = store.run(name)?;
        let manifest = run.manifest();
        if !identity.has_made(manifest, request.max_activations.as_ref()) {
            return exec_err!(
                "run '{name}' of the same options, model and corpus is required of the process that made it \
                 meanwhile, got another one"
            );
        }
        // It may have been killed since, and what cannot be removed goes with the next call.
        let _ = IngestCheckpoints::remove_made(store, name, request.max_activations.as_ref());
        let counts = manifest.counts;
        report.finish(
            &counts,
            format!(
                "run {name}: {} examples of {} neurons, merged by another process",
                counts.examples, counts.neurons
            ),
        );
        Ok(manifest.clone())
    }
}
