//! What a scan decodes for the columns it is asked for.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::{Float32Type, SchemaRef};
use datafusion::error::Result;

use super::file::TableFile;
use super::table::Table;

/// Where an output column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputColumn {
    /// A decoded column, by its position among them.
    Stored(usize),
    Token,
    WindowTokens,
    /// Copied for each example, a list like any other.
    PreMlp,
    /// As places in the mapped file.
    SharedPreMlp,
    WeightedPreMlp,
    Sign,
}

/// Stored columns to decode and where each output column comes from.
pub(super) fn outputs(
    table: Table,
    schema: &SchemaRef,
    file: Option<&Arc<TableFile>>,
) -> Result<(Vec<usize>, Vec<OutputColumn>)> {
    let Some(file) = file else {
        return Ok((vec![], vec![]));
    };
    let mut names: Vec<&str> = vec![];
    let mut column = |name| match names.iter().position(|n| *n == name) {
        Some(i) => i,
        None => {
            names.push(name);
            names.len() - 1
        }
    };
    let mut columns = vec![];
    for field in schema.fields() {
        let output = match (table, field.name().as_str()) {
            (Table::Examples, "token") => OutputColumn::Token,
            (Table::Examples, "window_tokens") => OutputColumn::WindowTokens,
            (Table::Examples, "pre_mlp") => OutputColumn::PreMlp,
            (Table::Examples, "weighted_pre_mlp") => OutputColumn::WeightedPreMlp,
            (Table::Examples, "sign") => OutputColumn::Sign,
            (_, name) => OutputColumn::Stored(column(name)),
        };
        let needs: &[&str] = match output {
            OutputColumn::Stored(_) => &[],
            OutputColumn::Token => &["token_row"],
            OutputColumn::WindowTokens => {
                &["token_row", "pos", "window_start", "window_activations"]
            }
            OutputColumn::PreMlp | OutputColumn::SharedPreMlp => &["vector"],
            OutputColumn::WeightedPreMlp => &["window_vectors", "window_activations"],
            OutputColumn::Sign => &["activation"],
        };
        for name in needs {
            column(name);
        }
        columns.push(output);
    }
    // To cut batches by.
    if table.by_neuron() {
        column("neuron");
    }
    let stored = names
        .iter()
        .map(|name| Ok(file.schema().index_of(name)?))
        .collect::<Result<_>>()?;
    Ok((stored, columns))
}

/// The column `sign` of these activations.
pub(super) fn signs(activations: &ArrayRef) -> ArrayRef {
    let activations = activations.as_primitive::<Float32Type>().iter();
    let signs = activations.map(|a| match a {
        Some(a) if a < 0.0 => "negative",
        _ => "positive",
    });
    Arc::new(StringArray::from_iter_values(signs))
}
