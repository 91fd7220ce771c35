//! The order a table's rows must have, checked while they are written.

use datafusion::arrow::array::{Array, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::common::cast::as_primitive_array;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;

use super::manifest::BatchEntry;
use super::table::Table;

/// Checks one file's batches in turn.
#[derive(Debug)]
pub(super) struct KeyOrder {
    table: Table,
    layer: Option<i32>,
    last: Option<Vec<i32>>,
}

impl KeyOrder {
    pub fn new(table: Table, layer: Option<i32>) -> Self {
        Self {
            table,
            layer,
            last: None,
        }
    }

    /// The entry of a batch whose rows continue the file in order.
    pub fn check(&mut self, batch: &RecordBatch) -> Result<BatchEntry> {
        let table = self.table;
        let rows = u32::try_from(batch.num_rows()).map_err(|_| {
            exec_datafusion_err!(
                "{table} requires batches of at most {} rows, got {}",
                u32::MAX,
                batch.num_rows()
            )
        })?;
        let columns = table
            .keys()
            .iter()
            .map(|name| self.column(batch, name))
            .collect::<Result<Vec<_>>>()?;
        let key = |row: usize| columns.iter().map(move |c| c.value(row));
        if let (Some(layer), true) = (self.layer, table.by_neuron())
            && let Some(row) = columns[0].values().iter().position(|l| *l != layer)
        {
            return exec_err!(
                "{table} of layer {layer} requires rows of that layer, got layer {} in row {row}",
                columns[0].value(row)
            );
        }
        if let Some(last) = &self.last {
            if table.by_neuron() && last[1] == columns[1].value(0) {
                return exec_err!(
                    "{table} requires batches cut between neurons, got layer {} neuron {} in two batches",
                    last[0],
                    last[1]
                );
            }
            if !last.iter().copied().lt(key(0)) {
                return self.unordered(last, &key(0).collect::<Vec<_>>());
            }
        }
        if !columns.is_empty() {
            for row in 1..batch.num_rows() {
                if !key(row - 1).lt(key(row)) {
                    return self.unordered(
                        &key(row - 1).collect::<Vec<_>>(),
                        &key(row).collect::<Vec<_>>(),
                    );
                }
            }
            self.last = Some(key(batch.num_rows() - 1).collect());
        }
        let (first, last) = if table.by_neuron() {
            let neurons = columns[1].values();
            (neurons[0], neurons[neurons.len() - 1])
        } else {
            (0, 0)
        };
        Ok(BatchEntry { rows, first, last })
    }

    fn column<'a>(&self, batch: &'a RecordBatch, name: &str) -> Result<&'a Int32Array> {
        let table = self.table;
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| exec_datafusion_err!("{table} requires column {name}, got none"))?;
        let column = as_primitive_array::<Int32Type>(column)?;
        match (0..column.len()).find(|row| column.is_null(*row) || column.value(*row) < 0) {
            None => Ok(column),
            Some(row) if column.is_null(row) => {
                exec_err!("{table} requires {name} in every row, got NULL in row {row}")
            }
            Some(row) => exec_err!(
                "{table} requires {name} from 0, got {} in row {row}",
                column.value(row)
            ),
        }
    }

    fn unordered<T>(&self, before: &[i32], after: &[i32]) -> Result<T> {
        exec_err!(
            "{} requires rows in ascending order of ({}), got {after:?} after {before:?}",
            self.table,
            self.table.keys().join(", ")
        )
    }
}
