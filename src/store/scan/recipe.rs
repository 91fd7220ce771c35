//! A scan as what it reads: a line for EXPLAIN, a part of it, and what another process that has the same store makes it
//! from. No data is in it.

use std::fmt;

use datafusion::common::{exec_err, internal_err, plan_datafusion_err};
use datafusion::error::Result;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};
use polysema_udfs::arrow::key_filter::KeyFilter;
use serde::{Deserialize, Serialize};

use super::RunScan;
use crate::store::Store;
use crate::store::partitions::{self, NeuronKey, Piece};
use crate::store::pushdown;
use crate::store::run::Run;
use crate::store::scan_columns::OutputColumn;
use crate::store::selection::{IntSet, Selection};
use crate::store::table::Table;

/// What a scan is made from, but for its predicate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanRecipe {
    /// Name of the run.
    pub run: String,
    /// The state of the run: its generation with a hash of what its files are.
    pub state: String,
    table: String,
    columns: Vec<String>,
    layers: Vec<(i64, i64)>,
    neurons: Vec<(i64, i64)>,
    partitions: usize,
    part: Option<[Option<NeuronKey>; 2]>,
    only: Option<Vec<LayerNeurons>>,
    limit: Option<usize>,
    in_place: bool,
}

/// A layer and neurons of it, as ranges.
pub type LayerNeurons = (i32, Vec<(i64, i64)>);

impl RunScan {
    /// The neurons it may read; where there is a filter, those that it keeps as far as is known by now.
    pub fn kept_by(&self, filter: Option<&KeyFilter>) -> Result<Vec<LayerNeurons>> {
        let mut kept: Vec<LayerNeurons> = vec![];
        for piece in self.read.partitions.iter().flatten() {
            let Some(piece) = pushdown::narrowed(piece, filter)? else {
                continue;
            };
            let neurons = piece.neurons();
            match kept.last_mut() {
                Some((layer, ranges)) if *layer == piece.layer => {
                    ranges.extend_from_slice(neurons.ranges());
                }
                _ => kept.push((piece.layer, neurons.ranges().to_vec())),
            }
        }
        Ok(kept)
    }

    /// The same scan of these neurons alone, whatever its predicate.
    pub fn only(&self, neurons: &[LayerNeurons]) -> Result<Self> {
        let mut read = self.read.as_ref().clone();
        for pieces in &mut read.partitions {
            let all = std::mem::take(pieces);
            pieces.extend(all.into_iter().filter_map(|piece| narrowed(piece, neurons)));
        }
        read.only = Some(neurons.to_vec());
        Ok(Self::reading(read)?.with_limit(self.limit))
    }

    /// Whether it is known that it has no rows.
    pub fn is_empty(&self) -> bool {
        self.read.partitions.iter().all(Vec::is_empty)
    }

    /// How many ranges of neurons it reads side by side; none of a table without neurons.
    pub fn ranges(&self) -> Option<usize> {
        let points = self.read.points.as_ref()?;
        Some(points.len() + 1)
    }

    /// One of its ranges of neurons as a scan of one partition.
    pub fn part(&self, range: usize) -> Result<Self> {
        let mut read = self.read.as_ref().clone();
        let Some(points) = read.points.replace(vec![]) else {
            return internal_err!("a scan of neurons is required");
        };
        let Some(pieces) = self.read.partitions.get(range) else {
            return internal_err!("a range of the scan is required, got {range}");
        };
        read.partitions = vec![pieces.clone()];
        read.pruned = 0;
        let from = range.checked_sub(1).and_then(|before| points.get(before));
        read.part = Some([from.copied(), points.get(range).copied()]);
        let scan = Self::reading(read)?.with_keys(self.keys.clone());
        Ok(scan.with_limit(self.limit))
    }

    /// The neurons that are wanted, as far as the selection does not say it.
    pub fn keys(&self) -> Option<&KeyFilter> {
        self.keys.as_ref()
    }

    /// The same scan for these neurons only.
    pub fn with_keys(self, keys: Option<KeyFilter>) -> Self {
        Self { keys, ..self }
    }

    /// What another process makes it from.
    pub fn recipe(&self) -> ScanRecipe {
        let read = &self.read;
        let fields = read.schema.fields().iter();
        ScanRecipe {
            run: read.run.name().to_string(),
            state: state(&read.run),
            table: read.table.name().to_string(),
            columns: fields.map(|field| field.name().clone()).collect(),
            layers: read.selection.layers.ranges().to_vec(),
            neurons: read.selection.neurons.ranges().to_vec(),
            partitions: read.partitions.len(),
            part: read.part,
            only: read.only.clone(),
            limit: self.limit,
            in_place: read.columns.contains(&OutputColumn::SharedPreMlp),
        }
    }

    /// The scan of a recipe, without its predicate.
    ///
    /// Errors: the run is missing, or in another state.
    pub fn of_recipe(store: &Store, recipe: &ScanRecipe) -> Result<Self> {
        let run = store.run(&recipe.run)?;
        let here = state(&run);
        if here != recipe.state {
            return exec_err!(
                "run '{}' is required in the state {}, got {here}: both must have the same store, and a run that was \
                 replaced is asked again",
                recipe.run,
                recipe.state
            );
        }
        let table = &recipe.table;
        let unknown = || plan_datafusion_err!("a table of a run is required, got '{table}'");
        let table = Table::canonical(table).ok_or_else(unknown)?;
        let schema = run.schema(table)?;
        let columns = recipe.columns.iter();
        let columns = columns
            .map(|name| Ok(schema.index_of(name)?))
            .collect::<Result<Vec<_>>>()?;
        let selection = Selection {
            layers: IntSet::of_ranges(&recipe.layers),
            neurons: IntSet::of_ranges(&recipe.neurons),
        };
        let scan = match recipe.part {
            None => Self::try_new(&run, table, &schema, columns, selection, recipe.partitions)?,
            Some([from, to]) => {
                let points: Vec<NeuronKey> = from.into_iter().chain(to).collect();
                let (entries, mut parts) = partitions::by_neuron(&run, table, &selection, &points);
                let pieces = parts.swap_remove(usize::from(from.is_some()));
                let divided = (entries, vec![pieces], Some(vec![]));
                let scan = Self::of(&run, table, &schema, columns, selection, divided)?;
                let mut read = scan.read.as_ref().clone();
                read.part = Some([from, to]);
                read.pruned = 0;
                Self::reading(read)?
            }
        };
        if scan.read.partitions.len() != recipe.partitions {
            return internal_err!("as many partitions as were sent are required");
        }
        let scan = match &recipe.only {
            Some(neurons) => scan.only(neurons)?,
            None => scan,
        };
        let scan = match recipe.in_place {
            true => scan.with_shared_vectors()?.unwrap_or(scan),
            false => scan,
        };
        Ok(scan.with_limit(recipe.limit))
    }
}

/// What of a piece is of these neurons; none where nothing is.
fn narrowed(piece: Piece, neurons: &[LayerNeurons]) -> Option<Piece> {
    let of_layer = neurons.iter().filter(|(layer, _)| *layer == piece.layer);
    let wanted = of_layer.fold(IntSet::of_ranges(&[]), |set, (_, ranges)| {
        set.union(&IntSet::of_ranges(ranges))
    });
    let keep = wanted.intersect(&piece.neurons());
    let has_neurons = !keep.is_empty();
    has_neurons.then_some(Piece {
        keep: Some(keep),
        ..piece
    })
}

/// The generation of a run, and what its files are: their names, sizes and checksums.
fn state(run: &Run) -> String {
    let mut hash = blake3::Hasher::new();
    for file in run.entries() {
        hash.update(format!("{} {} {:?}\n", file.name, file.size_bytes, file.tail).as_bytes());
    }
    let folder = run.folder().file_name().unwrap_or_default();
    let hash = &hash.finalize().to_hex()[..16];
    format!("{} {hash}", folder.to_string_lossy())
}

impl DisplayAs for RunScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = &self.read;
        write!(f, "RunScan: table={}, run={}", read.table, read.run.name())?;
        if read.table.by_neuron() {
            write!(
                f,
                ", layers={}, neurons={}",
                read.selection.layers, read.selection.neurons
            )?;
        }
        let fields = read.schema.fields().iter().zip(&read.columns);
        let names: Vec<_> = fields
            .map(|(field, column)| match column {
                OutputColumn::SharedPreMlp => format!("{} in place", field.name()),
                _ => field.name().clone(),
            })
            .collect();
        write!(f, ", projection=[{}]", names.join(", "))?;
        if let Some(keys) = &self.keys {
            write!(f, ", predicate={keys}")?;
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        match &read.part {
            Some([from, to]) => {
                let key = |key: &Option<NeuronKey>| match key {
                    Some((layer, neuron)) => format!("({layer}, {neuron})"),
                    None => String::new(),
                };
                write!(f, ", part={}..{}", key(from), key(to))
            }
            None => Ok(()),
        }?;
        match &read.only {
            Some(neurons) => write!(f, ", layers of wanted neurons={}", neurons.len()),
            None => Ok(()),
        }
    }
}
