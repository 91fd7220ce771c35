//! How far an ingest has come, on disk, so that one that was killed or cancelled goes on to the same bytes.
//!
//! A checkpoint has what the layers have seen (`layers`) and spooled. Spooled files only grow:
//! a checkpoint has a second name of each and counts its records, and what was added since is cut off. Documents are read
//! and their tables written anew, which takes little beside the forward pass.

use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::layer::Layer;
use super::options::MaxActivations;
use crate::corpus::{Documents, ReadFrom};
use crate::files::checkpoint_files::{CheckpointFiles, anew};
use crate::files::file_sum::FileSum;
use crate::files::generations::Generations;
use crate::files::numbers::{NumbersReader, NumbersWriter};
use crate::store::{CorpusShard, Store};

const LAYERS: &str = "layers";

/// How far an ingest has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct IngestState {
    pub(super) of: Identity,
    /// When the run was made that was there as it began, if there was one.
    #[serde(default)]
    pub(super) replaces: Option<i64>,
    /// Where in its documents it is.
    pub(super) at: ReadFrom,
    /// Tokens of the documents read.
    pub(super) tokens: u64,
    /// Documents of the pass that some layers have seen and some have not; 0 if there is none.
    pub(super) interrupted: usize,
    /// The most candidates that were in memory at once.
    pub(super) most_candidates: usize,
    /// Seconds of work.
    pub(super) seconds: f64,
}

/// What a checkpoint says.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    state: IngestState,
    /// Of the file of layers.
    hash: String,
}

/// The checkpoints of one ingest.
#[derive(Debug)]
pub(super) struct IngestCheckpoints {
    run: String,
    of: CheckpointFiles<Saved>,
}

impl IngestCheckpoints {
    /// Those of the ingest of a run that is being written.
    pub(super) fn of(store: &Store, run: &str) -> Result<Self> {
        Ok(Self::within(run, store.unfinished_run(run)?))
    }

    /// Those of a shard of it.
    pub(super) fn of_shard(store: &Store, run: &str, shard: CorpusShard) -> Result<Self> {
        Ok(Self::within(run, store.unfinished_shard(run, shard)?))
    }

    fn within(run: &str, of: Generations) -> Self {
        Self {
            run: run.to_string(),
            of: CheckpointFiles::new(of),
        }
    }

    /// Refuses to begin where an ingest of another kind was interrupted, in one pass or in shards: see
    /// [`IngestCheckpoints::require`].
    pub(super) fn require_all(store: &Store, run: &str, own: &Identity) -> Result<()> {
        let whole = store.unfinished_run(run)?;
        for of in store.unfinished_shards(run)?.into_iter().chain([whole]) {
            let kept = Self::within(run, of);
            kept.require(kept.find()?, own, store)?;
        }
        Ok(())
    }

    /// Removes those of which a run was made since they began: who made it was killed before it could.
    pub(super) fn remove_made(
        store: &Store,
        run: &str,
        maxima: Option<&MaxActivations>,
    ) -> Result<()> {
        if !store.has(run) {
            return Ok(());
        }
        let made = store.run(run)?;
        let made = made.manifest();
        let whole = store.unfinished_run(run)?;
        for of in store.unfinished_shards(run)?.into_iter().chain([whole]) {
            let kept = Self::within(run, of);
            let is_made = |state: &IngestState| {
                state.replaces != Some(made.created_at) && state.of.has_made(made, maxima)
            };
            if kept.find()?.as_ref().is_some_and(is_made) {
                kept.remove()?;
            }
        }
        Ok(())
    }

    /// Where they lie.
    pub(super) fn generations(&self) -> &Generations {
        self.of.generations()
    }

    /// Writes a checkpoint in place of the last one, which stays if this one cannot be written.
    pub(super) fn write(&self, layers: &mut [Layer], state: IngestState) -> Result<()> {
        self.of.write(|folder| {
            let path = folder.join(LAYERS);
            let mut out = NumbersWriter::create(&path)?;
            let mut files = vec![];
            for layer in layers {
                files.extend(layer.save(folder, &mut out)?);
            }
            let hash = out.finish()?;
            files.push(FileSum::of(&path)?);
            Ok((Saved { state, hash }, files))
        })
    }

    /// The last checkpoint, if there is one.
    pub(super) fn find(&self) -> Result<Option<IngestState>> {
        Ok(self.of.find()?.map(|saved| saved.state))
    }

    /// What was found, if this ingest can go on from it.
    ///
    /// Errors: it is of another one. One whose run was committed since, which is another than when it began, is removed
    /// instead: it was killed before it could clean up.
    pub(super) fn require(
        &self,
        found: Option<IngestState>,
        own: &Identity,
        store: &Store,
    ) -> Result<Option<IngestState>> {
        let Some(state) = found else {
            return Ok(None);
        };
        let names = own.difference(&state.of);
        if names.is_empty() {
            return Ok(Some(state));
        }
        let committed = self.committed(store);
        if committed.is_some() && committed != state.replaces {
            self.remove()?;
            return Ok(None);
        }
        plan_err!(
            "the options, model and corpus of the interrupted ingest of '{}' are required, got other ones ({}): pass \
             resume: false to begin anew",
            self.run,
            names.join(", ")
        )
    }

    /// When the run of that name was made, if there is one.
    pub(super) fn committed(&self, store: &Store) -> Option<i64> {
        let run = store.has(&self.run).then(|| store.run(&self.run).ok());
        run.flatten().map(|run| run.manifest().created_at)
    }

    /// Removes every checkpoint, readable or not.
    pub(super) fn remove(&self) -> Result<()> {
        self.of.remove()
    }

    /// Gives new layers what those of the last checkpoint had seen of these documents; how far that is.
    pub(super) fn restore(
        &self,
        layers: &mut [Layer],
        documents: &Documents,
    ) -> Result<IngestState> {
        let (saved, generation) = self.of.open()?;
        let path = generation.path().join(LAYERS);
        let restored = || -> Result<()> {
            let mut reader = NumbersReader::open(&path)?;
            for layer in layers {
                layer.restore(generation.path(), &mut reader, documents)?;
            }
            reader.finish(&saved.hash)
        };
        match restored() {
            Ok(()) => Ok(saved.state),
            // No damage: more memory helps.
            Err(error @ DataFusionError::ResourcesExhausted(_)) => Err(error),
            Err(error) => Err(anew(&error)),
        }
    }
}

impl IngestState {
    /// That of an ingest that begins, where a run was made at `replaces`.
    pub(super) fn new(of: Identity, at: ReadFrom, replaces: Option<i64>) -> Self {
        Self {
            of,
            replaces,
            at,
            tokens: 0,
            interrupted: 0,
            most_candidates: 0,
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Map;

    use super::*;
    use crate::corpus::ReadBatch;
    use crate::files::faults::each;
    use crate::jobs::JobContext;
    use crate::models::LayerInfo;
    use crate::options::Options;
    use crate::runs::options::{Pick, Sign, WINDOW};

    fn layer(scratch: &Path) -> Layer {
        let options = Options::default().with(WINDOW, 1);
        let pick = Pick {
            options: &options,
            maxima: None,
            sign: Sign::Both,
            longest: 2,
            skip: 0,
        };
        let info = LayerInfo {
            name: "blocks.0.mlp".to_string(),
            d_in: 2,
            n_neurons: 3,
            activation_function: "relu".to_string(),
            gated: true,
        };
        let memory = JobContext::default().memory("layer");
        Layer::new(0, &info, pick, scratch, memory).expect("a layer")
    }

    fn documents(n: u32) -> Documents {
        Documents {
            starts: (0..=n).map(|document| 2 * document).collect(),
            closing: 0,
        }
    }

    /// Shows it a document more, whose activations tell which.
    fn observe(layer: &mut Layer, document: u32) {
        let batch = ReadBatch {
            documents: vec![(document, 2)],
            closing: 0,
            seq: 2,
            ends_block: true,
            at_once: 1,
        };
        let x = 1.0 + document as f32 / 8.0;
        let values = [x, -x, 0.5, -0.5, x, -x];
        let received = [x, 0.0, 0.0, x];
        layer.observe(&batch, &values, &received).expect("observed");
        layer.end_block().expect("ended");
    }

    fn state(documents: usize) -> IngestState {
        let at = ReadFrom {
            documents,
            at_once: 1,
        };
        IngestState::new(Identity::new(Map::new(), "", None), at, None)
    }

    #[test]
    fn a_checkpoint_is_the_old_or_the_new_whatever_fails() {
        let wanted = |n: u32| {
            let folder = tempfile::tempdir().expect("a folder");
            let mut layer = layer(folder.path());
            (0..n).for_each(|document| observe(&mut layer, document));
            layer.select()
        };
        let begin = || {
            let folder = tempfile::tempdir().expect("a folder");
            let mut seen = layer(folder.path());
            observe(&mut seen, 0);
            let checkpoints = IngestCheckpoints {
                run: "r".to_string(),
                of: CheckpointFiles::new(Generations::new(
                    folder.path().join("kept"),
                    "checkpoint.json",
                )),
            };
            let written = checkpoints.write(std::slice::from_mut(&mut seen), state(1));
            written.expect("written");
            observe(&mut seen, 1);
            (folder, checkpoints, std::cell::RefCell::new(seen))
        };
        let work = |(_, checkpoints, seen): &(_, IngestCheckpoints, std::cell::RefCell<Layer>)| {
            let mut seen = seen.borrow_mut();
            checkpoints.write(std::slice::from_mut(&mut *seen), state(2))
        };
        let steps = each(begin, work, |(folder, checkpoints, _), done, fault| {
            let found = checkpoints.find().expect(fault).expect("a checkpoint");
            let n = found.at.documents as u32;
            assert!(done.is_err() || n == 2, "{fault}");
            let scratch = tempfile::tempdir_in(folder.path()).expect("a folder");
            let mut restored = layer(scratch.path());
            let layers = std::slice::from_mut(&mut restored);
            checkpoints.restore(layers, &documents(n)).expect(fault);
            assert!(restored.select() == wanted(n), "{fault}: {n}");
            // It goes on as one that was not interrupted.
            (n..4).for_each(|document| observe(&mut restored, document));
            assert!(restored.select() == wanted(4), "{fault}: {n}");
            checkpoints.remove().expect(fault);
            assert!(!folder.path().join("kept").exists(), "{fault}");
        });
        assert!(steps > 10, "{steps} changes");
    }

    #[test]
    fn candidates_of_documents_that_were_not_read_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut seen = layer(folder.path());
        (0..3).for_each(|document| observe(&mut seen, document));
        let checkpoints = IngestCheckpoints {
            run: "r".to_string(),
            of: CheckpointFiles::new(Generations::new(
                folder.path().join("kept"),
                "checkpoint.json",
            )),
        };
        let written = checkpoints.write(std::slice::from_mut(&mut seen), state(3));
        written.expect("written");
        let scratch = tempfile::tempdir().expect("a folder");
        let mut restored = layer(scratch.path());
        let layers = std::slice::from_mut(&mut restored);
        let error = checkpoints.restore(layers, &documents(2));
        let error = error.expect_err("refused").strip_backtrace();
        assert!(
            error.contains("candidates of documents that were read"),
            "{error}"
        );
    }
}
