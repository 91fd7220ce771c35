//! Rows become their condensed cosine distances, the matrix every clustering and every metric reads.
//!
//! ```text
//! e = h ⊙ w  in float32 (eq. 1), or h alone          u = e / |e|
//! distance(a, b) = 1 - <u_a, u_b>, clamped to [0, 2]   (eq. 3), error <= 1e-6
//! ```
//!
//! Errors: an embedding with a NaN or an infinity, also one whose product overflows. A zero embedding has no
//! direction: it is left out and counted. Cost: n² d / 2 multiplications.
//! Source: Foote 2024, equations 1 and 3.

use super::lanes::{Isa, Quad, TILE, WIDTH, ZERO, interleave};

/// An embedding holds a NaN or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// Its place among the rows given.
    pub row: usize,
}

/// Cosine distances of one group of rows, with buffers that the next group reuses.
#[derive(Debug)]
pub struct CosineDistances {
    isa: Isa,
    /// The row in hand, padded to whole lines.
    row: Vec<f32>,
    /// Unit vectors of the live rows, four by four, padded to whole tiles.
    units: Vec<Quad>,
    live: Vec<u32>,
    n_zero: usize,
    condensed: Vec<f32>,
}

impl Default for CosineDistances {
    fn default() -> Self {
        Self::new()
    }
}

impl CosineDistances {
    /// Empty buffers, for the widest vector unit of this machine.
    pub fn new() -> Self {
        Self::with_isa(Isa::best())
    }

    fn with_isa(isa: Isa) -> Self {
        Self {
            isa,
            row: Vec::new(),
            units: Vec::new(),
            live: Vec::new(),
            n_zero: 0,
            condensed: Vec::new(),
        }
    }

    /// Distances between the embeddings of `rows` under the weights `w`, or between the rows themselves.
    ///
    /// # Panics
    /// If a row or `w` differs in width from the first row.
    pub fn compute(&mut self, rows: &[&[f32]], w: Option<&[f32]>) -> Result<(), NonFinite> {
        let (n, d) = (rows.len(), rows.first().map_or(0, |row| row.len()));
        let lines = d.div_ceil(WIDTH);
        self.live.clear();
        self.condensed.clear();
        self.n_zero = 0;
        self.live.reserve_exact(n);
        resize(&mut self.row, lines * WIDTH, 0.0);
        self.units.clear();
        resize(&mut self.units, n.div_ceil(TILE) * lines, ZERO);
        for (row, h) in rows.iter().enumerate() {
            assert_eq!(h.len(), d, "row {row} is as wide as the first");
            let squares = self.isa.embed(h, w, &mut self.row);
            if !squares.is_finite() {
                self.live.clear();
                self.n_zero = 0;
                return Err(NonFinite { row });
            }
            if squares == 0.0 {
                self.n_zero += 1;
                continue;
            }
            self.isa.scale(&mut self.row, squares.sqrt().recip());
            let place = self.live.len();
            let quads = &mut self.units[place / TILE * lines..][..lines];
            interleave(&self.row, quads, place % TILE);
            self.live.push(row as u32);
        }
        let n = self.live.len();
        self.units.truncate(n.div_ceil(TILE) * lines);
        resize(&mut self.condensed, n * n.saturating_sub(1) / 2, 0.0);
        self.isa.gram(&self.units, lines, n, &mut self.condensed);
        for x in &mut self.condensed {
            *x = (1.0 - *x).clamp(0.0, 2.0);
        }
        Ok(())
    }

    /// The rows that have a direction, ascending: observation `i` of the matrix is row `live()[i]`.
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// How many rows have no direction because their embedding is zero.
    pub fn n_zero(&self) -> usize {
        self.n_zero
    }

    /// Distances between the live rows, condensed. Each is a multiple of 2⁻²⁴, so float64 sums of them are exact
    /// in any order.
    pub fn condensed(&self) -> &[f32] {
        &self.condensed
    }

    /// Bytes held after `n` rows of width `d`.
    pub fn bytes(n: usize, d: usize) -> usize {
        n.div_ceil(TILE) * d.div_ceil(WIDTH) * size_of::<Quad>()
            + d.next_multiple_of(WIDTH) * size_of::<f32>()
            + n * size_of::<u32>()
            + n * n.saturating_sub(1) / 2 * size_of::<f32>()
    }
}

/// Where the pairs `(i, i+1), (i, i+2), ..` of `n` observations begin in a condensed matrix.
pub(super) fn condensed_row(n: usize, i: usize) -> usize {
    i * (2 * n - i - 1) / 2
}

/// Sets the length without the spare room of amortised growth, so that [`CosineDistances::bytes`] holds.
fn resize<T: Copy>(buffer: &mut Vec<T>, len: usize, value: T) {
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    buffer.resize(len, value);
}
