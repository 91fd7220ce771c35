//! Rows padded and laid out for the vector unit, with what the sum-based kernels do to them: products of blocks,
//! sums and means.

use super::distance::NonFinite;
use super::lanes::{Embedded, Isa, Line, Quad, TILE, WIDTH, ZERO};

/// `n` rows of one width.
#[derive(Debug)]
pub(super) struct TileRows {
    isa: Isa,
    /// Four by four, padded to whole tiles.
    quads: Vec<Quad>,
    /// Lines of a row.
    lines: usize,
    n: usize,
}

impl Default for TileRows {
    fn default() -> Self {
        Self {
            isa: Isa::best(),
            quads: Vec::new(),
            lines: 0,
            n: 0,
        }
    }
}

impl TileRows {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// Width of a row with its padding.
    pub(super) fn width(&self) -> usize {
        self.lines * WIDTH
    }

    /// Bytes held for `n` rows of width `d`.
    pub(super) fn bytes(n: usize, d: usize) -> usize {
        n.div_ceil(TILE) * d.div_ceil(WIDTH) * size_of::<Quad>()
    }

    /// Makes room for `n` rows of width `d`, which are zeros.
    pub(super) fn reset(&mut self, n: usize, d: usize) {
        (self.n, self.lines) = (n, d.div_ceil(WIDTH));
        let quads = n.div_ceil(TILE) * self.lines;
        self.quads.clear();
        self.quads.reserve_exact(quads);
        self.quads.resize(quads, ZERO);
    }

    /// Keeps the first `n` rows.
    pub(super) fn truncate(&mut self, n: usize) {
        self.n = n;
        self.quads.truncate(n.div_ceil(TILE) * self.lines);
    }

    /// The unit vectors of the embeddings of `rows` under the weights `w`, or of the rows themselves. `live` becomes
    /// the rows that have a direction; the others are left out.
    pub(super) fn embed(
        &mut self,
        rows: &[&[f32]],
        w: Option<&[f32]>,
        live: &mut Vec<u32>,
    ) -> Result<(), NonFinite> {
        let d = rows.first().map_or(0, |row| row.len());
        self.reset(rows.len(), d);
        live.clear();
        live.reserve_exact(rows.len());
        for (row, h) in rows.iter().enumerate() {
            assert_eq!(h.len(), d, "row {row} is as wide as the first");
            let place = live.len();
            let quads = &mut self.quads[place / TILE * self.lines..][..self.lines];
            let ahead = rows.get(row + 1).unwrap_or(h);
            match self.isa.embed(h, ahead, w, quads, place % TILE) {
                Embedded::Direction => {}
                Embedded::Zero => continue,
                Embedded::NonFinite => {
                    live.clear();
                    self.truncate(0);
                    return Err(NonFinite { row });
                }
            }
            let factor = self.squares(place).sqrt().recip();
            for line in self.lines_mut(place) {
                for x in line.floats_mut() {
                    *x = (f64::from(*x) * factor) as f32;
                }
            }
            live.push(row as u32);
        }
        self.truncate(live.len());
        Ok(())
    }

    /// Writes `sum / divisor`, rounded once. The sum is as wide as a padded row.
    pub(super) fn set_mean(&mut self, place: usize, sum: &[f64], divisor: f64) {
        for (line, sum) in self.lines_mut(place).zip(sum.as_chunks::<WIDTH>().0) {
            *line.floats_mut() = sum.map(|x| (x / divisor) as f32);
        }
    }

    /// Copies row `from` of `other` to `place`.
    pub(super) fn copy(&mut self, place: usize, other: &Self, from: usize) {
        let lines = other.lines_of(from);
        for (quad, line) in self.quads[place / TILE * self.lines..]
            .iter_mut()
            .zip(lines)
        {
            quad[place % TILE] = *line;
        }
    }

    /// Copies row `from` to `place`.
    pub(super) fn copy_within(&mut self, place: usize, from: usize) {
        let [to, from_tile] = [place, from].map(|i| i / TILE * self.lines);
        for line in 0..self.lines {
            self.quads[to + line][place % TILE] = self.quads[from_tile + line][from % TILE];
        }
    }

    fn lines_mut(&mut self, place: usize) -> impl Iterator<Item = &mut Line> {
        let quads = &mut self.quads[place / TILE * self.lines..][..self.lines];
        quads.iter_mut().map(move |quad| &mut quad[place % TILE])
    }

    fn lines_of(&self, place: usize) -> impl Iterator<Item = &Line> {
        let quads = &self.quads[place / TILE * self.lines..][..self.lines];
        quads.iter().map(move |quad| &quad[place % TILE])
    }

    /// `sum += weight * row`.
    pub(super) fn add_to(&self, place: usize, weight: f64, sum: &mut [f64]) {
        for (sum, line) in sum
            .as_chunks_mut::<WIDTH>()
            .0
            .iter_mut()
            .zip(self.lines_of(place))
        {
            for (sum, &x) in sum.iter_mut().zip(line.floats()) {
                *sum += weight * f64::from(x);
            }
        }
    }

    /// The dot product of a row with `other`, in float64.
    pub(super) fn dot(&self, place: usize, other: &[f64]) -> f64 {
        let mut sums = [0.0; WIDTH];
        for (other, line) in other
            .as_chunks::<WIDTH>()
            .0
            .iter()
            .zip(self.lines_of(place))
        {
            for ((sum, y), &x) in sums.iter_mut().zip(other).zip(line.floats()) {
                *sum += y * f64::from(x);
            }
        }
        sums.iter().sum()
    }

    /// The squared length of a row, in float64.
    pub(super) fn squares(&self, place: usize) -> f64 {
        let mut sums = [0.0; WIDTH];
        for line in self.lines_of(place) {
            for (sum, &x) in sums.iter_mut().zip(line.floats()) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        sums.iter().sum()
    }

    /// Dot products of all rows with rows `first .. end` of `other`, in `out` `[n, end - first]`; `first` begins a tile.
    pub(super) fn products(&self, other: &Self, (first, end): (usize, usize), out: &mut Vec<f32>) {
        assert_eq!(first % TILE, 0, "a block begins with a tile");
        let columns = end - first;
        out.clear();
        out.resize(self.n * columns, 0.0);
        let quads =
            &other.quads[first / TILE * self.lines..][..columns.div_ceil(TILE) * self.lines];
        self.isa
            .cross((&self.quads, self.n), (quads, columns), self.lines, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::distance::CosineDistances;
    use super::super::testing::{Random, pairs, slices};
    use super::*;

    #[test]
    fn products_are_those_of_the_condensed_matrix() {
        let mut random = Random(41);
        for isa in Isa::available() {
            for (n, d) in [(1, 3), (5, 16), (13, 40), (30, 400), (66, 768)] {
                let rows = random.rows(n, d);
                let (mut units, mut live, mut out) = (TileRows::default(), vec![], vec![]);
                units.isa = isa;
                units.embed(&slices(&rows), None, &mut live).unwrap();
                let mut distances = CosineDistances::with_isa(isa);
                distances.compute(&slices(&rows), None).unwrap();
                let mut square = vec![vec![0.0; n]; n];
                for first in (0..n).step_by(8) {
                    let end = n.min(first + 8);
                    units.products(&units, (first, end), &mut out);
                    for (row, products) in square.iter_mut().zip(out.chunks_exact(end - first)) {
                        row[first..end].copy_from_slice(products);
                    }
                }
                for ((i, j), &distance) in pairs(n).zip(distances.condensed()) {
                    let case = format!("{isa:?}, n {n}, d {d}, pair {i}, {j}");
                    let error = (1.0 - square[i][j]).clamp(0.0, 2.0) - distance;
                    assert!(error.abs() < 5e-7, "{case}: {error}");
                    assert_eq!(square[i][j], square[j][i], "equal bits, {case}");
                }
            }
        }
    }

    #[test]
    fn rows_move_and_add_up() {
        let mut random = Random(42);
        let rows = random.rows(9, 20);
        let (mut units, mut live) = (TileRows::default(), vec![]);
        units.embed(&slices(&rows), None, &mut live).unwrap();
        let mut plain = vec![0.0; units.width()];
        units.add_to(6, 1.0, &mut plain);
        let mut other = TileRows::default();
        other.reset(3, 20);
        other.copy(1, &units, 6);
        units.copy_within(2, 6);
        for (found, place) in [(&other, 1), (&units, 2), (&units, 6)] {
            let mut sum = vec![0.0; found.width()];
            found.add_to(place, 0.5, &mut sum);
            found.add_to(place, 0.5, &mut sum);
            assert_eq!(sum, plain);
            assert_eq!(found.dot(place, &plain), found.squares(place));
        }
        assert!((units.squares(6) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_row_that_is_not_finite_is_named_and_zero_rows_left_out() {
        let (mut units, mut live) = (TileRows::default(), vec![]);
        units
            .embed(&[&[0.0, 0.0], &[0.0, 3.0]], None, &mut live)
            .unwrap();
        assert_eq!((live.as_slice(), units.len()), ([1].as_slice(), 1));
        let found = units.embed(&[&[1.0], &[f32::NAN]], None, &mut live);
        assert_eq!(found, Err(NonFinite { row: 1 }));
        assert_eq!((live.len(), units.len()), (0, 0));
    }
}
