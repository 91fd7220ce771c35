//! What a per-neuron function must be able to do.

use std::fmt::Debug;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::Result;

use super::clustering::Scratch;
use super::columns::{InputColumns, OutputColumns};
use super::group::Group;
use super::options::ClusterOptions;

/// One function of a neuron and its examples, with its options bound.
pub trait NeuronFunction: Debug + Send + Sync + 'static {
    /// What it reads to make the wanted columns.
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns;

    /// The clustering it is about, if that is all that its memory and its line in EXPLAIN depend on.
    fn clustering(&self) -> Option<&ClusterOptions> {
        None
    }

    /// Bytes it will hold for `n` examples of width `d`, reserved before it runs; `limit` is the most that the session may
    /// hold.
    fn bytes(&self, n: usize, d: usize, limit: usize) -> usize {
        self.clustering()
            .map_or(0, |options| options.bytes(n, d, limit))
    }

    /// Where these bytes are refused: what would need fewer, or why nothing does.
    fn advice(&self, n: usize, d: usize, limit: usize) -> Option<String> {
        self.clustering()
            .and_then(|options| options.advice(n, d, limit))
    }

    /// The rows of one neuron, all columns of the schema; the unwanted may hold NULLs.
    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>>;

    /// Whether it gives one row a neuron; else it is taken to give about as many rows as there are examples.
    fn one_row(&self) -> bool {
        false
    }

    /// The options as EXPLAIN shows them.
    fn describe(&self) -> String {
        self.clustering()
            .map_or_else(String::new, ClusterOptions::describe)
    }
}
