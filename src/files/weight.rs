//! A tensor's numbers where they lie: in their file, in its type, mapped into memory, and widened to float32 where they
//! are used. Of what nobody uses nothing is read.

use std::ops::Range;
use std::sync::Arc;

use datafusion::error::Result;
use memmap2::Mmap;
use rayon::prelude::*;

use super::elements::ElementType;

/// Numbers that a thread widens at a time: 64 KiB of float32, which stays in a core's cache. Chosen, not tuned.
const STRETCH: usize = 16_384;

/// Where the numbers are.
#[derive(Debug, Clone)]
enum Values {
    Memory(Arc<Vec<u8>>, ElementType),
    /// From a byte of the file on.
    File(Arc<Mmap>, usize, ElementType),
}

/// The numbers of a tensor, or of some of its rows; a clone shares them.
#[derive(Debug, Clone)]
pub struct Weight {
    values: Values,
    /// The first number of every piece.
    starts: Vec<usize>,
    /// Numbers of a piece.
    piece: usize,
}

impl Weight {
    /// Numbers of a type in memory.
    pub(super) fn of_memory(bytes: Arc<Vec<u8>>, kind: ElementType, len: usize) -> Self {
        Self::whole(Values::Memory(bytes, kind), len)
    }

    /// `len` numbers of a type from a byte of a file on, if the file has so many.
    pub(super) fn of_file(
        map: Arc<Mmap>,
        start: usize,
        kind: ElementType,
        len: usize,
    ) -> Option<Self> {
        let end = kind.bytes(len).checked_add(start)?;
        (end <= map.len()).then(|| Self::whole(Values::File(map, start, kind), len))
    }

    fn whole(values: Values, piece: usize) -> Self {
        Self {
            values,
            starts: vec![0],
            piece,
        }
    }

    /// Number of its numbers.
    pub fn len(&self) -> usize {
        self.starts.len() * self.piece
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that [`Weight::floats`] needs for so many of its numbers: none where they are there as float32.
    pub fn scratch_bytes(&self, len: usize) -> usize {
        match self.lying(0..self.len().min(1)) {
            Some(_) if self.starts.len() == 1 => 0,
            _ => len.saturating_mul(size_of::<f32>()),
        }
    }

    /// A part of it.
    pub fn part(&self, range: Range<usize>) -> Self {
        let piece = range.len();
        self.pieces([range.start], piece)
    }

    /// Parts of it, `piece` numbers each from the given ones on, one after the other. Of one that was cut already, whole
    /// pieces of it.
    pub fn pieces(&self, starts: impl IntoIterator<Item = usize>, piece: usize) -> Self {
        let mut cut = vec![];
        let own = match self.starts.len() {
            1 => piece,
            _ => self.piece,
        };
        for start in starts {
            let end = start.saturating_add(piece);
            assert!(end <= self.len(), "a piece lies inside its weight");
            if self.starts.len() == 1 {
                cut.push(self.starts[0] + start);
                continue;
            }
            let whole = start.is_multiple_of(own) && end.is_multiple_of(own);
            assert!(whole, "a weight that was cut is cut between its pieces");
            cut.extend_from_slice(&self.starts[start / own..end / own]);
        }
        Self {
            starts: cut,
            piece: own,
            values: self.values.clone(),
        }
    }

    /// Some of its numbers as float32: as they lie where they are float32, else widened into `scratch`.
    pub fn floats<'a>(&'a self, range: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        if let Some(lying) = self.lying(range.clone()) {
            return lying;
        }
        scratch.resize(range.len(), 0.0);
        if range.len() <= STRETCH {
            self.widen(range.start, scratch);
        } else {
            let step = self.step();
            let stretches = scratch.par_chunks_mut(step).enumerate();
            stretches.for_each(|(i, out)| self.widen(range.start + i * step, out));
        }
        scratch
    }

    /// All of its numbers as float32, in memory of their own.
    pub fn to_vec(&self) -> Vec<f32> {
        let mut out = vec![];
        match self.lying(0..self.len()) {
            Some(lying) => out.extend_from_slice(lying),
            None => {
                self.floats(0..self.len(), &mut out);
            }
        }
        out
    }

    /// Calls `f` with the first number and the values of stretch after stretch, on all threads.
    pub fn try_each<E: Send>(
        &self,
        f: impl Fn(usize, &[f32]) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let step = self.step();
        let stretches = (0..self.len()).into_par_iter().step_by(step);
        stretches.try_for_each_init(Vec::new, |scratch, start| {
            let end = self.len().min(start + step);
            f(start, self.floats(start..end, scratch))
        })
    }

    /// A stretch, in whole blocks of its type.
    fn step(&self) -> usize {
        STRETCH
    }

    /// The numbers as they lie.
    fn lying(&self, range: Range<usize>) -> Option<&[f32]> {
        let first = range.start.checked_div(self.piece).unwrap_or(0);
        let within = range.start - first * self.piece;
        if within + range.len() > self.piece {
            return None;
        }
        let start = self.starts.get(first)? + within;
        match &self.values {
            Values::Memory(bytes, ElementType::F32) => as_floats(bytes, 0, start, range.len()),
            Values::File(map, at, ElementType::F32) => as_floats(map, *at, start, range.len()),
            _ => None,
        }
    }

    /// Widens the numbers from one on until `out` is full.
    fn widen(&self, mut from: usize, mut out: &mut [f32]) {
        while !out.is_empty() {
            let (piece, within) = (from / self.piece, from % self.piece);
            let n = out.len().min(self.piece - within);
            let (now, later) = out.split_at_mut(n);
            let start = self.starts[piece] + within;
            let (bytes, kind) = match &self.values {
                Values::Memory(bytes, kind) => (bytes.as_slice(), kind),
                Values::File(map, at, kind) => (&map[*at..], kind),
            };
            widen_some(*kind, bytes, start, now);
            (from, out) = (from + n, later);
        }
    }
}

/// Widens the numbers from `start` on until `out` is full, of which some may lie within a block.
fn widen_some(kind: ElementType, bytes: &[u8], start: usize, out: &mut [f32]) {
    let block = kind.block();
    let first = start / block * block;
    let end = (start + out.len()).next_multiple_of(block);
    let bytes = &bytes[kind.bytes(first)..kind.bytes(end)];
    if end - first == out.len() {
        return kind.widen(bytes, out);
    }
    let mut blocks = vec![0.0; end - first];
    kind.widen(bytes, &mut blocks);
    out.copy_from_slice(&blocks[start - first..][..out.len()]);
}

/// Float32 of this machine's byte order, if they lie where such may lie.
fn as_floats(bytes: &[u8], at: usize, start: usize, len: usize) -> Option<&[f32]> {
    if cfg!(target_endian = "big") {
        return None;
    }
    let first = at + start * size_of::<f32>();
    let bytes = bytes.get(first..first + len * size_of::<f32>())?;
    bytemuck::try_cast_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(values: &[f32]) -> Weight {
        let upper = values.iter().map(|x| (x.to_bits() >> 16) as u16);
        let bytes: Vec<u8> = upper.flat_map(u16::to_le_bytes).collect();
        Weight::of_memory(Arc::new(bytes), ElementType::Bf16, values.len())
    }

    fn whole(values: &[f32]) -> Weight {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Weight::of_memory(Arc::new(bytes), ElementType::F32, values.len())
    }

    fn counted(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i % 256) as f32).collect()
    }

    #[test]
    fn what_is_float32_is_not_copied_and_what_is_narrower_is_widened() {
        let values = counted(50_000);
        let mut scratch = vec![];
        let floats = whole(&values);
        assert_eq!(floats.floats(7..40_000, &mut scratch), &values[7..40_000]);
        assert!(scratch.is_empty() && floats.scratch_bytes(10) == 0);
        let narrow = half(&values);
        assert_eq!(narrow.floats(7..40_000, &mut scratch), &values[7..40_000]);
        assert_eq!(narrow.scratch_bytes(10), 40);
        assert_eq!(narrow.to_vec(), values);
    }

    #[test]
    fn pieces_follow_each_other() {
        for weight in [half(&counted(100)), whole(&counted(100))] {
            let pieces = weight.part(10..90).pieces([60, 0, 20], 4);
            let expected = [70, 71, 72, 73, 10, 11, 12, 13, 30, 31, 32, 33].map(|i| i as f32);
            let mut scratch = vec![];
            assert_eq!(pieces.len(), 12);
            assert_eq!(pieces.to_vec(), expected);
            assert_eq!(pieces.floats(3..9, &mut scratch), &expected[3..9]);
        }
    }

    #[test]
    fn every_stretch_is_seen_once() {
        let weight = half(&counted(70_000));
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let all = weight.try_each(|start, values| {
            assert_eq!(values[0], (start % 256) as f32);
            seen.fetch_add(values.len(), std::sync::atomic::Ordering::Relaxed);
            Ok::<_, ()>(())
        });
        assert!(all.is_ok() && seen.into_inner() == 70_000);
    }

    #[test]
    #[should_panic(expected = "a piece lies inside its weight")]
    fn a_piece_beyond_the_end_is_refused() {
        whole(&counted(10)).pieces([8], 3);
    }
}
