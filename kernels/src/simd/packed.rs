//! The inside of the products: sums of outer products.
//!
//! Rows become panels: as many as a register has lanes lie side by side, place by place. A tile multiplies six rows
//! with two panels: its twelve sums stay in registers and never cross lanes. The panels of a stretch of places fit the
//! second-level cache of most processors. While eight rows are turned into panels the next eight are fetched from memory.

use std::marker::PhantomData;
use std::ops::Range;
use std::slice::ChunksExactMut;

use super::block::{Block, ROWS, RUN, RowSource, SQUARE, STRETCH};
use super::vector_unit::{Line, Outlined, Vector, WIDTH, prefetch};
use crate::condensed::resize;

/// Places whose code stands in one round of the innermost loop.
const UNROLLED: usize = 4;

static ZEROS: [f32; STRETCH] = [0.0; STRETCH];
static ONES: [f32; STRETCH] = [1.0; STRETCH];

/// Adds the products over some places to the block's sums.
///
/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
pub(super) unsafe fn add_stretch<V: Vector>(
    block: &Block<'_>,
    places: Range<usize>,
    panels: &mut Vec<Line>,
    sums: &mut [Line],
) {
    let depth = places.len().next_multiple_of(SQUARE);
    let lines = block.len() * depth / WIDTH;
    resize(panels, lines, Line([0.0; WIDTH]));
    // SAFETY: the caller's promise.
    unsafe { fill::<V>(block, &places, Line::flat_mut(panels)) };
    let panels = Line::flat(panels);
    let sums = Line::flat_mut(sums);
    let width = V::LANES * depth;
    let n_panels = block.columns.len() / V::LANES;
    let (n_rows, stride) = (block.n_rows(), block.stride());
    for first_row in (block.first_row().0..n_rows).step_by(ROWS) {
        let mut rows = [panels; ROWS];
        for (i, slot) in rows.iter_mut().enumerate() {
            // Behind the last row, what is repeated of it goes to sums that nobody reads.
            let row = (first_row + i).min(n_rows - 1);
            let place = match &block.rows {
                RowSource::Columns => row,
                RowSource::Panels(_) => block.columns.len() + row,
                RowSource::Plain(rows, _) => {
                    *slot = &rows[row][places.clone()];
                    continue;
                }
            };
            *slot = &panels[place / V::LANES * width + place % V::LANES..];
        }
        let (first, spacing) = match &block.rows {
            RowSource::Columns => (first_row / V::LANES, Spacing::Panel),
            RowSource::Panels(_) => (0, Spacing::Panel),
            RowSource::Plain(..) => (0, Spacing::Adjacent),
        };
        let band = Band {
            rows,
            spacing,
            n_places: places.len(),
            panels: &panels[first * width..n_panels * width],
            width,
            sums: &mut sums[first_row * stride + first * V::LANES..],
            stride,
        };
        // SAFETY: the caller's promise.
        unsafe { V::outlined(band) };
    }
}

/// Turns some places of the block's rows into panels, which are padded to whole squares.
///
/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
unsafe fn fill<V: Vector>(block: &Block<'_>, places: &Range<usize>, panels: &mut [f32]) {
    let depth = places.len().next_multiple_of(SQUARE);
    let weights = block
        .weights
        .map_or(&ONES[..places.len()], |w| &w[places.clone()]);
    let (whole_weights, rest_weights) = weights.as_chunks::<SQUARE>();
    let mut next = square(block, 0, places);
    for first in (0..block.len()).step_by(SQUARE) {
        let rows = next;
        next = square(block, first + SQUARE, places);
        let mut whole = [whole_weights; SQUARE];
        for (whole, row) in whole.iter_mut().zip(rows) {
            *whole = &row.as_chunks().0[..whole_weights.len()];
        }
        let mut out = Strips::<V>::new(panels, first, depth);
        for (k, w) in whole_weights.iter().enumerate() {
            let mut h = [w; SQUARE];
            for (h, row) in h.iter_mut().zip(&whole) {
                *h = &row[k];
            }
            // SAFETY: the caller's promise.
            out.push(&unsafe { V::columns(h, w) });
            if k % (WIDTH / SQUARE) == 0 {
                for row in next {
                    prefetch(row, k * SQUARE);
                }
            }
        }
        if !rest_weights.is_empty() {
            let rest = rows.map(|row| padded(row.as_chunks::<SQUARE>().1));
            // SAFETY: the caller's promise.
            out.push(&unsafe { V::columns(rest.each_ref(), &padded(rest_weights)) });
        }
    }
    for place in 0..block.len() {
        if let Some((_, scale)) = block.at(place)
            && scale != 1.0
        {
            let start = place / V::LANES * V::LANES * depth + place % V::LANES;
            let lane = panels[start..].iter_mut().step_by(V::LANES);
            lane.take(depth).for_each(|x| *x *= scale);
        }
    }
}

/// Some places of eight rows in panels, zeros where there is none.
fn square<'a>(block: &Block<'a>, first: usize, places: &Range<usize>) -> [&'a [f32]; SQUARE] {
    let mut rows = [&ZEROS[..places.len()]; SQUARE];
    for (place, row) in (first..).zip(&mut rows) {
        if let Some((whole, _)) = block.at(place) {
            *row = &whole[places.clone()];
        }
    }
    rows
}

/// The floats, then zeros.
fn padded(floats: &[f32]) -> [f32; SQUARE] {
    let mut padded = [0.0; SQUARE];
    padded[..floats.len()].copy_from_slice(floats);
    padded
}

/// Where eight rows stand in the panels: two panels of a narrow unit, and half of a wide unit's.
struct Strips<'a, V> {
    upper: ChunksExactMut<'a, f32>,
    /// Empty but for narrow units.
    lower: ChunksExactMut<'a, f32>,
    lane: usize,
    unit: PhantomData<V>,
}

impl<'a, V: Vector> Strips<'a, V> {
    /// Of the rows from `first` on.
    #[inline(always)]
    fn new(panels: &'a mut [f32], first: usize, depth: usize) -> Self {
        let width = V::LANES * depth;
        let (upper, rest) = panels[first / V::LANES * width..].split_at_mut(width);
        let lower = if V::LANES < SQUARE { width } else { 0 };
        Self {
            upper: upper.chunks_exact_mut(SQUARE * V::LANES),
            lower: rest[..lower].chunks_exact_mut(SQUARE * V::LANES),
            lane: first % V::LANES,
            unit: PhantomData,
        }
    }

    /// Appends eight columns.
    #[inline(always)]
    fn push(&mut self, columns: &[[f32; SQUARE]; SQUARE]) {
        let part = V::LANES.min(SQUARE);
        if let Some(upper) = self.upper.next() {
            for (place, column) in upper.chunks_exact_mut(V::LANES).zip(columns) {
                place[self.lane..][..part].copy_from_slice(&column[..part]);
            }
        }
        if let Some(lower) = self.lower.next() {
            for (place, column) in lower.chunks_exact_mut(V::LANES).zip(columns) {
                place[..SQUARE - part].copy_from_slice(&column[part..]);
            }
        }
    }
}

/// Where the next place of a row stands.
#[derive(Clone, Copy)]
enum Spacing {
    /// Behind this one, as rows lie in memory.
    Adjacent,
    /// A register further, as rows lie in panels.
    Panel,
}

/// Six rows to be multiplied with some panels.
struct Band<'a> {
    /// Each from its first place on.
    rows: [&'a [f32]; ROWS],
    spacing: Spacing,
    n_places: usize,
    panels: &'a [f32],
    /// Floats of a panel.
    width: usize,
    /// Sums of the first row with the first panel, and what follows.
    sums: &'a mut [f32],
    /// Floats between the sums of a row and those of the next.
    stride: usize,
}

impl Outlined for Band<'_> {
    /// Adds the products to the sums, tile by tile.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let last = self.n_places.saturating_sub(1);
        let step = match self.spacing {
            Spacing::Adjacent => 1,
            Spacing::Panel => V::LANES,
        };
        let reaches = |row: &&[f32]| row.len() > last * step;
        assert!(
            self.rows.iter().all(reaches),
            "rows reach to the last place"
        );
        assert!(
            self.n_places * V::LANES <= self.width,
            "panels reach to the last place"
        );
        // A loop for each step: where it is known, all registers are left to the sums.
        // SAFETY: rows and panels were checked; the features are the caller's promise.
        unsafe {
            match self.spacing {
                Spacing::Adjacent => multiply_checked::<V>(self, 1),
                Spacing::Panel => multiply_checked::<V>(self, V::LANES),
            }
        }
    }
}

/// # Safety
/// As [`Outlined::run`]; every row, by this step, and every panel reaches to the last place.
#[inline(always)]
unsafe fn multiply_checked<V: Vector>(mut band: Band<'_>, step: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut panels = band.panels.chunks_exact(band.width);
        let mut column = 0;
        if panels.len() % 2 == 1
            && let Some(panel) = panels.next()
        {
            multiply_tile::<V, 1>(&mut band, step, [panel], column);
            column += V::LANES;
        }
        while let [Some(a), Some(b)] = [panels.next(), panels.next()] {
            multiply_tile::<V, 2>(&mut band, step, [a, b], column);
            column += 2 * V::LANES;
        }
    }
}

/// # Safety
/// As [`multiply_checked`].
#[inline(always)]
unsafe fn multiply_tile<V: Vector, const L: usize>(
    band: &mut Band<'_>,
    step: usize,
    panels: [&[f32]; L],
    column: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for chain in (0..band.n_places).step_by(RUN) {
            let mut part = [[V::splat(0.0); L]; ROWS];
            let end = band.n_places.min(chain + RUN);
            let whole = end - (end - chain) % UNROLLED;
            for first in (chain..whole).step_by(UNROLLED) {
                for i in 0..UNROLLED {
                    add_place(&mut part, band, step, &panels, first + i);
                }
            }
            for place in whole..end {
                add_place(&mut part, band, step, &panels, place);
            }
            for (i, part) in part.into_iter().enumerate() {
                let sums = &mut band.sums[i * band.stride + column..][..L * V::LANES];
                for (sums, part) in sums.chunks_exact_mut(V::LANES).zip(part) {
                    V::add(V::load(sums), part).store(sums);
                }
            }
        }
    }
}

/// # Safety
/// As [`multiply_checked`].
#[inline(always)]
unsafe fn add_place<V: Vector, const L: usize>(
    sums: &mut [[V; L]; ROWS],
    band: &Band<'_>,
    step: usize,
    panels: &[&[f32]; L],
    place: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let at = place * V::LANES;
        let mut y = [V::splat(0.0); L];
        for (y, panel) in y.iter_mut().zip(panels) {
            *y = V::load(panel.get_unchecked(at..at + V::LANES));
        }
        for (sums, row) in sums.iter_mut().zip(&band.rows) {
            let x = V::splat(*row.get_unchecked(place * step));
            for (sum, y) in sums.iter_mut().zip(y) {
                *sum = V::mul_add(x, y, *sum);
            }
        }
    }
}
