//! What ingest keeps of one layer while batches pass by. Above 400 lines with its tests.

use std::ops::Range;
use std::path::Path;

use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::network::statistics::Activity;
use polysema_udfs::arrow::memory::hold;
use rayon::prelude::*;

use super::candidates::Candidate;
use super::options::{Pick, WINDOW_VECTORS};
use super::tile::{BatchValues, Fresh, NONE, Tile};
use crate::corpus::{Documents, ReadBatch};
use crate::files::file_sum::FileSum;
use crate::files::numbers::{NumbersReader, NumbersWriter};
use crate::files::spool::Spool;
use crate::models::LayerInfo;

/// Neurons that one task observes: four cache lines of a row of activations. Chosen, not tuned.
const TILE: usize = 64;
/// One layer of neurons.
pub(super) struct Layer {
    /// Block index.
    pub(super) index: usize,
    /// Number of neurons.
    pub(super) n_neurons: usize,
    /// Received vectors of candidates. `[d_in]` each
    pub(super) vectors: Spool,
    /// Activations from `window_start` on. `[2 * window + 1]` each
    pub(super) windows: Spool,
    /// Records of `vectors` before and at the key token, which stands last; [`NONE`] where the neuron is inactive.
    /// `[window + 1]` each, in the order of `windows`; none where only the key token's is wanted
    pub(super) window_vectors: Option<Spool>,
    /// The first record of `vectors` that those of `window_vectors` count from, by their own first record.
    counted_from: Vec<(usize, u32)>,
    /// Sums of the activations in each block, where another layer adds them up. `[n_neurons]` each, of eight bytes
    sums: Option<Spool>,
    tiles: Vec<Tile>,
    /// Width of a received vector.
    pub(super) d_in: usize,
    /// Tokens kept before and after a key token.
    pub(super) window: usize,
    /// First tokens of each document that are never key tokens.
    pub(super) skip: usize,
    /// Candidates in memory.
    n_candidates: usize,
    /// Whether it has seen the batch that the layers after it have not: that of an interrupted pass.
    pub(super) ahead: bool,
    memory: MemoryReservation,
}

impl Layer {
    /// Bytes of a candidate: a list that grows has room for twice as many.
    const BYTES_A_CANDIDATE: usize = 2 * size_of::<Candidate>();

    /// Bytes that a neuron takes before it has candidates: statistics with their histogram, two sums more, cutoffs, lists.
    fn bytes_a_neuron(lists: usize) -> usize {
        Activity::BYTES_A_NEURON + 2 * size_of::<f64>() + lists * 128
    }

    /// Bytes of its spools while they are written.
    fn spool_bytes(window_vectors: bool, sums: bool) -> usize {
        (2 + usize::from(window_vectors) + usize::from(sums)) * Spool::BYTES
    }

    pub(super) fn new(
        index: usize,
        info: &LayerInfo,
        pick: Pick<'_>,
        scratch: &Path,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let window = pick.window();
        let lists = pick.sign.lists().len();
        let statistics = info.n_neurons.saturating_mul(Self::bytes_a_neuron(lists));
        let of = format_args!("the statistics of {} neurons", info.n_neurons);
        let spools = Self::spool_bytes(pick.options.get(WINDOW_VECTORS), false);
        hold(&memory, statistics.saturating_add(spools), of)?;
        let tiles = (0..info.n_neurons).step_by(TILE).map(|first| {
            let width = TILE.min(info.n_neurons - first);
            Tile::new(index, first, width, pick)
        });
        Ok(Self {
            index,
            n_neurons: info.n_neurons,
            tiles: tiles.collect::<Result<_>>()?,
            vectors: Spool::create(scratch, &format!("vectors-{index}"), info.d_in)?,
            windows: Spool::create(scratch, &format!("windows-{index}"), 2 * window + 1)?,
            window_vectors: match pick.options.get(WINDOW_VECTORS) {
                true => {
                    let name = format!("window-vectors-{index}");
                    Some(Spool::create(scratch, &name, window + 1)?)
                }
                false => None,
            },
            counted_from: vec![(0, 0)],
            sums: None,
            d_in: info.d_in,
            window,
            skip: pick.skip,
            n_candidates: 0,
            ahead: false,
            memory,
        })
    }

    /// The same for one shard of the documents: the sums of its blocks are kept apart, for who merges it.
    pub(super) fn of_shard(mut self, scratch: &Path) -> Result<Self> {
        let name = format!("sums-{}", self.index);
        self.sums = Some(Spool::create(scratch, &name, 2 * self.n_neurons)?);
        self.hold(0, 0)?;
        Ok(self)
    }

    /// Reserves what it holds, and what it takes besides to observe so many documents and rows more. A document may
    /// become a candidate of every neuron, with its window.
    fn hold(&self, documents: usize, rows: usize) -> Result<()> {
        let window = (2 * self.window + 1) * size_of::<f32>();
        let vectors = match &self.window_vectors {
            Some(_) => (self.window + 1) * size_of::<u32>(),
            None => 0,
        };
        let fresh = size_of::<Fresh>() + Self::BYTES_A_CANDIDATE + window + vectors;
        let lists = self.tiles.first().map_or(1, |tile| tile.lists.len());
        let fresh = documents
            .saturating_mul(self.n_neurons)
            .saturating_mul(lists * fresh);
        let bytes = [
            self.n_neurons * Self::bytes_a_neuron(lists),
            Self::spool_bytes(self.window_vectors.is_some(), self.sums.is_some()),
            self.tiles.iter().map(Tile::kept_bytes).sum(),
            self.n_candidates * Self::BYTES_A_CANDIDATE,
            fresh,
            rows * (size_of::<u32>() + size_of::<Range<usize>>()),
        ];
        let bytes = bytes.into_iter().fold(0, usize::saturating_add);
        let of = format_args!(
            "the candidates of the {} neurons of layer {}, {} by now (fewer max_examples, a higher \
             activation_threshold or a smaller window need fewer)",
            self.n_neurons, self.index, self.n_candidates
        );
        hold(&self.memory, bytes, of)
    }

    /// Adds a batch: activations `[batch, seq, n_neurons]` and what the neurons received `[batch, seq, d_in]`.
    pub(super) fn observe(
        &mut self,
        batch: &ReadBatch,
        values: &[f32],
        received: &[f32],
    ) -> Result<()> {
        let (window, skip) = (self.window, self.skip);
        let rows = batch.documents.len() * batch.seq;
        self.hold(batch.documents.len(), rows)?;
        let width = self.n_neurons;
        let values = BatchValues { values, width };
        let tiles = self.tiles.par_iter_mut();
        tiles.for_each(|tile| tile.observe(batch, &values, window, skip));
        if let Some(place) = self.tiles.iter().filter_map(|t| t.not_finite).min() {
            return self.not_finite(batch, place, &values);
        }
        let back = self.window_vectors.is_some().then_some(window);
        let mut wanted = vec![false; rows];
        for tile in &self.tiles {
            tile.mark(batch, &values, back, skip, &mut wanted);
        }
        let (records, runs) = numbered(&wanted, self.vectors.len());
        let mut first_windows = vec![self.windows.len()];
        for tile in &self.tiles {
            self.n_candidates += tile.fresh.len();
            first_windows.push(first_windows[first_windows.len() - 1] + tile.fresh.len());
        }
        let tiles = self.tiles.par_iter_mut().zip(first_windows);
        tiles.for_each(|(tile, first)| tile.keep(batch, &values, back, skip, first, &records));
        // Side by side: while one waits for the disk, or copies, the other does.
        let (vectors, windows) = rayon::join(
            || {
                let mut runs = runs.into_iter();
                runs.try_for_each(|run| {
                    let run = run.start * self.d_in..run.end * self.d_in;
                    self.vectors.append(&received[run])
                })
            },
            || {
                let mut tiles = self.tiles.iter();
                tiles.try_for_each(|tile| {
                    self.windows.append(&tile.windows)?;
                    match &mut self.window_vectors {
                        Some(spool) => spool.append(&tile.window_vectors),
                        None => Ok(()),
                    }
                })
            },
        );
        vectors.and(windows)?;
        self.tiles.iter_mut().for_each(Tile::clear);
        self.hold(0, 0)
    }

    fn not_finite(&self, batch: &ReadBatch, place: usize, values: &BatchValues<'_>) -> Result<()> {
        let (doc_id, n_tokens) = batch.documents[place];
        let start = place * batch.seq * values.width;
        let document = &values.values[start..][..(n_tokens + batch.closing) * values.width];
        let at = document.iter().position(|v| !v.is_finite()).unwrap_or(0);
        exec_err!(
            "finite activations are required, got {} in layer {} document {doc_id} position {} (neuron {})",
            document[at],
            self.index,
            at / values.width,
            at % values.width
        )
    }

    /// Ends observing: what is spooled can be read.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.spools().try_for_each(Spool::flush)
    }

    fn spools(&mut self) -> impl Iterator<Item = &mut Spool> {
        let spools = [&mut self.vectors, &mut self.windows].into_iter();
        spools.chain(&mut self.window_vectors).chain(&mut self.sums)
    }

    /// Writes down what it has seen; what it spooled is kept in a folder, in these files.
    pub(super) fn save(&mut self, folder: &Path, out: &mut NumbersWriter) -> Result<Vec<FileSum>> {
        out.put(&[u32::from(self.ahead)])?;
        out.put(&[self.n_candidates as u64])?;
        let mut files = vec![];
        for spool in self.spools() {
            files.push(spool.keep(folder)?);
            out.put(&[spool.len() as u32])?;
        }
        self.tiles.iter().try_for_each(|tile| tile.save(out))?;
        Ok(files)
    }

    /// Goes on from what was written down of as many `documents`, in place of anew.
    pub(super) fn restore(
        &mut self,
        folder: &Path,
        saved: &mut NumbersReader,
        documents: &Documents,
    ) -> Result<()> {
        self.ahead = saved.next::<u32>()? != 0;
        self.n_candidates = saved.next::<u64>()? as usize;
        self.hold(0, 0)?;
        for spool in self.spools() {
            spool.go_on(folder, saved.next::<u32>()? as usize)?;
        }
        let spooled = [self.vectors.len(), self.windows.len()];
        let known = |candidate: &Candidate| {
            let document = candidate.doc_id as usize;
            document < documents.len()
                && (candidate.pos as usize) < documents.n_tokens(document)
                && (candidate.vector as usize) < spooled[0]
                && (candidate.window as usize) < spooled[1]
        };
        for tile in &mut self.tiles {
            tile.restore(saved, &known)?;
        }
        let found = self.tiles.iter().map(Tile::n_candidates).sum::<usize>();
        match found == self.n_candidates {
            true => Ok(()),
            false => exec_err!(
                "{} candidates are required in layer {}, got {found}",
                self.n_candidates,
                self.index
            ),
        }
    }

    /// Where the vectors of a candidate's window are spooled, as (position, record).
    pub(super) fn window_vectors(&self, candidate: &Candidate) -> Result<Vec<(u32, u32)>> {
        let Some(spool) = &self.window_vectors else {
            return Ok(vec![]);
        };
        let records = spool.read::<u32>(candidate.window as usize, self.window + 1)?;
        // The key token stands last.
        let ahead = self.window as u32;
        let window = candidate.window as usize;
        let behind = (self.counted_from).partition_point(|(first, _)| *first <= window);
        let from = self.counted_from[behind - 1].1;
        let found = records.iter().zip(candidate.pos..);
        Ok(found
            .filter(|(vector, _)| **vector != NONE)
            .map(|(vector, pos)| (pos - ahead, from + vector))
            .collect())
    }

    /// Ends a block of consecutive documents.
    pub(super) fn end_block(&mut self) -> Result<()> {
        let of_block = self.tiles.iter_mut().flat_map(Tile::take_sums);
        let of_block = of_block.collect::<Vec<_>>();
        match &mut self.sums {
            Some(spool) => spool.append(&of_block)?,
            None => self.add_sums(&of_block),
        }
        self.drop_ruled_out()
    }

    fn add_sums(&mut self, of_block: &[f64]) {
        for (tile, sums) in self.tiles.iter_mut().zip(of_block.chunks(TILE)) {
            tile.add_sums(sums);
        }
    }

    fn drop_ruled_out(&mut self) -> Result<()> {
        self.tiles.par_iter_mut().for_each(Tile::end_block);
        self.n_candidates = self.tiles.iter().map(Tile::n_candidates).sum();
        self.hold(0, 0)
    }

    /// Takes over what a shard of later documents has seen, as if it had seen it itself. Observing has ended for both.
    pub(super) fn follow(&mut self, shard: Self) -> Result<()> {
        let (first, before) = (self.windows.len(), self.vectors.len() as u32);
        self.counted_from.push((first, before));
        self.vectors.join(shard.vectors)?;
        self.windows.join(shard.windows)?;
        if let (Some(own), Some(others)) = (&mut self.window_vectors, shard.window_vectors) {
            own.join(others)?;
        }
        let Some(sums) = shard.sums else {
            return exec_err!("a shard is required, got none");
        };
        let tiles = self.tiles.par_iter_mut().zip(shard.tiles);
        tiles.for_each(|(tile, later)| tile.follow(later, [before, first as u32]));
        for block in 0..sums.len() {
            self.add_sums(sums.read(block, self.n_neurons)?);
        }
        self.drop_ruled_out()
    }

    /// Number of candidates in memory.
    pub(super) fn n_candidates(&self) -> usize {
        self.n_candidates
    }

    /// Statistics of a neuron, as a range and the place in it.
    pub(super) fn activity(&self, neuron: usize) -> (&Activity, usize) {
        (&self.tiles[neuron / TILE].activity, neuron % TILE)
    }

    /// The sum of a neuron's activations, after the last block.
    pub(super) fn sum(&self, neuron: usize) -> f64 {
        self.tiles[neuron / TILE].sums[neuron % TILE]
    }

    /// The least activation of a neuron, where examples of the least are kept.
    pub(super) fn least(&self, neuron: usize) -> Option<f32> {
        let lists = &self.tiles[neuron / TILE].lists;
        let mirror = lists.iter().find_map(|list| list.mirror.as_ref())?;
        Some(-mirror[neuron % TILE])
    }

    /// The examples of every neuron, after the last block: those of the greatest activations, then of the least.
    pub(super) fn select(&self) -> Vec<Vec<Candidate>> {
        let tiles = self.tiles.par_iter().flat_map_iter(|tile| {
            let neurons = 0..tile.width();
            neurons.map(|neuron| tile.select(neuron))
        });
        tiles.collect()
    }
}

/// Numbers the wanted rows from `first` on, [`NONE`] for the others; and the wanted rows as ranges.
fn numbered(wanted: &[bool], first: usize) -> (Vec<u32>, Vec<Range<usize>>) {
    let mut next = first as u32;
    let (mut records, mut runs) = (Vec::with_capacity(wanted.len()), vec![]);
    let mut row = 0;
    for run in wanted.chunk_by(|a, b| a == b) {
        let end = row + run.len();
        match run[0] {
            true => {
                records.extend((0..run.len() as u32).map(|i| next.wrapping_add(i)));
                next = next.wrapping_add(run.len() as u32);
                runs.push(row..end);
            }
            false => records.resize(end, NONE),
        }
        row = end;
    }
    (records, runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::JobContext;
    use crate::options::Options;
    use crate::runs::WINDOW;
    use crate::runs::options::Sign;

    fn layer(options: &Options, scratch: &Path) -> Layer {
        let pick = Pick {
            options,
            maxima: None,
            sign: Sign::Positive,
            longest: 3,
            skip: 0,
        };
        let info = LayerInfo {
            name: "blocks.0.mlp".to_string(),
            d_in: 2,
            n_neurons: 3,
            activation_function: "relu".to_string(),
            gated: false,
        };
        let memory = JobContext::default().memory("layer");
        Layer::new(0, &info, pick, scratch, memory).unwrap()
    }

    /// Two documents of 3 and 2 tokens, the second padded with a value that must not count.
    fn batch() -> (ReadBatch, Vec<f32>, Vec<f32>) {
        let batch = ReadBatch {
            documents: vec![(7, 3), (8, 2)],
            closing: 0,
            seq: 3,
            ends_block: true,
            at_once: 1,
        };
        let mut values = vec![
            0.5, 2.0, -1.0, 4.0, 2.0, -1.0, 1.0, 1.0, -1.0, // document 7
            4.0, 0.0, -1.0, 3.9, 1.9, -1.0, // document 8
        ];
        values.extend([99.0; 3]);
        let received = (0..12).map(|v| v as f32).collect();
        (batch, values, received)
    }

    #[test]
    fn candidates_vectors_and_windows_belong_together() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default().with(WINDOW, 1);
        let mut layer = layer(&options, folder.path());
        let (batch, values, received) = batch();
        layer.observe(&batch, &values, &received).unwrap();
        layer.end_block().unwrap();
        layer.flush().unwrap();
        let examples = layer.select();
        let keys = |neuron: usize| -> Vec<_> {
            let list = examples[neuron].iter();
            list.map(|c| (c.doc_id, c.pos, c.activation)).collect()
        };
        assert_eq!(keys(0), [(7, 1, 4.0), (8, 0, 4.0)]);
        assert_eq!(keys(1), [(7, 0, 2.0), (8, 1, 1.9)]);
        assert_eq!(keys(2), []);
        let window = |c: &Candidate, n: usize| {
            let record = layer.windows.read::<f32>(c.window as usize, 3);
            &record.unwrap()[..n]
        };
        assert_eq!(window(&examples[0][0], 3), [0.5, 4.0, 1.0]);
        assert_eq!(window(&examples[0][1], 2), [4.0, 3.9]);
        assert_eq!(window(&examples[1][1], 2), [0.0, 1.9]);
        let vector = examples[1][1].vector as usize;
        let h = layer.vectors.read::<f32>(vector, 2);
        assert_eq!(h.unwrap(), [8.0, 9.0]);
        let (activity, at) = layer.activity(0);
        assert_eq!((activity.max[at], activity.active[at]), (4.0, 5));
    }

    #[test]
    fn activations_that_are_not_finite_are_named() {
        for (bad, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
            let folder = tempfile::tempdir().unwrap();
            let mut layer = layer(&Options::default(), folder.path());
            let (batch, mut values, received) = batch();
            values[13] = bad;
            let error = layer.observe(&batch, &values, &received).unwrap_err();
            let expected = format!(
                "finite activations are required, got {name} in layer 0 document 8 position 1 (neuron 1)"
            );
            assert!(error.strip_backtrace().ends_with(&expected), "{error}");
        }
    }
}
