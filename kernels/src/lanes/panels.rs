//! The inside of the products: sums of outer products.
//!
//! Rows become panels: as many as a register has lanes lie side by side, place by place. A tile multiplies six rows
//! with two panels: its twelve sums stay in registers and never cross lanes. The panels of a stretch of places fit the
//! second-level cache; while they are multiplied the next stretch is fetched from memory.

use std::ops::Range;

use super::products::{Block, Products, Rows};
use super::{Line, Vector, WIDTH, prefetch};
use crate::distance::resize;

/// Rows of a tile: with two panels that is twelve sums, which sixteen registers hold beside their operands.
pub(super) const ROWS: usize = 6;

/// Places summed before the sum is added to that of others: short enough that the rounding of same-signed products, the
/// worst case, stays below 1e-6 at any width.
const CHAIN: usize = 64;

/// Most places of a stretch, the part of every row that is in panels at a time.
pub(super) const STRETCH: usize = 3 * CHAIN;

/// Rows, and places, that are transposed together.
pub(super) const SQUARE: usize = 8;

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
    products: &mut Products,
) {
    let depth = places.len().next_multiple_of(SQUARE);
    let lines = block.len() * depth / WIDTH;
    resize(&mut products.panels, lines, Line([0.0; WIDTH]));
    // SAFETY: the caller's promise.
    unsafe { fill::<V>(block, &places, Line::flat_mut(&mut products.panels)) };
    let mut ahead = Ahead {
        block,
        places: places.end..block.width.min(places.end + depth),
        next: 0,
    };
    let panels = Line::flat(&products.panels);
    let sums = Line::flat_mut(&mut products.sums);
    let width = V::LANES * depth;
    let n_panels = block.columns.len() / V::LANES;
    let (n_rows, stride) = (block.n_rows(), block.stride());
    for first_row in (block.first_row().0..n_rows).step_by(ROWS) {
        let mut rows = [panels; ROWS];
        for (i, slot) in rows.iter_mut().enumerate() {
            // Behind the last row, what is repeated of it goes to sums that nobody reads.
            let row = (first_row + i).min(n_rows - 1);
            let place = match &block.rows {
                Rows::Columns => row,
                Rows::Panels(_) => block.columns.len() + row,
                Rows::Plain(rows, _) => {
                    *slot = &rows[row][places.clone()];
                    continue;
                }
            };
            *slot = &panels[place / V::LANES * width + place % V::LANES..];
        }
        let (first, step) = match &block.rows {
            Rows::Columns => (first_row / V::LANES, V::LANES),
            Rows::Panels(_) => (0, V::LANES),
            Rows::Plain(..) => (0, 1),
        };
        let panel = |i: usize| &panels[i * width..][..width];
        let odd = (n_panels - first) % 2;
        for i in (first..first + odd).chain((first + odd..n_panels).step_by(2)) {
            let tile = Tile {
                rows,
                step,
                n_places: places.len(),
                sums: &mut sums[first_row * stride + i * V::LANES..],
                stride,
            };
            // SAFETY: the caller's promise.
            unsafe {
                match i < first + odd {
                    true => V::multiply_tile(tile, [panel(i)], &mut ahead),
                    false => V::multiply_tile(tile, [panel(i), panel(i + 1)], &mut ahead),
                }
            }
        }
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
pub(super) struct Tile<'a> {
    /// Each from its first place on.
    rows: [&'a [f32]; ROWS],
    /// Floats from place to place of a row.
    step: usize,
    n_places: usize,
    /// Sums of the first row with the first panel, and what follows.
    sums: &'a mut [f32],
    /// Floats between the sums of a row and those of the next.
    stride: usize,
}

/// Adds the products of a tile with some panels to its sums.
///
/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
pub(super) unsafe fn multiply_tile<V: Vector, const L: usize>(
    tile: Tile<'_>,
    panels: [&[f32]; L],
    ahead: &mut Ahead<'_>,
) {
    let last = tile.n_places.saturating_sub(1);
    let reaches = |row: &&[f32]| row.len() > last * tile.step;
    assert!(
        tile.rows.iter().all(reaches),
        "rows reach to the last place"
    );
    let reaches = |panel: &&[f32]| panel.len() >= tile.n_places * V::LANES;
    assert!(panels.iter().all(reaches), "panels reach to the last place");
    // A loop for each step: where it is known, all registers are left to the sums.
    // SAFETY: rows and panels were checked; the features are the caller's promise.
    unsafe {
        match tile.step {
            1 => multiply_checked::<V, L>(tile, 1, panels, ahead),
            _ => multiply_checked::<V, L>(tile, V::LANES, panels, ahead),
        }
    }
}

/// # Safety
/// As [`multiply_tile`]; every row, by this step, and every panel reaches to the last place.
#[inline(always)]
unsafe fn multiply_checked<V: Vector, const L: usize>(
    tile: Tile<'_>,
    step: usize,
    panels: [&[f32]; L],
    ahead: &mut Ahead<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for chain in (0..tile.n_places).step_by(CHAIN) {
            let mut part = [[V::splat(0.0); L]; ROWS];
            for place in chain..tile.n_places.min(chain + CHAIN) {
                let at = place * V::LANES;
                let mut y = [V::splat(0.0); L];
                for (y, panel) in y.iter_mut().zip(&panels) {
                    *y = V::load(panel.get_unchecked(at..at + V::LANES));
                }
                for (part, row) in part.iter_mut().zip(&tile.rows) {
                    let x = V::splat(*row.get_unchecked(place * step));
                    for (sum, y) in part.iter_mut().zip(y) {
                        *sum = V::mul_add(x, y, *sum);
                    }
                }
            }
            for (i, part) in part.into_iter().enumerate() {
                let sums = &mut tile.sums[i * tile.stride..][..L * V::LANES];
                for (sums, part) in sums.chunks_exact_mut(V::LANES).zip(part) {
                    V::add(V::load(sums), part).store(sums);
                }
            }
            ahead.fetch();
        }
    }
}

/// The stretch that comes next, asked for row by row: all at once would hold up the products.
pub(super) struct Ahead<'a> {
    block: &'a Block<'a>,
    places: Range<usize>,
    /// The row to be asked for, by its place in the panels.
    next: usize,
}

impl Ahead<'_> {
    #[inline(always)]
    fn fetch(&mut self) {
        if self.next == self.block.len() {
            return;
        }
        if let Some((row, _)) = self.block.at(self.next) {
            for place in self.places.clone().step_by(WIDTH) {
                prefetch(row, place);
            }
        }
        self.next += 1;
    }
}
