//! What is multiplied at a time: some rows with some columns, and the shape of the packed panels they become.

use super::vector_unit::WIDTH;

/// Rows of a tile: with two panels that is twelve sums, which sixteen registers hold beside their operands.
pub(super) const ROWS: usize = 6;

/// Places summed before the sum is added to that of others: short enough that the rounding of same-signed products, the
/// worst case, stays below 1e-6 at any width.
pub(super) const RUN: usize = 64;

/// Most places of a stretch, the part of every row that is in panels at a time. Short ones pay more often for what is
/// done once a stretch: with 192 all took a seventh longer where another thread had half of the core.
pub(super) const STRETCH: usize = 12 * RUN;

/// Rows, and places, that are transposed together.
pub(super) const SQUARE: usize = 8;

/// What becomes of sums: the row's number, the first column's, and the sums from there on, which are to be added up.
pub(super) type Take<'a> = dyn FnMut(usize, usize, &[f32]) + 'a;

/// Rows in panels behind `pad` rows of zeros, which fill the first panel: of the columns among themselves the last row
/// meets the fewest, so that padding is cheapest in front.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) rows: &'a [&'a [f32]],
    pub(super) scales: Option<&'a [f32]>,
    pub(super) pad: usize,
    /// Number of the first row.
    pub(super) first: usize,
}

impl<'a> Side<'a> {
    pub(super) fn len(&self) -> usize {
        self.pad + self.rows.len()
    }

    /// The row at a place and its scale; none for padding, and behind the last.
    #[inline(always)]
    fn at(&self, place: usize) -> Option<(&'a [f32], f32)> {
        let i = place.checked_sub(self.pad)?;
        let row = self.rows.get(i)?;
        Some((row, self.scales.map_or(1.0, |scales| scales[i])))
    }
}

pub(super) enum RowSource<'a> {
    /// The columns.
    Columns,
    /// Others, weighted like the columns; they stand behind these in the panels.
    Panels(Side<'a>),
    /// As they lie in memory, from this number on.
    Plain(&'a [&'a [f32]], usize),
}

/// Rows to be multiplied with columns.
pub(super) struct Block<'a> {
    pub(super) columns: Side<'a>,
    pub(super) rows: RowSource<'a>,
    pub(super) weights: Option<&'a [f32]>,
}

impl<'a> Block<'a> {
    /// Rows in panels.
    pub(super) fn len(&self) -> usize {
        self.columns.len()
            + match &self.rows {
                RowSource::Panels(rows) => rows.len(),
                RowSource::Columns | RowSource::Plain(..) => 0,
            }
    }

    /// Rows to be multiplied, with their padding.
    pub(super) fn n_rows(&self) -> usize {
        match &self.rows {
            RowSource::Columns => self.columns.len(),
            RowSource::Panels(rows) => rows.len(),
            RowSource::Plain(rows, _) => rows.len(),
        }
    }

    /// Rows of padding before them, and the number of the first behind it.
    pub(super) fn first_row(&self) -> (usize, usize) {
        match &self.rows {
            RowSource::Columns => (self.columns.pad, self.columns.first),
            RowSource::Panels(rows) => (rows.pad, rows.first),
            RowSource::Plain(_, first) => (0, *first),
        }
    }

    /// Floats between the sums of a row and those of the next.
    pub(super) fn stride(&self) -> usize {
        self.columns.len().next_multiple_of(WIDTH)
    }

    /// The row at a place of the panels and its scale; none for padding, and behind the last.
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> Option<(&'a [f32], f32)> {
        match (&self.rows, place.checked_sub(self.columns.len())) {
            (RowSource::Panels(rows), Some(place)) => rows.at(place),
            _ => self.columns.at(place),
        }
    }

    pub(super) fn take_sums(&self, sums: &[f32], take: &mut Take<'_>) {
        let (pad, first) = self.first_row();
        let rows = sums.chunks_exact(self.stride()).take(self.n_rows());
        for (i, sums) in rows.skip(pad).enumerate() {
            take(
                first + i,
                self.columns.first,
                &sums[self.columns.pad..self.columns.len()],
            );
        }
    }
}
