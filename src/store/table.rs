//! The tables of a run: which exist, how their rows are ordered, and which of them have a file per layer.

use std::fmt;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::plan_err;
use datafusion::error::Result;

use super::schema;

/// A table of a run, on disk or in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// One row per layer.
    Layers,
    /// One row per neuron, a file per layer.
    Neurons,
    /// One row per document.
    Documents,
    /// One row per token.
    Tokens,
    /// One row per dataset example, a file per layer.
    Examples,
    /// One row per non-empty bucket of a neuron, a file per layer.
    Histograms,
    /// What a layer's neurons received, a file per layer; not a table in SQL.
    Vectors,
}

impl Table {
    /// The tables SQL sees.
    pub const CANONICAL: [Table; 6] = [
        Table::Layers,
        Table::Neurons,
        Table::Documents,
        Table::Tokens,
        Table::Examples,
        Table::Histograms,
    ];

    /// Its name in SQL and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Table::Layers => "layers",
            Table::Neurons => "neurons",
            Table::Documents => "documents",
            Table::Tokens => "tokens",
            Table::Examples => "examples",
            Table::Histograms => "histograms",
            Table::Vectors => "vectors",
        }
    }

    /// The canonical table of this SQL name.
    pub fn canonical(name: &str) -> Option<Table> {
        Self::CANONICAL.into_iter().find(|t| t.name() == name)
    }

    pub(super) fn stored(name: &str) -> Option<Table> {
        Self::canonical(name).or((name == Table::Vectors.name()).then_some(Table::Vectors))
    }

    pub(super) fn per_layer(self) -> bool {
        self.by_neuron() || self == Table::Vectors
    }

    /// Whether rows belong to neurons: files per layer, batches cut on neuron boundaries.
    pub(super) fn by_neuron(self) -> bool {
        matches!(self, Table::Neurons | Table::Examples | Table::Histograms)
    }

    /// Columns whose values, taken together, strictly ascend over a table's rows.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Table::Layers => &["layer"],
            Table::Neurons => &["layer", "neuron"],
            Table::Documents => &["doc_id"],
            Table::Tokens => &["doc_id", "pos"],
            Table::Examples => &["layer", "neuron", "example"],
            Table::Histograms => &["layer", "neuron", "bucket"],
            Table::Vectors => &[],
        }
    }

    /// The columns SQL sees; a corpus's own columns of `documents` come on top.
    pub(super) fn sql_schema(self) -> SchemaRef {
        match self {
            Table::Layers => schema::layers(),
            Table::Neurons => schema::neurons(),
            Table::Documents => schema::documents(),
            Table::Tokens => schema::tokens(),
            Table::Examples => schema::examples(),
            Table::Histograms => schema::histograms(),
            Table::Vectors => schema::vectors(0),
        }
    }

    /// Refuses a schema that is not this table's stored form.
    pub(super) fn check_schema(self, got: &Schema) -> Result<()> {
        let want = match self {
            Table::Examples => schema::stored_examples(),
            Table::Vectors => {
                let width = match got.fields().first().map(|f| f.data_type()) {
                    Some(DataType::FixedSizeList(_, width)) if *width > 0 => *width,
                    _ => return plan_err!("vectors of one width are required, got {got}"),
                };
                schema::vectors(width as usize)
            }
            table => table.sql_schema(),
        };
        for (i, field) in want.fields().iter().enumerate() {
            let found = got.fields().get(i);
            if found.is_none_or(|f| f.name() != field.name() || f.data_type() != field.data_type())
            {
                let found = found.map_or("no column".to_string(), |f| {
                    format!("{} {}", f.name(), f.data_type())
                });
                return plan_err!(
                    "{self} requires column {} to be {} {}, got {found}",
                    i + 1,
                    field.name(),
                    field.data_type()
                );
            }
        }
        if self != Table::Documents && got.fields().len() > want.fields().len() {
            return plan_err!(
                "{self} requires {} columns, got {}",
                want.fields().len(),
                got.fields().len()
            );
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
