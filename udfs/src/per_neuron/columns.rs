//! Which columns a per-neuron function gives and which it reads.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use datafusion::common::Result;

/// Columns by name, type and whether they may be NULL.
pub fn fields(columns: &[(&str, DataType, bool)]) -> Fields {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| {
        Field::new(*name, kind.clone(), *nullable)
    };
    columns.iter().map(field).collect()
}

/// Which columns of its result a query reads, so that a function makes no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumns {
    schema: SchemaRef,
    wanted: Vec<bool>,
}

impl OutputColumns {
    /// From a projection of the function's columns; none is all.
    pub fn new(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Self {
        let all = 0..schema.fields().len();
        let wanted = |i| projection.is_none_or(|projection| projection.contains(&i));
        Self {
            schema: Arc::clone(schema),
            wanted: all.map(wanted).collect(),
        }
    }

    /// Whether a column of the function's schema is read.
    pub fn column(&self, name: &str) -> bool {
        self.schema.index_of(name).is_ok_and(|i| self.wanted[i])
    }

    /// The columns of `examples` behind those of these names that are read, and behind `context`.
    pub fn copied(&self, names: &[&'static str]) -> Vec<&'static str> {
        let context = self.column("context");
        let read = names
            .iter()
            .filter(|name| self.column(name) || context && **name == "pos");
        let window = ["window_tokens", "window_start"].iter().filter(|_| context);
        read.chain(window).copied().collect()
    }

    /// A column made by `make` if it is read, else `n` NULLs in its place.
    pub fn or_null(
        &self,
        name: &str,
        n: usize,
        make: impl FnOnce() -> Result<ArrayRef>,
    ) -> Result<ArrayRef> {
        match self.column(name) {
            true => make(),
            false => Ok(new_null_array(
                self.schema.field_with_name(name)?.data_type(),
                n,
            )),
        }
    }
}

/// What a function reads of each neuron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputColumns {
    /// Columns of `examples` besides layer, neuron, example and the vectors.
    pub examples: Vec<&'static str>,
    /// The column of `examples` that holds their vectors, where they are read.
    pub vectors: Option<&'static str>,
    /// Columns of `neurons` that are read as the neuron's weights: none, one or, for the one after the other, two.
    pub weights: &'static [&'static str],
}

/// The column of `examples` that tells lists of the greatest and the least activations apart, where there are both.
pub(super) const SIGN: &str = "sign";
/// The column of `examples` with what the neuron received at the key token.
pub(super) const PRE_MLP: &str = "pre_mlp";
/// The column of `examples` with the mean of what it received up to the key token, weighted by its activations.
pub(super) const WEIGHTED_PRE_MLP: &str = "weighted_pre_mlp";
