//! Dot products of all pairs of rows, weighted on the way, as sums of outer products.
//!
//! Rows become panels: as many rows as a register has lanes lie side by side, place by place. A tile multiplies six
//! rows with two panels: its twelve sums stay in registers and never cross lanes. The panels of a stretch of places
//! fit the second-level cache; while they are multiplied the next stretch is fetched from memory.
//!
//! Every product is summed over the same places in the same order, so units that fuse give equal bits.

use std::ops::Range;

use super::{Isa, Kind, Line, Vector, WIDTH, prefetch};
use crate::distance::{condensed_row, resize};

/// Rows of a tile: with two panels that is twelve sums, which sixteen registers hold beside their operands.
pub(super) const ROWS: usize = 6;

/// Places summed before the sum is put aside: short enough that the rounding of same-signed products, the worst case,
/// stays below 1e-6 at any width.
const CHAIN: usize = 64;

/// Most places of a stretch, the part of every row that is in panels at a time.
const STRETCH: usize = 3 * CHAIN;

/// Stretches summed before their sum goes to the result: one more level of sums, for wide rows.
const SPAN: usize = 4;

/// Rows whose panels are multiplied with one another before others are made.
const BLOCK: usize = 128;

/// Rows, and places, that are transposed together.
const SQUARE: usize = 8;

static ZEROS: [f32; STRETCH] = [0.0; STRETCH];
static ONES: [f32; STRETCH] = [1.0; STRETCH];

/// Rows and what multiplies them: `row * weights`, rounded, times the row's scale.
#[derive(Clone, Copy, Debug)]
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

/// Room for panels and sums, which the next call reuses.
#[derive(Debug, Default)]
pub(crate) struct Panels {
    panels: Vec<Line>,
    sums: Vec<Line>,
}

impl Panels {
    /// Bytes held after the products of `n` rows of width `d`.
    pub(crate) fn bytes(n: usize, d: usize) -> usize {
        let n = n.next_multiple_of(WIDTH);
        let (rows, columns) = (n.min(2 * BLOCK), n.min(BLOCK));
        let places = d.next_multiple_of(SQUARE).min(STRETCH);
        (rows * places + columns * columns) * size_of::<f32>()
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        (self.panels.capacity() + self.sums.capacity()) * size_of::<Line>()
    }
}

impl Isa {
    /// Condensed dot products of the rows, and their squared norms.
    pub(crate) fn gram(
        self,
        weighted: Weighted<'_>,
        panels: &mut Panels,
        out: &mut [f32],
        squares: &mut [f32],
    ) {
        let Weighted {
            rows,
            weights,
            scales,
        } = weighted;
        let (n, d) = (rows.len(), weighted.width());
        let equal = |row: &&[f32]| row.len() == d;
        assert!(rows.iter().all(equal), "rows are equally wide");
        let fits = |w: &[f32]| w.len() == d || n == 0;
        assert!(weights.is_none_or(fits), "one weight a place");
        assert!(scales.is_none_or(|s| s.len() == n), "one scale a row");
        assert_eq!(squares.len(), n, "one square a row");
        assert_eq!(out.len(), n * n.saturating_sub(1) / 2, "one product a pair");
        match self.0 {
            // SAFETY: this vector type is plain Rust and needs no feature.
            Kind::Portable => unsafe { gram::<[f32; 4]>(weighted, panels, out, squares) },
            // SAFETY: an `Isa` of this kind exists only where its features were detected.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { gram_avx2(weighted, panels, out, squares) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { gram_avx512(weighted, panels, out, squares) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { gram_neon(weighted, panels, out, squares) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn gram_avx2(weighted: Weighted<'_>, panels: &mut Panels, out: &mut [f32], squares: &mut [f32]) {
    // SAFETY: this function is compiled with the features the vector type needs.
    unsafe { gram::<std::arch::x86_64::__m256>(weighted, panels, out, squares) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn gram_avx512(weighted: Weighted<'_>, panels: &mut Panels, out: &mut [f32], squares: &mut [f32]) {
    // SAFETY: this function is compiled with the features the vector type needs.
    unsafe { gram::<std::arch::x86_64::__m512>(weighted, panels, out, squares) }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn gram_neon(weighted: Weighted<'_>, panels: &mut Panels, out: &mut [f32], squares: &mut [f32]) {
    // SAFETY: this function is compiled with the features the vector type needs.
    unsafe { gram::<std::arch::aarch64::float32x4_t>(weighted, panels, out, squares) }
}

/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
unsafe fn gram<V: Vector>(
    weighted: Weighted<'_>,
    panels: &mut Panels,
    out: &mut [f32],
    squares: &mut [f32],
) {
    out.fill(0.0);
    squares.fill(0.0);
    let (n, d) = (squares.len(), weighted.width());
    let len = n.next_multiple_of(V::LANES.max(SQUARE));
    // Stretches of equal length: a short one would pay for a tile's sums with little work.
    let equal = d.div_ceil(d.div_ceil(STRETCH).max(1)).max(1);
    let stretch = equal.next_multiple_of(SQUARE);
    for first in (0..len).step_by(BLOCK) {
        for second in (first..len).step_by(BLOCK) {
            let [rows, columns] = [first, second].map(|i| i..len.min(i + BLOCK));
            let block = Block {
                weighted,
                pad: len - n,
                rows,
                columns,
            };
            for span in (0..d).step_by(SPAN * stretch) {
                panels.sums.clear();
                let lines = block.rows.len() * block.stride() / WIDTH;
                resize(&mut panels.sums, lines, Line([0.0; WIDTH]));
                let end = d.min(span + SPAN * stretch);
                for place in (span..end).step_by(stretch) {
                    let places = place..end.min(place + stretch);
                    // SAFETY: the caller's promise.
                    unsafe { add_stretch::<V>(&block, places, panels) };
                }
                block.take_sums(Line::flat(&panels.sums), out, squares);
            }
        }
    }
}

/// Rows to be multiplied with columns. Both are ranges of all rows behind `pad` rows of zeros, which fill the first
/// panel: the last row meets the fewest columns, so that padding is cheapest in front.
struct Block<'a> {
    weighted: Weighted<'a>,
    pad: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'a> Block<'a> {
    /// Rows in panels: the rows, then the columns where they are others.
    fn len(&self) -> usize {
        self.first_column() + self.columns.len()
    }

    /// Where the columns begin in the panels.
    fn first_column(&self) -> usize {
        match self.rows.start == self.columns.start {
            true => 0,
            false => self.rows.len(),
        }
    }

    /// Floats between the sums of a row and those of the next.
    fn stride(&self) -> usize {
        self.columns.len().next_multiple_of(WIDTH)
    }

    /// Number of the row at a place of the panels; none for padding.
    fn number(&self, place: usize) -> Option<usize> {
        let position = match place.checked_sub(self.rows.len()) {
            None => self.rows.start + place,
            Some(place) => self.columns.start + place,
        };
        position.checked_sub(self.pad)
    }

    /// Some places of eight rows in panels; zeros for padding, and behind the last.
    fn rows(&self, first: usize, places: &Range<usize>) -> [&'a [f32]; SQUARE] {
        let mut rows = [&ZEROS[..places.len()]; SQUARE];
        for (place, row) in (first..self.len()).zip(&mut rows) {
            if let Some(number) = self.number(place) {
                *row = &self.weighted.rows[number][places.clone()];
            }
        }
        rows
    }

    /// Adds the sums of pairs above the diagonal to `out`, those on it to `squares`.
    fn take_sums(&self, sums: &[f32], out: &mut [f32], squares: &mut [f32]) {
        for (row, sums) in self.rows.clone().zip(sums.chunks_exact(self.stride())) {
            let Some(i) = row.checked_sub(self.pad) else {
                continue;
            };
            let start = self.columns.start.max(row + 1);
            if self.columns.contains(&row) {
                squares[i] += sums[row - self.columns.start];
            }
            let first = condensed_row(squares.len(), i) + (start - row - 1);
            let sums = &sums[start - self.columns.start..self.columns.len()];
            for (pair, sum) in out[first..][..sums.len()].iter_mut().zip(sums) {
                *pair += sum;
            }
        }
    }
}

/// Adds the products over some places to the block's sums.
///
/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
unsafe fn add_stretch<V: Vector>(block: &Block<'_>, places: Range<usize>, panels: &mut Panels) {
    let depth = places.len().next_multiple_of(SQUARE);
    let width = V::LANES * depth;
    let len = block.len();
    resize(&mut panels.panels, len * depth / WIDTH, Line([0.0; WIDTH]));
    let next = places.end..block.weighted.width().min(places.end + depth);
    let mut ahead = Ahead {
        block,
        places: next,
        row: 0,
    };
    // SAFETY: the caller's promise.
    unsafe { fill::<V>(block, places, Line::flat_mut(&mut panels.panels)) };
    let (panels, sums) = (Line::flat(&panels.panels), Line::flat_mut(&mut panels.sums));
    let first_column = block.first_column();
    let n_panels = len / V::LANES;
    let (n_rows, stride) = (block.rows.len(), block.stride());
    for row in (block.pad.saturating_sub(block.rows.start)..n_rows).step_by(ROWS) {
        let keep = ROWS.min(n_rows - row);
        let mut a = [panels; ROWS];
        for (i, a) in a.iter_mut().enumerate() {
            let row = row + i.min(keep - 1);
            *a = &panels[row / V::LANES * width + row % V::LANES..];
        }
        let first = (first_column / V::LANES).max(row / V::LANES);
        let odd = (n_panels - first) % 2;
        let mut at = row * stride + first * V::LANES - first_column;
        if odd == 1 {
            let b = [&panels[first * width..][..width]];
            let sums = &mut sums[at..];
            let tile = Tile {
                a,
                b,
                keep,
                sums,
                stride,
            };
            // SAFETY: the caller's promise.
            unsafe { V::multiply(tile, &mut ahead) };
            at += V::LANES;
        }
        for panel in (first + odd..n_panels).step_by(2) {
            let b = [panel, panel + 1].map(|panel| &panels[panel * width..][..width]);
            let sums = &mut sums[at..];
            let tile = Tile {
                a,
                b,
                keep,
                sums,
                stride,
            };
            // SAFETY: the caller's promise.
            unsafe { V::multiply(tile, &mut ahead) };
            at += 2 * V::LANES;
        }
    }
}

/// Turns some places of the block's rows into panels, which are padded to whole squares.
///
/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
unsafe fn fill<V: Vector>(block: &Block<'_>, places: Range<usize>, panels: &mut [f32]) {
    let depth = places.len().next_multiple_of(SQUARE);
    let weights = block.weighted.weights;
    let weights = weights.map_or(&ONES[..places.len()], |w| &w[places.clone()]);
    let (whole_weights, rest_weights) = weights.as_chunks::<SQUARE>();
    let mut next = block.rows(0, &places);
    for first in (0..block.len()).step_by(SQUARE) {
        let rows = next;
        next = block.rows(first + SQUARE, &places);
        let whole = rows.map(|row| &row.as_chunks().0[..whole_weights.len()]);
        for (k, w) in whole_weights.iter().enumerate() {
            // SAFETY: the caller's promise.
            let columns = unsafe { V::columns(whole.map(|row| &row[k]), w) };
            put::<V>(&columns, first, k * SQUARE, depth, panels);
            if k % (WIDTH / SQUARE) == 0 {
                for row in next {
                    prefetch(row, k * SQUARE);
                }
            }
        }
        if !rest_weights.is_empty() {
            let rest = rows.map(|row| padded(row.as_chunks::<SQUARE>().1));
            // SAFETY: the caller's promise.
            let columns = unsafe { V::columns(rest.each_ref(), &padded(rest_weights)) };
            put::<V>(&columns, first, depth - SQUARE, depth, panels);
        }
    }
    if let Some(scales) = block.weighted.scales {
        for (panel, first) in panels
            .chunks_exact_mut(V::LANES * depth)
            .zip((0..).step_by(V::LANES))
        {
            for places in panel.chunks_exact_mut(V::LANES) {
                for (i, x) in places.iter_mut().enumerate() {
                    *x *= block.number(first + i).map_or(1.0, |number| scales[number]);
                }
            }
        }
    }
}

/// The floats, then zeros.
fn padded(floats: &[f32]) -> [f32; SQUARE] {
    let mut padded = [0.0; SQUARE];
    padded[..floats.len()].copy_from_slice(floats);
    padded
}

/// Writes columns of eight rows, whose first is `row`, to the rows' panels from `place` on.
#[inline(always)]
fn put<V: Vector>(
    columns: &[[f32; SQUARE]; SQUARE],
    row: usize,
    place: usize,
    depth: usize,
    panels: &mut [f32],
) {
    // A square spans several panels of a narrow unit, and is half of a wide unit's panel.
    let part = V::LANES.min(SQUARE);
    for (i, row) in (row..row + SQUARE).step_by(part).enumerate() {
        let start = (row / V::LANES * depth + place) * V::LANES + row % V::LANES;
        let panel = &mut panels[start..][..(SQUARE - 1) * V::LANES + part];
        for (place, column) in columns.iter().enumerate() {
            panel[place * V::LANES..][..part].copy_from_slice(&column[i * part..][..part]);
        }
    }
}

/// Six rows to be multiplied with some panels.
pub(super) struct Tile<'a, const L: usize> {
    /// Each begins in its lane of a panel.
    a: [&'a [f32]; ROWS],
    /// Whole panels.
    b: [&'a [f32]; L],
    /// How many of the rows there are; the others repeat the last.
    keep: usize,
    /// Sums of the first row and panel, and what follows.
    sums: &'a mut [f32],
    /// Floats between the sums of a row and those of the next.
    stride: usize,
}

/// Adds the products of a tile to its sums.
///
/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector, const L: usize>(tile: Tile<'_, L>, ahead: &mut Ahead<'_>) {
    let Tile {
        a,
        b,
        keep,
        sums,
        stride,
    } = tile;
    let depth = b[0].len() / V::LANES;
    let last = depth.saturating_sub(1) * V::LANES;
    assert!(a.iter().all(|a| a.len() > last) && b.iter().all(|b| b.len() == depth * V::LANES));
    // SAFETY: no place is beyond the last, which lies inside every slice; the features are the caller's promise.
    unsafe {
        let mut totals = [[V::zero(); L]; ROWS];
        for chain in (0..depth).step_by(CHAIN) {
            let mut part = [[V::zero(); L]; ROWS];
            for place in chain..depth.min(chain + CHAIN) {
                let at = place * V::LANES;
                let mut y = [V::zero(); L];
                for (y, b) in y.iter_mut().zip(&b) {
                    *y = V::load_floats(b.get_unchecked(at..at + V::LANES));
                }
                for (part, a) in part.iter_mut().zip(&a) {
                    let x = V::splat(*a.get_unchecked(at));
                    for (sum, y) in part.iter_mut().zip(y) {
                        *sum = V::mul_add(x, y, *sum);
                    }
                }
            }
            for (totals, part) in totals.iter_mut().zip(part) {
                for (total, sum) in totals.iter_mut().zip(part) {
                    *total = V::add(*total, sum);
                }
            }
            ahead.fetch();
        }
        for (i, totals) in totals.iter().enumerate().take(keep) {
            let sums = &mut sums[i * stride..][..L * V::LANES];
            for (sums, total) in sums.chunks_exact_mut(V::LANES).zip(totals) {
                V::add(V::load_floats(sums), *total).store(sums);
            }
        }
    }
}

/// The stretch that comes next, asked for row by row: all at once would hold up the products.
pub(super) struct Ahead<'a> {
    block: &'a Block<'a>,
    places: Range<usize>,
    row: usize,
}

impl Ahead<'_> {
    #[inline(always)]
    fn fetch(&mut self) {
        if self.row == self.block.len() {
            return;
        }
        if let Some(number) = self.block.number(self.row) {
            let row = self.block.weighted.rows[number];
            for place in self.places.clone().step_by(WIDTH) {
                prefetch(row, place);
            }
        }
        self.row += 1;
    }
}
