//! The nearest of many rows among many, by products of blocks on all threads of the compute pool.
//!
//! What is found does not depend on the number of threads: lists are filled under locks in any order, but which
//! neighbours are the nearest does not hang on it, of equal ones those of the smallest names.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use crate::clustering::unit_vectors::RowMatrix;
use crate::simd::{Products, on_widest};

/// Neighbours kept of a row.
pub(super) const KEPT: usize = 16;

/// Rows and columns of a tile of products.
const TILE: usize = 128;

/// Tiles that a thread takes at once, so that its buffers are made for more than one.
const TILES: usize = 16;

/// Columns looked at together.
const LANES: usize = 16;

/// The nearest of a row by their products, which are rounded: the largest first, of equal ones the smallest name.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearestRows {
    len: usize,
    dots: [f32; KEPT],
    names: [u32; KEPT],
}

impl NearestRows {
    const NONE: Self = Self {
        len: 0,
        dots: [f32::NEG_INFINITY; KEPT],
        names: [u32::MAX; KEPT],
    };

    pub(super) fn names(&self) -> &[u32] {
        &self.names[..self.len]
    }

    /// The least product kept, if others may have been left out.
    pub(super) fn least(&self) -> Option<f32> {
        (self.len == KEPT).then_some(self.dots[KEPT - 1])
    }

    fn offer(&mut self, dot: f32, name: u32) {
        let before = |i: usize, list: &Self| {
            dot > list.dots[i] || (dot == list.dots[i] && name < list.names[i])
        };
        if !before(KEPT - 1, self) {
            return;
        }
        let mut at = self.len.min(KEPT - 1);
        while at > 0 && before(at - 1, self) {
            self.dots[at] = self.dots[at - 1];
            self.names[at] = self.names[at - 1];
            at -= 1;
        }
        (self.dots[at], self.names[at]) = (dot, name);
        self.len = KEPT.min(self.len + 1);
    }
}

/// What is summed over pairs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairSums {
    /// The least product.
    pub(super) least: f32,
    /// Of products.
    pub(super) sum: f64,
    /// Of their squares.
    pub(super) squares: f64,
}

impl PairSums {
    const NONE: Self = Self {
        least: f32::INFINITY,
        sum: 0.0,
        squares: 0.0,
    };

    fn add(&mut self, other: Self) {
        self.least = self.least.min(other.least);
        self.sum += other.sum;
        self.squares += other.squares;
    }
}

/// Lists that threads fill together, in blocks of `TILE`.
struct Lists {
    blocks: Vec<Mutex<Vec<NearestRows>>>,
    /// What a product must reach to be listed, as it was a moment ago.
    least: Vec<AtomicU32>,
}

impl Lists {
    fn new(n: usize) -> Self {
        let block = |first: usize| Mutex::new(vec![NearestRows::NONE; TILE.min(n - first)]);
        let least = || AtomicU32::new(f32::NEG_INFINITY.to_bits());
        Self {
            blocks: (0..n).step_by(TILE).map(block).collect(),
            least: std::iter::repeat_with(least).take(n).collect(),
        }
    }

    /// What products of the lists of a block must reach.
    fn least(&self, block: usize) -> [f32; TILE] {
        let mut found = [f32::INFINITY; TILE];
        let first = block * TILE;
        let end = self.least.len().min(first + TILE);
        for (found, least) in found.iter_mut().zip(&self.least[first..end]) {
            *found = f32::from_bits(least.load(Ordering::Relaxed));
        }
        found
    }

    fn lock(&self, block: usize) -> MutexGuard<'_, Vec<NearestRows>> {
        // A panic elsewhere ends the whole scan.
        self.blocks[block]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers to the lists of a block: which of them, what product, whose.
    fn offer(&self, block: usize, offers: impl Iterator<Item = (usize, f32, u32)>) {
        let mut lists = self.lock(block);
        for (place, dot, name) in offers {
            let list = &mut lists[place];
            list.offer(dot, name);
            if let Some(least) = list.least() {
                self.least[block * TILE + place].store(least.to_bits(), Ordering::Relaxed);
            }
        }
    }

    fn into_vec(self) -> Vec<NearestRows> {
        let lists = |block: Mutex<Vec<NearestRows>>| {
            block.into_inner().unwrap_or_else(PoisonError::into_inner)
        };
        let mut all = Vec::with_capacity(self.least.len());
        for block in self.blocks {
            all.extend(lists(block));
        }
        all
    }
}

/// What a thread needs.
#[derive(Default)]
struct Workspace {
    products: Products,
    dots: Vec<f32>,
    /// Row, column and product of what may belong on a list.
    hits: Vec<(u32, u32, f32)>,
}

impl Workspace {
    fn multiply(&mut self, rows: &[&[f32]], columns: &[&[f32]]) {
        self.hits.clear();
        self.dots.resize(rows.len() * columns.len(), 0.0);
        self.products.cross(rows, columns, &mut self.dots);
    }
}

/// The nearest of every row among the others, and the sums over all pairs; without meaning where it was cancelled.
pub(super) fn nearest_of_all(
    rows: &RowMatrix,
    cancelled: &AtomicBool,
) -> (Vec<NearestRows>, PairSums) {
    let n = rows.len();
    let lists = Lists::new(n);
    let n_blocks = n.div_ceil(TILE);
    let tiles: Vec<PairSums> = (0..n_blocks * (n_blocks + 1) / 2)
        .into_par_iter()
        .with_min_len(TILES)
        .map_init(Workspace::default, |workspace, tile| {
            let (row, column) = place_of(tile);
            match cancelled.load(Ordering::Relaxed) {
                true => PairSums::NONE,
                false => symmetric_tile(rows, &lists, workspace, row, column),
            }
        })
        .collect();
    // One after another, so that rounding does not depend on threads.
    let mut sums = PairSums::NONE;
    tiles.into_iter().for_each(|tile| sums.add(tile));
    (lists.into_vec(), sums)
}

/// The blocks of rows and of columns, the first not beyond the second, that a tile is of.
fn place_of(tile: usize) -> (usize, usize) {
    let before = |column: usize| column * (column + 1) / 2;
    let mut column = ((8.0 * tile as f64 + 1.0).sqrt() as usize).saturating_sub(1) / 2;
    while before(column + 1) <= tile {
        column += 1;
    }
    while before(column) > tile {
        column -= 1;
    }
    (tile - before(column), column)
}

/// Both lists of every pair of two blocks are offered their product.
fn symmetric_tile(
    rows: &RowMatrix,
    lists: &Lists,
    workspace: &mut Workspace,
    row: usize,
    column: usize,
) -> PairSums {
    let names = |block: usize| block * TILE..rows.len().min((block + 1) * TILE);
    let columns = rows.rows(names(column));
    workspace.multiply(&rows.rows(names(row)), &columns);
    let (row_least, column_least) = (lists.least(row), lists.least(column));
    let Workspace { dots, hits, .. } = workspace;
    let mut sums = PairSums::NONE;
    for (i, dots) in dots.chunks_exact(columns.len()).enumerate() {
        // On the diagonal each pair once.
        let first = if row == column { i + 1 } else { 0 };
        let (dots, column_least) = (&dots[first..], &column_least[first..columns.len()]);
        let least = row_least[i];
        sums.add(on_widest(
            #[inline(always)]
            |_| sums_of(dots),
        ));
        if reaches(dots, column_least, least) {
            for (j, (&dot, &column_least)) in (first..).zip(dots.iter().zip(column_least)) {
                if dot >= least || dot >= column_least {
                    hits.push((i as u32, j as u32, dot));
                }
            }
        }
    }
    let name = |block: usize, place: u32| (block * TILE) as u32 + place;
    let to_columns = hits
        .iter()
        .map(|&(i, j, dot)| (j as usize, dot, name(row, i)));
    lists.offer(column, to_columns);
    let to_rows = hits
        .iter()
        .map(|&(i, j, dot)| (i as usize, dot, name(column, j)));
    lists.offer(row, to_rows);
    sums
}

/// The nearest of the rows `some` among the others of the rows `all`.
pub(super) fn nearest_of(rows: &RowMatrix, some: &[u32], all: &[u32]) -> Vec<NearestRows> {
    let lists = Lists::new(some.len());
    let n_blocks = some.len().div_ceil(TILE);
    (0..n_blocks * all.len().div_ceil(TILE))
        .into_par_iter()
        .with_min_len(if n_blocks == 1 { 1 } else { TILES })
        .for_each_init(Workspace::default, |workspace, tile| {
            let (part, block) = (tile / n_blocks, tile % n_blocks);
            let slices = |names: &[u32]| -> Vec<&[f32]> {
                names.iter().map(|&name| rows.row(name as usize)).collect()
            };
            let names = &all[part * TILE..all.len().min((part + 1) * TILE)];
            let columns = &some[block * TILE..some.len().min((block + 1) * TILE)];
            workspace.multiply(&slices(names), &slices(columns));
            let least = lists.least(block);
            let least = &least[..columns.len()];
            let Workspace { dots, hits, .. } = workspace;
            for (i, dots) in dots.chunks_exact(columns.len()).enumerate() {
                if reaches(dots, least, f32::INFINITY) {
                    for (j, (&dot, &least)) in dots.iter().zip(least).enumerate() {
                        if dot >= least && names[i] != columns[j] {
                            hits.push((i as u32, j as u32, dot));
                        }
                    }
                }
            }
            let offers = hits
                .iter()
                .map(|&(i, j, dot)| (j as usize, dot, names[i as usize]));
            lists.offer(block, offers);
        });
    lists.into_vec()
}

/// Whether a product reaches what its column asks for, or `least`.
fn reaches(dots: &[f32], columns: &[f32], least: f32) -> bool {
    #[inline(always)]
    fn any(dots: &[f32], columns: &[f32], least: f32) -> bool {
        let mut found = [false; LANES];
        let (dots, dots_rest) = dots.as_chunks::<LANES>();
        let (columns, columns_rest) = columns.as_chunks::<LANES>();
        for (dots, columns) in dots.iter().zip(columns) {
            for k in 0..LANES {
                found[k] |= (dots[k] >= least) | (dots[k] >= columns[k]);
            }
        }
        for (k, (dot, column)) in dots_rest.iter().zip(columns_rest).enumerate() {
            found[k] |= (*dot >= least) | (dot >= column);
        }
        found.iter().any(|&found| found)
    }
    on_widest(
        #[inline(always)]
        |_| any(dots, columns, least),
    )
}

#[inline(always)]
fn sums_of(dots: &[f32]) -> PairSums {
    let (mut least, mut sums, mut squares) = ([f32::INFINITY; LANES], [0.0; LANES], [0.0; LANES]);
    let mut add = |k: usize, dot: f32| {
        least[k] = if dot < least[k] { dot } else { least[k] };
        let dot = f64::from(dot);
        sums[k] += dot;
        squares[k] += dot * dot;
    };
    let (dots, rest) = dots.as_chunks::<LANES>();
    for dots in dots {
        for (k, &dot) in dots.iter().enumerate() {
            add(k, dot);
        }
    }
    for (k, &dot) in rest.iter().enumerate() {
        add(k, dot);
    }
    PairSums {
        least: least.into_iter().fold(f32::INFINITY, f32::min),
        sum: sums.iter().sum(),
        squares: squares.iter().sum(),
    }
}

/// How far a product of two means of width `d` may be from the exact one: sums of float32 in runs of 64, and means
/// rounded.
pub(super) fn error(d: usize) -> f64 {
    (64 + d.div_ceil(64) + 4) as f64 / 16_777_216.0
}

/// Bytes held while `n` rows of width `d` are looked at.
pub(super) fn bytes(n: usize, d: usize) -> usize {
    let block = TILE.min(n);
    let n_blocks = n.div_ceil(TILE);
    let hit = size_of::<(u32, u32, f32)>();
    let per_thread = Products::bytes(block, d)
        + 2 * block * size_of::<&[f32]>()
        // Hits are as many as products at most; their list grows by doubling.
        + block * block * (size_of::<f32>() + 2 * hit);
    // Lists, as blocks and in one; what each must reach; the sums of tiles.
    n * (2 * size_of::<NearestRows>() + size_of::<u32>())
        + n_blocks * size_of::<Mutex<Vec<NearestRows>>>()
        + n_blocks * (n_blocks + 1) / 2 * size_of::<PairSums>()
        + rayon::current_num_threads() * per_thread
}
