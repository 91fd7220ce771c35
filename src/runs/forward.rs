//! The pass of all documents through the model, with a checkpoint now and then.

use std::ops::Range;
use std::time::Instant;

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::checkpoint::{IngestCheckpoints, IngestState};
use super::layer::Layer;
use super::observer::{NeuronHooks, Observer};
use super::progress::Reporter;
use crate::corpus::{CorpusReader, Documents, ReadBatch, ReadFrom};
use crate::models::LayerNorm;

/// Seconds of work that a cancelled ingest keeps, if its checkpoints are not nearer. Chosen: what is done again sooner than
/// its files are removed is not worth them.
const WORTH: f64 = 10.0;

/// What a pass is of.
pub(super) struct Stretch<'a> {
    /// Its documents: whole blocks of them.
    pub(super) documents: Range<usize>,
    pub(super) checkpoints: &'a IngestCheckpoints,
    /// Which part it is, for people; nothing if it is all.
    pub(super) said: String,
    /// Documents of other parts that are done.
    pub(super) done: usize,
    /// Seconds of this process's work that were other parts'.
    pub(super) others_seconds: f64,
}

impl Stretch<'_> {
    /// Says how many documents a checkpoint keeps, with those of the other parts.
    pub(super) fn say_kept(&self, state: &IngestState, report: &mut Reporter<'_>) {
        let done = self.done + state.at.documents - self.documents.start;
        report.keep(done as u64);
    }
}

/// A pass that is under way.
pub(super) struct Forward<'a> {
    pub(super) layers: Vec<Layer>,
    pub(super) state: IngestState,
    stretch: Stretch<'a>,
    /// Seconds between two checkpoints.
    every: f64,
    /// Seconds of work before an interruption.
    pub(super) before: f64,
    /// How far the last checkpoint is, if there is one.
    kept: Option<ReadFrom>,
    /// When it was written, or the pass begun.
    since: Instant,
}

impl<'a> Forward<'a> {
    /// From the first of the documents, or from where the last checkpoint is.
    pub(super) fn begin(
        mut layers: Vec<Layer>,
        begun: IngestState,
        found: Option<IngestState>,
        documents: &Documents,
        stretch: Stretch<'a>,
        every: f64,
    ) -> Result<Self> {
        if found.is_some() {
            stretch.checkpoints.restore(&mut layers, documents)?;
        }
        let kept = found.as_ref().map(|found| found.at);
        let state = found.unwrap_or(begun);
        Ok(Self {
            layers,
            before: state.seconds,
            state,
            stretch,
            every,
            kept,
            since: Instant::now(),
        })
    }

    /// Sends the documents that are left through the model.
    pub(super) fn run(
        &mut self,
        reader: &mut CorpusReader,
        layer_norm: LayerNorm,
        report: &mut Reporter<'_>,
    ) -> Result<()> {
        let places = (0..self.layers.len())
            .map(|layer| {
                Ok(NeuronHooks {
                    received: reader.model().received_at(layer, layer_norm)?,
                    activation: reader.model().activation_at(layer),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let Range { start, end } = self.stretch.documents;
        report.skip((self.state.at.documents - start) as u64, self.state.tokens);
        reader.for_each_batch_in(self.state.at, end, &mut |model, batch, input| {
            self.require_same(batch)?;
            let mut observer = Observer {
                layers: &mut self.layers,
                places: &places,
                batch,
                report: &mut *report,
                seen: [None, None],
            };
            model.forward(input, &mut observer)?;
            let seen_by_all = self.layers.iter().all(|layer| layer.ahead);
            match seen_by_all || !report.cancelled() {
                true => self.pass(batch, report)?,
                false => self.state.interrupted = batch.documents.len(),
            }
            let unsaved = self.since.elapsed().as_secs_f64();
            let worth = match report.cancelled() {
                true => self.every.min(WORTH),
                false => self.every,
            };
            if unsaved >= worth {
                self.save(report)?;
            }
            report.tick()
        })?;
        // What comes is done again as a whole.
        if self.kept.is_some_and(|kept| kept != self.state.at) {
            self.save(report)?;
        }
        let skip = usize::from(reader.has_bos());
        self.end(reader.documents.rows(start..end, skip))
    }

    /// Writes a checkpoint of all of it, whatever was written before.
    pub(super) fn keep(&mut self, report: &mut Reporter<'_>) -> Result<()> {
        match self.kept {
            Some(kept) if kept == self.state.at => Ok(()),
            _ => self.save(report),
        }
    }

    /// Some layers have seen a batch already, where a pass over it was interrupted: it must come again.
    fn require_same(&self, batch: &ReadBatch) -> Result<()> {
        match (self.state.interrupted, batch.documents.len()) {
            (0, _) => Ok(()),
            (required, found) if required == found => Ok(()),
            (required, found) => exec_err!(
                "memory for a pass over {required} documents at once, as before the interruption, is required to go on, \
                 got room for {found} (resume: false begins anew)"
            ),
        }
    }

    /// All layers have seen a batch.
    fn pass(&mut self, batch: &ReadBatch, report: &mut Reporter<'_>) -> Result<()> {
        let n_tokens = batch.documents.iter().map(|(_, n)| *n as u64).sum();
        self.state.at.pass(batch);
        self.state.tokens += n_tokens;
        self.state.interrupted = 0;
        report.advance(batch.documents.len() as u64, n_tokens);
        for layer in &mut self.layers {
            layer.ahead = false;
        }
        if batch.ends_block {
            let now = self.layers.iter().map(Layer::n_candidates).sum();
            self.state.most_candidates = self.state.most_candidates.max(now);
            self.layers.iter_mut().try_for_each(Layer::end_block)?;
        }
        Ok(())
    }

    /// Writes a checkpoint.
    fn save(&mut self, report: &mut Reporter<'_>) -> Result<()> {
        self.state.seconds = self.before + report.seconds() - self.stretch.others_seconds;
        let state = self.state.clone();
        self.stretch.checkpoints.write(&mut self.layers, state)?;
        self.stretch.say_kept(&self.state, report);
        self.kept = Some(self.state.at);
        self.since = Instant::now();
        Ok(())
    }

    /// Ends observing.
    fn end(&mut self, n_rows: usize) -> Result<()> {
        for layer in &mut self.layers {
            let (activity, _) = layer.activity(0);
            let seen: u64 = activity.histogram[0].iter().map(|n| u64::from(*n)).sum();
            if seen != n_rows as u64 {
                return exec_err!(
                    "{n_rows} activations of each neuron are required, got {seen} in layer {}",
                    layer.index
                );
            }
            layer.flush()?;
        }
        Ok(())
    }
}
