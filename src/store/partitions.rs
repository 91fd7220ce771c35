//! Divides a table's record batches over partitions.
//!
//! Tables of neurons are cut at (layer, neuron) points that depend on the run, the selection and the number of
//! partitions only, never on the table: scans of `examples` and `neurons` under one selection are co-partitioned.

use super::manifest::{BatchEntry, FileEntry};
use super::run::Run;
use super::selection::{IntSet, Selection};
use super::table::Table;

/// A (layer, neuron).
pub(super) type NeuronKey = (i32, i32);

/// A record batch, or the neurons of it that a partition reads.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Position in the list of files read.
    pub file: usize,
    pub batch: usize,
    /// Layer of the file, and the batch's first and last neuron; 0 in tables without neurons.
    pub layer: i32,
    pub first: i32,
    pub last: i32,
    /// Neurons to keep; `None` for all rows.
    pub keep: Option<IntSet>,
    /// Rows, estimated when some neurons are left out.
    pub rows: u64,
}

impl Piece {
    /// The neurons that are read of it.
    pub fn neurons(&self) -> IntSet {
        let all = IntSet::range(i64::from(self.first), i64::from(self.last));
        match &self.keep {
            None => all,
            Some(keep) => keep.intersect(&all),
        }
    }
}

/// Neurons of a layer that share the rows of a record batch evenly, as far as the manifest can tell.
struct Segment {
    layer: i32,
    first: i32,
    last: i32,
    /// What they cost.
    work: f64,
}

/// Rows of a neuron whose pairs cost as much as the rows themselves: a scan costs the one, clustering the other, and both use
/// the same partitions. Chosen, not tuned.
const PAIRS_AS_ROWS: f64 = 50.0;

fn segments(run: &Run, table: Table, selection: &Selection) -> Vec<Segment> {
    let mut out = vec![];
    for (layer, file) in selected(run, table, selection) {
        for batch in &file.batches {
            for (first, last) in clipped(&selection.neurons, batch) {
                let rows = f64::from(batch.rows) * share(batch, first, last);
                let of_each = rows / width(first, last);
                out.push(Segment {
                    layer,
                    first,
                    last,
                    work: rows * (PAIRS_AS_ROWS + of_each),
                });
            }
        }
    }
    out
}

fn selected<'a>(
    run: &'a Run,
    table: Table,
    selection: &Selection,
) -> impl Iterator<Item = (i32, &'a FileEntry)> {
    run.files(table)
        .into_iter()
        .filter_map(|file| Some((file.layer?, file)))
        .filter(|(layer, _)| selection.layers.contains(*layer))
}

/// The parts of a batch's neuron range that are in the set.
fn clipped(neurons: &IntSet, batch: &BatchEntry) -> Vec<(i32, i32)> {
    let range = IntSet::range(i64::from(batch.first), i64::from(batch.last));
    // Within the batch's bounds, so both ends are 32 bits wide.
    let narrow = |(first, last): &(i64, i64)| (*first as i32, *last as i32);
    neurons
        .intersect(&range)
        .ranges()
        .iter()
        .map(narrow)
        .collect()
}

fn share(batch: &BatchEntry, first: i32, last: i32) -> f64 {
    width(first, last) / width(batch.first, batch.last)
}

fn width(first: i32, last: i32) -> f64 {
    f64::from(last) - f64::from(first) + 1.0
}

/// Where partitions begin, but for the first: `target - 1` strictly ascending points, or none for a single neuron.
///
/// Balanced by rows of `examples`, those of neurons of many weighing more. Points beyond the last neuron fill up to the
/// target, as the optimizer would otherwise hash-partition a scan of fewer partitions than it wants.
pub(super) fn split_points(run: &Run, selection: &Selection, target: usize) -> Vec<NeuronKey> {
    let segments = [Table::Examples, Table::Neurons]
        .map(|table| segments(run, table, selection))
        .into_iter()
        .find(|segments| !segments.is_empty())
        .unwrap_or_default();
    let (Some(start), Some(end)) = (segments.first(), segments.last()) else {
        return vec![];
    };
    let (start, end) = ((start.layer, start.first), (end.layer, end.last));
    if start == end {
        return vec![];
    }
    let total: f64 = segments.iter().map(|s| s.work).sum();
    let mut points: Vec<NeuronKey> = vec![];
    let mut before = 0.0;
    let mut at = 0;
    for k in 1..target {
        let wanted = total * k as f64 / target as f64;
        while at + 1 < segments.len() && before + segments[at].work <= wanted {
            before += segments[at].work;
            at += 1;
        }
        let segment = &segments[at];
        let width = width(segment.first, segment.last);
        let offset = ((wanted - before) / segment.work * width).clamp(0.0, width - 1.0);
        let point = (segment.layer, segment.first + offset as i32);
        if point > points.last().copied().unwrap_or(start) {
            points.push(point);
        }
    }
    let mut beyond = end;
    while points.len() + 1 < target {
        let Some(neuron) = beyond.1.checked_add(1) else {
            break;
        };
        beyond.1 = neuron;
        points.push(beyond);
    }
    points
}

/// Neurons of a layer from one split point up to, not including, the next.
fn between(layer: i32, from: Option<NeuronKey>, to: Option<NeuronKey>) -> IntSet {
    let first = match from {
        Some((l, _)) if layer < l => return IntSet::range(1, 0),
        Some((l, neuron)) if layer == l => i64::from(neuron),
        _ => i64::MIN,
    };
    let last = match to {
        Some((l, _)) if layer > l => return IntSet::range(1, 0),
        Some((l, neuron)) if layer == l => i64::from(neuron) - 1,
        _ => i64::MAX,
    };
    IntSet::range(first, last)
}

/// The files a selection needs of a table of neurons, and the pieces of each partition.
pub(super) fn by_neuron<'a>(
    run: &'a Run,
    table: Table,
    selection: &Selection,
    points: &[NeuronKey],
) -> (Vec<&'a FileEntry>, Vec<Vec<Piece>>) {
    let files: Vec<_> = selected(run, table, selection).collect();
    let mut partitions = Vec::with_capacity(points.len() + 1);
    for p in 0..=points.len() {
        let (from, to) = (p.checked_sub(1).map(|i| points[i]), points.get(p).copied());
        let mut pieces = vec![];
        for (i, (layer, file)) in files.iter().enumerate() {
            let neurons = between(*layer, from, to).intersect(&selection.neurons);
            if !neurons.is_empty() {
                pieces.extend(file.batches.iter().enumerate().filter_map(|(b, batch)| {
                    let (keep, rows) = kept(&neurons, batch)?;
                    Some(Piece {
                        file: i,
                        batch: b,
                        layer: *layer,
                        first: batch.first,
                        last: batch.last,
                        keep,
                        rows,
                    })
                }));
            }
        }
        partitions.push(pieces);
    }
    (
        files.into_iter().map(|(_, file)| file).collect(),
        partitions,
    )
}

/// What of a batch is kept; `None` when nothing is.
fn kept(neurons: &IntSet, batch: &BatchEntry) -> Option<(Option<IntSet>, u64)> {
    if neurons.covers(batch.first, batch.last) {
        return Some((None, u64::from(batch.rows)));
    }
    let parts = clipped(neurons, batch);
    if parts.is_empty() {
        return None;
    }
    let share: f64 = parts.iter().map(|(a, b)| share(batch, *a, *b)).sum();
    let rows = (f64::from(batch.rows) * share).ceil() as u64;
    Some((Some(neurons.clone()), rows))
}

/// The batches of a table without neurons, in at most `target` runs of consecutive rows.
pub(super) fn by_rows(files: &[&FileEntry], target: usize) -> Vec<Vec<Piece>> {
    let total: u64 = files.iter().map(|f| f.rows()).sum();
    let batches: usize = files.iter().map(|f| f.batches.len()).sum();
    let mut partitions = vec![vec![]; target.min(batches).max(1)];
    let mut before = 0;
    for (i, file) in files.iter().enumerate() {
        for (b, batch) in file.batches.iter().enumerate() {
            let p = (before as f64 / total as f64 * partitions.len() as f64) as usize;
            let last = partitions.len() - 1;
            partitions[p.min(last)].push(Piece {
                file: i,
                batch: b,
                layer: 0,
                first: batch.first,
                last: batch.last,
                keep: None,
                rows: u64::from(batch.rows),
            });
            before += u64::from(batch.rows);
        }
    }
    partitions
}
