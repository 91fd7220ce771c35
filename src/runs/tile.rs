//! What ingest keeps of a range of a layer's neurons while batches pass by.

use datafusion::common::exec_err;
use datafusion::error::Result;
use polysema_kernels::network::statistics::{Activity, Peak, troughs};

use super::candidates::{Candidate, Candidates};
use super::options::Pick;
use crate::corpus::ReadBatch;
use crate::files::numbers::{NumbersReader, NumbersWriter};

/// No vector is spooled for this position.
pub(super) const NONE: u32 = u32::MAX;

/// Activations of a batch. `[batch, seq, width]`
pub(super) struct BatchValues<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
}

/// A candidate of the current batch.
pub(super) struct Fresh {
    /// Which of the neuron's lists.
    pub(super) list: usize,
    pub(super) neuron: usize,
    /// Place of its document in the batch.
    pub(super) place: usize,
    pub(super) peak: Peak,
}

impl Fresh {
    /// The row of its key token in the batch.
    fn row(&self, batch: &ReadBatch) -> usize {
        self.place * batch.seq + self.peak.pos as usize
    }
}

/// The candidates of one sign.
pub(super) struct List {
    /// What activations are multiplied with, so that the peaks are maxima.
    pub(super) sign: f32,
    /// Largest of the negated activations, where it is of the least. `[width]`
    pub(super) mirror: Option<Vec<f32>>,
    pub(super) candidates: Candidates,
}

/// Statistics and candidates of a range of a layer's neurons.
pub(super) struct Tile {
    pub(super) first: usize,
    /// The sums are those of the current block.
    pub(super) activity: Activity,
    /// Sums of the activations in the blocks before it: block by block, so that it is the same whoever reads the blocks. `[width]`
    pub(super) sums: Vec<f64>,
    pub(super) lists: Vec<List>,
    peaks: Vec<Peak>,
    /// Candidates of the current batch.
    pub(super) fresh: Vec<Fresh>,
    /// The activations around each of them, padded to whole records.
    pub(super) windows: Vec<f32>,
    /// Which vectors were received before and at each of them, as records, where those are wanted.
    pub(super) window_vectors: Vec<u32>,
    /// Place in the batch of the first document that is not finite.
    pub(super) not_finite: Option<usize>,
}

impl Tile {
    /// The neurons `first..first + width` of a layer, which have seen nothing.
    pub(super) fn new(layer: usize, first: usize, width: usize, pick: Pick<'_>) -> Result<Self> {
        let lists = pick.sign.lists().iter().map(|sign| {
            Ok(List {
                sign: *sign,
                mirror: (*sign < 0.0).then(|| vec![f32::NEG_INFINITY; width]),
                candidates: Candidates::new(layer, first, width, pick)?,
            })
        });
        Ok(Self {
            first,
            activity: Activity::new(width),
            sums: vec![0.0; width],
            lists: lists.collect::<Result<_>>()?,
            peaks: vec![Peak::NONE; width],
            fresh: vec![],
            windows: vec![],
            window_vectors: vec![],
            not_finite: None,
        })
    }

    /// Adds a batch.
    pub(super) fn observe(
        &mut self,
        batch: &ReadBatch,
        values: &BatchValues<'_>,
        window: usize,
        skip: usize,
    ) {
        let width = values.width;
        for (place, (_, n_tokens)) in batch.documents.iter().enumerate() {
            let start = place * batch.seq * width;
            let document = &values.values[start..];
            let positions = skip..*n_tokens;
            let peaks = &mut self.peaks;
            let activity = &mut self.activity;
            let whole = n_tokens + batch.closing;
            let neurons = self.first..self.first + peaks.len();
            // Windows show the tokens around a document's own, too.
            let mut around = (0..skip.min(*n_tokens)).chain(*n_tokens..whole);
            let is_finite = |pos| {
                let row = &document[pos * width..][neurons.clone()];
                row.iter().all(|value| value.is_finite())
            };
            if !around.all(is_finite)
                || !activity.observe(document, width, self.first, positions.clone(), peaks)
            {
                self.not_finite = Some(place);
                return;
            }
            for (which, list) in self.lists.iter_mut().enumerate() {
                if let Some(mirror) = &mut list.mirror {
                    let positions = positions.clone();
                    troughs(document, width, self.first, positions, &mut self.peaks);
                    for (max, peak) in mirror.iter_mut().zip(&self.peaks) {
                        *max = max.max(peak.activation);
                    }
                }
                let seen = list.mirror.as_ref().unwrap_or(&self.activity.max);
                for (neuron, peak) in self.peaks.iter().enumerate() {
                    if !list.candidates.admits(neuron, *peak, seen) {
                        continue;
                    }
                    self.fresh.push(Fresh {
                        list: which,
                        neuron,
                        place,
                        peak: *peak,
                    });
                    let record = self.windows.len() + 2 * window + 1;
                    let start = (peak.pos as usize).saturating_sub(window);
                    let end = whole.min(peak.pos as usize + window + 1);
                    let column = self.first + neuron;
                    let around = (start..end).map(|pos| document[pos * width + column]);
                    self.windows.extend(around);
                    self.windows.resize(record, 0.0);
                }
            }
        }
    }

    /// Marks the rows of a batch whose vectors its fresh candidates need: those of the key tokens, and of as many tokens
    /// before them as `back` says, where the neuron was active.
    pub(super) fn mark(
        &self,
        batch: &ReadBatch,
        values: &BatchValues<'_>,
        back: Option<usize>,
        skip: usize,
        wanted: &mut [bool],
    ) {
        for fresh in &self.fresh {
            wanted[fresh.row(batch)] = true;
            for row in (self.active_rows(fresh, batch, values, back, skip)).flatten() {
                wanted[row] = true;
            }
        }
    }

    /// Makes the fresh candidates its own: their windows are the records from `first_window` on, and the vector of a row is
    /// the record that `records` says.
    pub(super) fn keep(
        &mut self,
        batch: &ReadBatch,
        values: &BatchValues<'_>,
        back: Option<usize>,
        skip: usize,
        first_window: usize,
        records: &[u32],
    ) {
        let mut vectors = std::mem::take(&mut self.window_vectors);
        for (i, fresh) in self.fresh.iter().enumerate() {
            let rows = self.active_rows(fresh, batch, values, back, skip);
            vectors.extend(rows.map(|row| row.map_or(NONE, |row| records[row])));
            let candidate = Candidate {
                doc_id: batch.documents[fresh.place].0,
                pos: fresh.peak.pos,
                activation: fresh.peak.activation,
                vector: records[fresh.row(batch)],
                window: (first_window + i) as u32,
            };
            let list = &mut self.lists[fresh.list];
            list.candidates.add(fresh.neuron, candidate);
        }
        self.window_vectors = vectors;
    }

    /// Ends a batch whose windows were written. Their room is kept for the next one.
    pub(super) fn clear(&mut self) {
        self.fresh.clear();
        self.windows.clear();
        self.window_vectors.clear();
    }

    /// The rows of the tokens before a fresh candidate's key token, which stands last; None where the neuron was inactive.
    fn active_rows<'a>(
        &self,
        fresh: &'a Fresh,
        batch: &ReadBatch,
        values: &'a BatchValues<'_>,
        back: Option<usize>,
        skip: usize,
    ) -> impl Iterator<Item = Option<usize>> + use<'a> {
        let (row, column) = (fresh.row(batch), self.first + fresh.neuron);
        let sign = self.lists[fresh.list].sign;
        let distances = (0..back.map_or(0, |back| back + 1)).rev();
        distances.map(move |back| {
            let inside = back + skip <= fresh.peak.pos as usize;
            let value = || values.values[(row - back) * values.width + column];
            (inside && sign * value() > 0.0).then(|| row - back)
        })
    }

    /// Ends a block of consecutive documents.
    pub(super) fn end_block(&mut self) {
        for list in &mut self.lists {
            let seen = list.mirror.as_ref().unwrap_or(&self.activity.max);
            list.candidates.end_block(seen);
        }
    }

    /// The sums of the block that ends, which are none of the next one's.
    pub(super) fn take_sums(&mut self) -> Vec<f64> {
        let none = vec![0.0; self.width()];
        std::mem::replace(&mut self.activity.sum, none)
    }

    /// Counts the sums of a block.
    pub(super) fn add_sums(&mut self, of_block: &[f64]) {
        for (sum, more) in self.sums.iter_mut().zip(of_block) {
            *sum += more;
        }
    }

    /// Takes over what the same neurons have shown in later documents, but for the sums: see
    /// [`Candidates::follow`].
    pub(super) fn follow(&mut self, later: Self, records: [u32; 2]) {
        self.activity.add(&later.activity);
        for (list, later) in self.lists.iter_mut().zip(later.lists) {
            for (max, seen) in (list.mirror.iter_mut().flatten()).zip(later.mirror.iter().flatten())
            {
                *max = max.max(*seen);
            }
            list.candidates.follow(later.candidates, records);
        }
    }

    /// Number of candidates.
    pub(super) fn n_candidates(&self) -> usize {
        let lists = self.lists.iter();
        lists.map(|list| list.candidates.len()).sum()
    }

    /// Bytes of its buffers, which the next batch uses again.
    pub(super) fn kept_bytes(&self) -> usize {
        let windows = self.windows.capacity() * size_of::<f32>();
        let vectors = self.window_vectors.capacity() * size_of::<u32>();
        self.fresh.capacity() * size_of::<Fresh>() + windows + vectors
    }

    /// Number of neurons.
    pub(super) fn width(&self) -> usize {
        self.peaks.len()
    }

    /// The examples of a neuron, after the last block: those of the greatest activations, then of the least.
    pub(super) fn select(&self, neuron: usize) -> Vec<Candidate> {
        let lists = self.lists.iter().flat_map(|list| {
            let seen = list.mirror.as_ref().unwrap_or(&self.activity.max);
            let found = list.candidates.select(neuron, seen).into_iter();
            found.map(|candidate| Candidate {
                activation: list.sign * candidate.activation,
                ..candidate
            })
        });
        lists.collect()
    }

    /// Writes down what it has seen.
    pub(super) fn save(&self, out: &mut NumbersWriter) -> Result<()> {
        save_activity(&self.activity, out)?;
        out.put(&self.sums)?;
        for list in &self.lists {
            if let Some(mirror) = &list.mirror {
                out.put(mirror)?;
            }
            list.candidates.save(out)?;
        }
        Ok(())
    }

    /// Gives it back what was written down, of which each candidate must be a `known` one.
    pub(super) fn restore(
        &mut self,
        saved: &mut NumbersReader,
        known: &dyn Fn(&Candidate) -> bool,
    ) -> Result<()> {
        restore_activity(&mut self.activity, saved)?;
        saved.fill(&mut self.sums)?;
        for list in &mut self.lists {
            if let Some(mirror) = &mut list.mirror {
                saved.fill(mirror)?;
            }
            list.candidates.restore(saved)?;
            if !list.candidates.all().all(known) {
                return exec_err!(
                    "candidates of documents that were read are required of the neurons from {} on, got others",
                    self.first
                );
            }
        }
        Ok(())
    }
}

fn save_activity(activity: &Activity, out: &mut NumbersWriter) -> Result<()> {
    out.put(&activity.max)?;
    out.put(&activity.sum)?;
    out.put(&activity.active)?;
    out.put(&activity.histogram)
}

fn restore_activity(activity: &mut Activity, saved: &mut NumbersReader) -> Result<()> {
    saved.fill(&mut activity.max)?;
    saved.fill(&mut activity.sum)?;
    saved.fill(&mut activity.active)?;
    saved.fill(&mut activity.histogram)
}
