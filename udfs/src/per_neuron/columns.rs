//! The columns of a per-neuron function, each said once: its name and type, what it means, what it reads, how it is made.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

use super::inputs::SIGN;
use super::rows::NeuronRows;
use crate::arrow::tokens::{top_tokens, top_tokens_type};
use crate::arrow::vectors::is_vector;

/// A column of a function's rows.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name in SQL.
    pub name: &'static str,
    kind: fn() -> DataType,
    nullable: bool,
    /// What it means; nothing where its name says it.
    meaning: &'static str,
    /// Columns of `examples` that it is made of, beside layer, neuron, example and the vectors.
    pub reads: &'static [&'static str],
    /// Its values, one a row.
    pub make: fn(&NeuronRows) -> Result<ArrayRef>,
    /// Whether these are numbers of clusters.
    pub numbers: Option<Numbers>,
}

/// The clusters that a column numbers: through all the lists of examples that a neuron has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Those at the cut.
    Clusters,
    /// Those at a second, higher threshold.
    Parents,
}

impl Column {
    /// One without NULLs that is made of the key, the examples' numbers and the vectors.
    pub const fn new(
        name: &'static str,
        kind: fn() -> DataType,
        meaning: &'static str,
        make: fn(&NeuronRows) -> Result<ArrayRef>,
    ) -> Self {
        Self {
            name,
            kind,
            nullable: false,
            meaning,
            reads: &[],
            make,
            numbers: None,
        }
    }

    /// The same, which may be NULL.
    pub const fn nullable(self) -> Self {
        Self {
            nullable: true,
            ..self
        }
    }

    /// The same, made of these columns of `examples`, too.
    pub const fn reading(self, reads: &'static [&'static str]) -> Self {
        Self { reads, ..self }
    }

    /// The same of another meaning.
    pub const fn meaning(self, meaning: &'static str) -> Self {
        Self { meaning, ..self }
    }

    /// The same, whose values number clusters.
    pub const fn numbering(self, numbers: Numbers) -> Self {
        Self {
            numbers: Some(numbers),
            ..self
        }
    }

    /// Whether its values are vectors.
    pub(super) fn is_vector(&self) -> bool {
        is_vector(&(self.kind)())
    }

    /// As Arrow has it.
    pub fn field(&self) -> Field {
        Field::new(self.name, (self.kind)(), self.nullable)
    }

    /// As documents have it.
    pub fn text(&self) -> String {
        match self.meaning {
            "" => self.name.to_string(),
            meaning => format!("{} ({meaning})", self.name),
        }
    }
}

/// The type of whole numbers.
pub fn int() -> DataType {
    DataType::Int32
}

/// The type of numbers that are computed.
pub fn double() -> DataType {
    DataType::Float64
}

/// The type of numbers that are kept.
pub fn float() -> DataType {
    DataType::Float32
}

/// The type of texts.
pub fn text() -> DataType {
    DataType::Utf8
}

/// Columns by name, type and whether they may be NULL.
pub fn fields(columns: &[(&str, DataType, bool)]) -> Fields {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| {
        Field::new(*name, kind.clone(), *nullable)
    };
    columns.iter().map(field).collect()
}

fn key(of: i32, rows: &NeuronRows) -> ArrayRef {
    Arc::new(Int32Array::from_value(of, rows.len()))
}

/// The neuron's layer.
pub const LAYER: Column = Column::new("layer", int, "", |rows| Ok(key(rows.group.layer, rows)));
/// The neuron's index in its layer.
pub const NEURON: Column = Column::new("neuron", int, "", |rows| Ok(key(rows.group.neuron, rows)));
/// Whose examples these are.
pub const SIGN_COLUMN: Column =
    Column::new(SIGN, text, "as neuron_polysemanticity gives it", |rows| {
        Ok(Arc::new(StringArray::from(vec![
            rows.group.sign;
            rows.len()
        ])))
    })
    .nullable();

/// The number of an example; of a cluster that of its medoid.
pub const EXAMPLE: Column = Column::new("example", int, "", |rows| rows.example("example"));
/// The example's document.
pub const DOC_ID: Column = Column::new("doc_id", int, "", |rows| rows.example("doc_id"))
    .nullable()
    .reading(&["doc_id"]);
/// Where the key token stands.
pub const POS: Column = Column::new("pos", int, "", |rows| rows.example("pos"))
    .nullable()
    .reading(&["pos"]);
/// The key token.
pub const TOKEN: Column = Column::new("token", text, "", |rows| rows.example("token"))
    .nullable()
    .reading(&["token"]);
/// The activation there.
pub const ACTIVATION: Column =
    Column::new("activation", float, "", |rows| rows.example("activation"))
        .nullable()
        .reading(&["activation"]);
/// The text around it.
pub const CONTEXT: Column =
    Column::new("context", text, "the key token between « and »", |rows| {
        rows.contexts()
    })
    .nullable()
    .reading(&["pos", "window_tokens", "window_start"]);

/// The number of a cluster.
pub const CLUSTER: Column = Column::new("cluster", int, "0 is the largest", |rows| {
    rows.per_cluster(|cluster| cluster as i32)
})
.numbering(Numbers::Clusters);
/// The cluster of an example.
pub const CLUSTER_OF_EXAMPLE: Column = Column::new(
    "cluster",
    int,
    "0 is the largest; NULL for a zero vector",
    |rows| rows.in_order(&rows.labels()?),
)
.nullable()
.numbering(Numbers::Clusters);
/// Its examples.
pub const SIZE: Column = Column::new("size", int, "its examples", |rows| {
    let sizes = &rows.clustering()?.clusters.sizes;
    rows.per_cluster(|cluster| sizes[cluster] as i32)
});
/// Its medoid.
pub const CENTRAL_EXAMPLE: Column = Column::new("central_example", int, "the medoid", |rows| {
    rows.example("example")
});
/// Its most frequent key tokens.
pub const TOP_TOKENS: Column = Column::new(
    "top_tokens",
    top_tokens_type,
    "by count, ties by first example",
    |rows| {
        let most = rows.options.count("n_tokens")?;
        Ok(top_tokens(
            rows.group.column("token")?,
            rows.members()?,
            most,
        ))
    },
)
.reading(&["token"]);
/// The mean of its examples' activations.
pub const MEAN_ACTIVATION: Column =
    Column::new("mean_activation", double, "of its examples", |rows| {
        rows.group.mean_activations(rows.members()?)
    })
    .nullable()
    .reading(&["activation"]);
