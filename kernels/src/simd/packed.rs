//! The inside of the products: sums of outer products.
//!
//! Rows become panels: as many as a register has lanes lie side by side, place by place. A tile multiplies six rows
//! with two panels: its twelve sums stay in registers and never cross lanes. The panels of a stretch of places fit the
//! second-level cache of most processors. While eight rows are turned into panels the next eight are fetched from memory.

use std::ops::Range;
use std::slice::ChunksExactMut;

use super::block::{Block, ROWS, RUN, RowSource, SQUARE, STRETCH};
use super::vector_unit::{Line, Unit, WIDTH, prefetch};
use crate::condensed::resize;

/// Places whose code stands in one round of the innermost loop.
const UNROLLED: usize = 4;

static ZEROS: [f32; STRETCH] = [0.0; STRETCH];
static ONES: [f32; STRETCH] = [1.0; STRETCH];

/// Adds the products over some places to the block's sums.
///
/// Panels and bands are made in functions of their own, so that their loops have all registers.
pub(super) fn add_stretch<U: Unit>(
    unit: U,
    block: &Block<'_>,
    places: Range<usize>,
    panels: &mut Vec<Line>,
    sums: &mut [f32],
) {
    let depth = places.len().next_multiple_of(SQUARE);
    let lines = block.len() * depth / WIDTH;
    resize(panels, lines, Line::ZEROS);
    let panels: &mut [f32] = bytemuck::cast_slice_mut(panels);
    unit.vectorize(
        #[inline(always)]
        || fill(unit, block, &places, panels),
    );
    let panels = &*panels;
    let width = U::F32_LANES * depth;
    let n_panels = block.columns.len() / U::F32_LANES;
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
            *slot = &panels[place / U::F32_LANES * width + place % U::F32_LANES..];
        }
        let (first, spacing) = match &block.rows {
            RowSource::Columns => (first_row / U::F32_LANES, Spacing::Panel),
            RowSource::Panels(_) => (0, Spacing::Panel),
            RowSource::Plain(..) => (0, Spacing::Adjacent),
        };
        let band = Band {
            rows,
            spacing,
            n_places: places.len(),
            panels: &panels[first * width..n_panels * width],
            width,
            sums: &mut sums[first_row * stride + first * U::F32_LANES..],
            stride,
        };
        unit.vectorize(
            #[inline(always)]
            || band.multiply(unit),
        );
    }
}

/// Turns some places of the block's rows into panels, which are padded to whole squares.
#[inline(always)]
fn fill<U: Unit>(unit: U, block: &Block<'_>, places: &Range<usize>, panels: &mut [f32]) {
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
        let mut out = Strips::new(U::F32_LANES, panels, first, depth);
        for (k, w) in whole_weights.iter().enumerate() {
            let mut h = [w; SQUARE];
            for (h, row) in h.iter_mut().zip(&whole) {
                *h = &row[k];
            }
            out.push(&unit.columns(h, w));
            if k % (WIDTH / SQUARE) == 0 {
                for row in next {
                    prefetch(row, k * SQUARE);
                }
            }
        }
        if !rest_weights.is_empty() {
            let rest = rows.map(|row| padded(row.as_chunks::<SQUARE>().1));
            out.push(&unit.columns(rest.each_ref(), &padded(rest_weights)));
        }
    }
    for place in 0..block.len() {
        if let Some((_, scale)) = block.at(place)
            && scale != 1.0
        {
            let start = place / U::F32_LANES * U::F32_LANES * depth + place % U::F32_LANES;
            let lane = panels[start..].iter_mut().step_by(U::F32_LANES);
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
struct Strips<'a> {
    upper: ChunksExactMut<'a, f32>,
    /// Empty but for narrow units.
    lower: ChunksExactMut<'a, f32>,
    /// Lanes of a register, and the first of these rows.
    lanes: usize,
    lane: usize,
}

impl<'a> Strips<'a> {
    /// Of the rows from `first` on.
    #[inline(always)]
    fn new(lanes: usize, panels: &'a mut [f32], first: usize, depth: usize) -> Self {
        let width = lanes * depth;
        let (upper, rest) = panels[first / lanes * width..].split_at_mut(width);
        let lower = if lanes < SQUARE { width } else { 0 };
        Self {
            upper: upper.chunks_exact_mut(SQUARE * lanes),
            lower: rest[..lower].chunks_exact_mut(SQUARE * lanes),
            lanes,
            lane: first % lanes,
        }
    }

    /// Appends eight columns.
    #[inline(always)]
    fn push(&mut self, columns: &[[f32; SQUARE]; SQUARE]) {
        let part = self.lanes.min(SQUARE);
        if let Some(upper) = self.upper.next() {
            for (place, column) in upper.chunks_exact_mut(self.lanes).zip(columns) {
                place[self.lane..][..part].copy_from_slice(&column[..part]);
            }
        }
        if let Some(lower) = self.lower.next() {
            for (place, column) in lower.chunks_exact_mut(self.lanes).zip(columns) {
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

impl Band<'_> {
    /// Adds the products to the sums, tile by tile.
    #[inline(always)]
    fn multiply<U: Unit>(self, unit: U) {
        // A loop for each step: where it is known, all registers are left to the sums.
        match self.spacing {
            Spacing::Adjacent => self.multiply_by_step(unit, 1),
            Spacing::Panel => self.multiply_by_step(unit, U::F32_LANES),
        }
    }

    #[inline(always)]
    fn multiply_by_step<U: Unit>(mut self, unit: U, step: usize) {
        let mut panels = self.panels.chunks_exact(self.width);
        let mut column = 0;
        if panels.len() % 2 == 1
            && let Some(panel) = panels.next()
        {
            self.multiply_tile(unit, step, [panel], column);
            column += U::F32_LANES;
        }
        while let [Some(a), Some(b)] = [panels.next(), panels.next()] {
            self.multiply_tile(unit, step, [a, b], column);
            column += 2 * U::F32_LANES;
        }
    }

    #[inline(always)]
    fn multiply_tile<U: Unit, const L: usize>(
        &mut self,
        unit: U,
        step: usize,
        panels: [&[f32]; L],
        column: usize,
    ) {
        let last = self.n_places.saturating_sub(1);
        let rows = self.rows.map(|row| &row[..=last * step]);
        let panels = panels.map(|panel| &U::as_simd_f32s(panel).0[..=last]);
        for chain in (0..self.n_places).step_by(RUN) {
            let mut part = [[unit.splat_f32s(0.0); L]; ROWS];
            let end = self.n_places.min(chain + RUN);
            let whole = end - (end - chain) % UNROLLED;
            // SAFETY: rows and panels were cut behind the last place, and no place is behind it.
            unsafe {
                for first in (chain..whole).step_by(UNROLLED) {
                    for i in 0..UNROLLED {
                        add_place(unit, &mut part, &rows, step, &panels, first + i);
                    }
                }
                for place in whole..end {
                    add_place(unit, &mut part, &rows, step, &panels, place);
                }
            }
            for (i, part) in part.into_iter().enumerate() {
                let sums = &mut self.sums[i * self.stride + column..][..L * U::F32_LANES];
                for (sum, part) in U::as_mut_simd_f32s(sums).0.iter_mut().zip(part) {
                    *sum = unit.add_f32s(*sum, part);
                }
            }
        }
    }
}

/// # Safety
/// Every panel, and every row by this step, reaches to the place.
#[inline(always)]
unsafe fn add_place<U: Unit, const L: usize>(
    unit: U,
    sums: &mut [[U::f32s; L]; ROWS],
    rows: &[&[f32]; ROWS],
    step: usize,
    panels: &[&[U::f32s]; L],
    place: usize,
) {
    // SAFETY: the caller's promise.
    let (y, x) = unsafe {
        (
            panels.map(|panel| *panel.get_unchecked(place)),
            rows.map(|row| *row.get_unchecked(place * step)),
        )
    };
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sum, y) in sums.iter_mut().zip(y) {
            *sum = unit.multiply_add(unit.splat_f32s(x), y, *sum);
        }
    }
}
