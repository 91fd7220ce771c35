//! Dot products of many rows with many, weighted on the way: which are multiplied when, and where their sums go.
//!
//! Every product is summed over the same places in the same order, so units that fuse give equal bits, and a product
//! has the same bits in either order of its rows.
//!
//! The crate gemm, which the networks use, takes 1.7 times as long for the whole work on 100 rows of 768
//! (`cargo bench --workspace --bench neuron -- n100_d768` shows it beside): it multiplies every pair twice.

use pulp::Scalar128b;

use super::block::{Block, ROWS, RUN, RowSource, SQUARE, STRETCH, Side, Take};
use super::packed::add_stretch;
use super::vector_unit::{Isa, Line, Unit, WIDTH};
use crate::condensed::{condensed_row, resize};

/// Rows whose panels are multiplied with one another before others are made.
const BLOCK: usize = 128;

/// Rows and what multiplies them: `row * weights`, rounded, times the row's scale.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weighted<'a> {
    /// All equally wide.
    pub rows: &'a [&'a [f32]],
    /// One per place; ones where there are none.
    pub weights: Option<&'a [f32]>,
    /// One per row; ones where there are none.
    pub scales: Option<&'a [f32]>,
}

impl Weighted<'_> {
    fn width(&self) -> usize {
        self.rows.first().map_or(0, |row| row.len())
    }
}

fn add(sums: &[f32], out: &mut [f32]) {
    for (out, sum) in out[..sums.len()].iter_mut().zip(sums) {
        *out += sum;
    }
}

/// Multiplies, in buffers that the next call reuses.
#[derive(Debug)]
pub(crate) struct Products {
    isa: Isa,
    panels: Vec<Line>,
    sums: Vec<Line>,
}

impl Default for Products {
    fn default() -> Self {
        Self::with_isa(Isa::best())
    }
}

impl Products {
    pub(crate) fn with_isa(isa: Isa) -> Self {
        Self {
            isa,
            panels: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Condensed dot products of the rows, and their squared norms.
    pub(crate) fn gram(&mut self, weighted: Weighted<'_>, out: &mut [f32], squares: &mut [f32]) {
        let n = weighted.rows.len();
        assert_eq!(squares.len(), n, "one square a row");
        assert_eq!(out.len(), n * n.saturating_sub(1) / 2, "one product a pair");
        out.fill(0.0);
        squares.fill(0.0);
        self.multiply(None, weighted, &mut |i, j, sums| {
            if let Some(square) = i.checked_sub(j).and_then(|i| sums.get(i)) {
                squares[i] += square;
            }
            let start = j.max(i + 1);
            if let Some(sums) = sums.get(start - j..) {
                let pairs = &mut out[condensed_row(n, i) + (start - i - 1)..];
                add(sums, pairs);
            }
        });
    }

    /// Dot products of rows with columns, all equally wide, in `out` `[rows, columns]`.
    pub(crate) fn cross(&mut self, rows: &[&[f32]], columns: &[&[f32]], out: &mut [f32]) {
        let n = columns.len();
        assert_eq!(out.len(), rows.len() * n, "one product a pair");
        out.fill(0.0);
        let columns = Weighted {
            rows: columns,
            ..Default::default()
        };
        let mut take = |i: usize, j: usize, sums: &[f32]| add(sums, &mut out[i * n + j..]);
        self.multiply(Some(rows), columns, &mut take);
    }

    /// Hands sums to `take`; of the columns among themselves, where no rows are given, those of pairs in order at least.
    fn multiply(&mut self, rows: Option<&[&[f32]]>, columns: Weighted<'_>, take: &mut Take<'_>) {
        let (n, d) = (columns.rows.len(), columns.width());
        for (i, row) in columns.rows.iter().enumerate() {
            assert_eq!(row.len(), d, "row {i} is as wide as the first");
        }
        if n > 0 {
            let fit = rows.is_none_or(|rows| rows.iter().all(|row| row.len() == d));
            assert!(fit, "rows are as wide as columns");
            let fit = columns.weights.is_none_or(|w| w.len() == d);
            assert!(fit, "one weight a place");
        }
        let fit = columns.scales.is_none_or(|scales| scales.len() == n);
        assert!(fit, "one scale a row");
        let job = Job { rows, columns };
        match self.isa {
            Isa::Portable => multiply(Scalar128b, self, job, take),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(unit) => multiply(unit, self, job, take),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(unit) => multiply(unit, self, job, take),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(unit) => multiply(unit, self, job, take),
        }
    }

    /// Bytes held after products of up to `n` rows and columns of width `d`.
    pub(crate) fn bytes(n: usize, d: usize) -> usize {
        let n = n.next_multiple_of(WIDTH);
        let (panels, columns) = (n.min(2 * BLOCK), n.min(BLOCK));
        let places = d.next_multiple_of(SQUARE).min(STRETCH);
        (panels * places + (columns + ROWS) * columns) * size_of::<f32>()
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        (self.panels.capacity() + self.sums.capacity()) * size_of::<Line>()
    }
}

/// What a call multiplies.
#[derive(Clone, Copy)]
struct Job<'a> {
    /// The columns among themselves, where there are none.
    rows: Option<&'a [&'a [f32]]>,
    columns: Weighted<'a>,
}

impl<'a> Job<'a> {
    /// The columns from `first` on, of a block.
    fn side(&self, first: usize, pad: usize) -> Side<'a> {
        let Weighted { rows, scales, .. } = self.columns;
        let own = if first == 0 { pad } else { 0 };
        let first = first + own - pad;
        let rows = &rows[first..rows.len().min(first + BLOCK - own)];
        Side {
            rows,
            scales: scales.map(|scales| &scales[first..][..rows.len()]),
            pad: own,
            first,
        }
    }
}

fn multiply<U: Unit>(unit: U, products: &mut Products, job: Job<'_>, take: &mut Take<'_>) {
    let (n, width) = (job.columns.rows.len(), job.columns.width());
    let len = n.next_multiple_of(U::F32_LANES.max(SQUARE));
    // Stretches of equal length, in whole chains: a short one would pay for a tile's sums with little work.
    let equal = width.div_ceil(width.div_ceil(STRETCH).max(1)).max(1);
    let stretch = equal.next_multiple_of(RUN);
    for second in (0..len).step_by(BLOCK) {
        let end = job.rows.map_or(second + 1, <[_]>::len);
        for first in (0..end).step_by(BLOCK) {
            let block = Block {
                columns: job.side(second, len - n),
                rows: match job.rows {
                    Some(rows) => RowSource::Plain(&rows[first..end.min(first + BLOCK)], first),
                    None if first == second => RowSource::Columns,
                    None => RowSource::Panels(job.side(first, len - n)),
                },
                weights: job.columns.weights,
            };
            // The sums of a stretch, then the sum of these: one more level, for wide rows.
            for place in (0..width).step_by(stretch) {
                products.sums.clear();
                let lines = (block.n_rows() + ROWS) * block.stride() / WIDTH;
                resize(&mut products.sums, lines, Line::ZEROS);
                let sums = bytemuck::cast_slice_mut(&mut products.sums);
                let places = place..width.min(place + stretch);
                add_stretch(unit, &block, places, &mut products.panels, sums);
                block.take_sums(sums, take);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, pairs, slices};

    #[test]
    fn products_of_rows_and_columns_are_those_of_pairs() {
        let mut random = Random(41);
        for isa in Isa::available() {
            let mut products = Products::with_isa(isa);
            for (n, d) in [(1, 3), (5, 16), (13, 40), (30, 400), (66, 1000), (140, 20)] {
                let rows = random.rows(n, d);
                let rows = slices(&rows);
                let mut gram = vec![f32::NAN; n * (n - 1) / 2];
                let mut squares = vec![f32::NAN; n];
                let weighted = Weighted {
                    rows: &rows,
                    ..Default::default()
                };
                products.gram(weighted, &mut gram, &mut squares);
                for n_columns in [0, 1, 7, 8, 30, 129] {
                    let columns = &rows[..n.min(n_columns)];
                    let mut cross = vec![f32::NAN; n * columns.len()];
                    products.cross(&rows, columns, &mut cross);
                    let at = |i, j| cross[i * columns.len() + j];
                    let case = format!("{isa:?}, n {n}, d {d}, {n_columns} columns");
                    for ((i, j), product) in pairs(n).zip(&gram) {
                        if i < columns.len() {
                            assert_eq!(at(j, i), *product, "{case}, pair {i}, {j}");
                        }
                        if j < columns.len() {
                            assert_eq!(at(i, j), *product, "{case}, pair {i}, {j}");
                        }
                    }
                    for (i, square) in squares.iter().enumerate().take(columns.len()) {
                        assert_eq!(at(i, i), *square, "{case}, square {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn weights_and_scales_multiply_in_their_order() {
        let rows: [&[f32]; 2] = [&[3.0, 5.0, 7.0], &[1e30, 2.0, 0.5]];
        let weighted = Weighted {
            rows: &rows,
            weights: Some(&[2.0, 1.0, 4.0]),
            scales: Some(&[0.5, 2f32.powi(-99)]),
        };
        let (mut out, mut squares) = ([0.0], [0.0; 2]);
        Products::default().gram(weighted, &mut out, &mut squares);
        let b = 2e30f32 * 2f32.powi(-99);
        let close = |x: f32, y: f32| (x / y - 1.0).abs() < 1e-6;
        assert!(close(squares[0], 9.0 + 6.25 + 196.0), "{squares:?}");
        assert!(close(squares[1], b * b), "{squares:?}");
        assert!(close(out[0], 3.0 * b), "{out:?}");
    }
}
