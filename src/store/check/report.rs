//! What a check of a store has found.

use std::path::PathBuf;

use crate::store::selection::IntSet;

/// Some of a table of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePart {
    /// The table's name; `vectors` is where `pre_mlp` of `examples` lies.
    pub table: String,
    /// Of a table that has a file a layer.
    pub layer: Option<i32>,
    /// Which of its rows.
    pub rows: PartRows,
}

/// Rows of a table or of its file of a layer, as inclusive ranges in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartRows {
    /// Every one.
    All,
    /// Those of these neurons.
    OfNeurons(Vec<(i64, i64)>),
    /// Those at these places, counted from 0.
    At(Vec<(i64, i64)>),
}

impl PartRows {
    /// Of neurons.
    pub(super) fn of_neurons(neurons: &IntSet) -> Self {
        Self::OfNeurons(neurons.ranges().to_vec())
    }
}

/// A file that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What cannot be read, of a run's table.
    pub lost: Option<TablePart>,
    /// Of a file of vectors, the neurons whose examples have some of those that cannot be read, as inclusive ranges.
    pub neurons: Vec<(i64, i64)>,
}

/// A run, a table, a model or whatever else a store keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedThing {
    /// `run`, `table`, `model`, `training`, `ingest`, `jobs` or `store`.
    pub kind: &'static str,
    /// Its name; empty of what there is one of.
    pub name: String,
    /// Files read.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that were written before there were checksums: that they have their size and an end is all that is known.
    pub unverified: u64,
    /// What is damaged.
    pub damages: Vec<Damage>,
    /// Of a run with damages, what is whole.
    pub whole: Vec<TablePart>,
    /// Relations kept beside a run that are damaged: they are computed anew when they are asked for.
    pub caches: Vec<PathBuf>,
}
