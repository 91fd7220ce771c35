//! Rows of a stream in a random order and in batches, through a buffer of bounded size.
//!
//! The buffer is filled, shuffled and handed out, then filled anew: a row meets only the rows of its buffer. The order
//! is a function of the seed, the epoch and the rows alone.

use polysema_kernels::random::Random;

/// What comes out of a buffer.
pub(super) enum Handed<'a> {
    /// All of its rows, before the first batch of them. `[n, d]`
    Full {
        rows: &'a [f32],
        /// Whether the stream ends with them.
        last: bool,
    },
    /// Some of its rows. `[n, d]`
    Batch(&'a [f32]),
}

/// A stream of rows that comes out in batches.
pub(super) struct Shuffle {
    d: usize,
    batch_rows: usize,
    /// Floats of a full buffer, a multiple of the batch's.
    full: usize,
    rows: Vec<f32>,
    order: Vec<u32>,
    batch: Vec<f32>,
    random: Random,
    /// Whether rows have gone that are no longer in the buffer.
    gone: bool,
}

impl Shuffle {
    /// An empty buffer of about `buffer_rows` rows of width `d`.
    pub(super) fn new(
        d: usize,
        batch_rows: usize,
        buffer_rows: usize,
        seed: u64,
        epoch: u64,
    ) -> Self {
        Self {
            d,
            batch_rows,
            full: buffer_rows
                .div_ceil(batch_rows)
                .max(1)
                .saturating_mul(batch_rows)
                .saturating_mul(d),
            rows: vec![],
            order: vec![],
            batch: vec![],
            random: random_of(seed, epoch),
            gone: false,
        }
    }

    /// Whether the buffer holds all rows of the stream.
    pub(super) fn is_whole(&self) -> bool {
        !self.gone
    }

    /// The order of another epoch for the rows it holds.
    pub(super) fn restart(&mut self, seed: u64, epoch: u64) {
        self.random = random_of(seed, epoch);
    }

    /// Bytes it will hold once `n` more rows were added.
    pub(super) fn bytes_with(&self, n: usize) -> usize {
        let rows = self.grown(n.saturating_mul(self.d));
        let batch = self.batch_rows.saturating_mul(self.d);
        let order = rows / self.d.max(1);
        (rows.saturating_add(batch).saturating_add(order)).saturating_mul(size_of::<f32>())
    }

    /// Floats to make room for when `n` more come: doubled, so that little is moved, but never beyond a full buffer.
    fn grown(&self, n: usize) -> usize {
        let needed = self.rows.len().saturating_add(n).min(self.full);
        match needed <= self.rows.capacity() {
            true => self.rows.capacity(),
            false => needed.max(2 * self.rows.capacity()).min(self.full),
        }
    }

    /// Adds rows `[n, d]`; whole batches go to `f` whenever the buffer is full.
    pub(super) fn push<E>(
        &mut self,
        mut values: &[f32],
        f: &mut dyn FnMut(Handed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let grown = self.grown(values.len());
        self.rows
            .reserve_exact(grown.saturating_sub(self.rows.len()));
        while !values.is_empty() {
            // Only now, since nothing may come after a full buffer, which then is the whole stream.
            if self.rows.len() == self.full {
                self.hand_out(false, f)?;
                self.rows.clear();
                self.gone = true;
            }
            let room = self.full - self.rows.len();
            let (now, later) = values.split_at(room.min(values.len()));
            self.rows.extend_from_slice(now);
            values = later;
        }
        Ok(())
    }

    /// Ends the stream: hands out what is left, which stays; the last batch may be short.
    pub(super) fn end<E>(
        &mut self,
        f: &mut dyn FnMut(Handed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.hand_out(true, f)
    }

    fn hand_out<E>(
        &mut self,
        last: bool,
        f: &mut dyn FnMut(Handed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.rows.is_empty() {
            return Ok(());
        }
        f(Handed::Full {
            rows: &self.rows,
            last,
        })?;
        let n = self.rows.len() / self.d;
        self.order.clear();
        self.order.extend(0..n as u32);
        self.random.shuffle(&mut self.order);
        for rows in self.order.chunks(self.batch_rows) {
            self.batch.clear();
            for row in rows {
                let row = *row as usize * self.d;
                self.batch.extend_from_slice(&self.rows[row..row + self.d]);
            }
            f(Handed::Batch(&self.batch))?;
        }
        Ok(())
    }
}

/// Two seeds that are near each other give unrelated streams.
fn random_of(seed: u64, epoch: u64) -> Random {
    let mut seeds = Random::new(seed ^ epoch.wrapping_mul(0xa076_1d64_78bd_642f));
    Random::new(seeds.bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// The batches of rows 0, 1, .. of width 2, pushed `step` rows at a time.
    fn batches(n: usize, buffer: usize, step: usize, seed: u64) -> Vec<Vec<f32>> {
        let rows: Vec<f32> = (0..n).flat_map(|row| [row as f32, -(row as f32)]).collect();
        let mut shuffle = Shuffle::new(2, 3, buffer, seed, 0);
        let mut out = vec![];
        let mut keep = |handed: Handed<'_>| {
            if let Handed::Batch(batch) = handed {
                out.push(batch.to_vec());
            }
            Ok::<_, Infallible>(())
        };
        for part in rows.chunks(2 * step) {
            shuffle.push(part, &mut keep).unwrap();
        }
        shuffle.end(&mut keep).unwrap();
        out
    }

    #[test]
    fn a_buffer_that_holds_all_rows_gives_them_again() {
        let rows: Vec<f32> = (0..24).map(|x| x as f32).collect();
        let epoch = |shuffle: &mut Shuffle| {
            let mut out = vec![];
            let ended = shuffle.end(&mut |handed| {
                match handed {
                    Handed::Full { rows, last } => assert!(rows.len() == 24 && last),
                    Handed::Batch(batch) => out.extend_from_slice(batch),
                }
                Ok::<_, Infallible>(())
            });
            ended.unwrap();
            out
        };
        let nothing = &mut |_: Handed<'_>| Ok::<_, Infallible>(());
        let mut kept = Shuffle::new(2, 3, 12, 7, 0);
        kept.push(&rows, nothing).unwrap();
        assert!(kept.is_whole());
        let first = epoch(&mut kept);
        kept.restart(7, 1);
        // As if they had been read anew.
        let mut anew = Shuffle::new(2, 3, 12, 7, 1);
        anew.push(&rows, nothing).unwrap();
        let second = epoch(&mut kept);
        assert_eq!(second, epoch(&mut anew));
        assert_ne!(second, first);
        let mut small = Shuffle::new(2, 3, 6, 7, 0);
        small.push(&rows, nothing).unwrap();
        assert!(!small.is_whole());
    }

    #[test]
    fn every_row_comes_once_and_whole() {
        for buffer in [1, 3, 7, 100] {
            let batches = batches(20, buffer, 4, 1);
            let mut seen: Vec<i32> = vec![];
            for batch in &batches {
                for row in batch.chunks(2) {
                    assert_eq!(row[0], -row[1]);
                    seen.push(row[0] as i32);
                }
            }
            assert!(batches[..batches.len() - 1].iter().all(|b| b.len() == 6));
            assert_eq!(batches.last().map(Vec::len), Some(4));
            seen.sort_unstable();
            assert_eq!(seen, (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_depends_on_the_seed_and_not_on_how_rows_arrive() {
        assert_eq!(batches(50, 12, 1, 7), batches(50, 12, 50, 7));
        assert_ne!(batches(50, 12, 1, 7), batches(50, 12, 1, 8));
        let sorted: Vec<f32> = (0..50).map(|row| row as f32).collect();
        let first: Vec<f32> = batches(50, 50, 1, 7)
            .concat()
            .into_iter()
            .step_by(2)
            .collect();
        assert_ne!(first, sorted);
    }
}
