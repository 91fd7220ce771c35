//! Aligned columns for people. The first rows decide the widths; the memory held is bounded by them, whatever the
//! length of the result.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::value::{Lists, display, is_number, truncate, width};
use super::writer::{ResultWriter, WriteError};

/// Rows that may be held back to find the widths (chosen, not tuned).
const MAX_HELD_ROWS: usize = 10_000;
/// Bytes of text that may be held back (chosen, not tuned): a row may hold a whole document.
const MAX_HELD_BYTES: usize = 16 << 20;
/// A column is not narrowed below this to fit the terminal.
const MIN_WIDTH: usize = 12;
/// What stands between two columns.
const SEPARATOR: &str = " | ";

/// Writes a result as aligned columns under their names.
#[derive(Debug)]
pub struct AlignedTable {
    names: Vec<String>,
    right: Vec<bool>,
    terminal_width: Option<usize>,
    held: Vec<Vec<String>>,
    held_bytes: usize,
    /// Fixed when the first rows are written.
    widths: Option<Vec<usize>>,
}

impl AlignedTable {
    /// A writer for a result of these columns, fitted to the terminal if there is one.
    pub fn new(schema: &Schema, terminal_width: Option<usize>) -> Self {
        AlignedTable {
            names: schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            right: schema
                .fields()
                .iter()
                .map(|field| is_number(field.data_type()))
                .collect(),
            terminal_width,
            held: Vec::new(),
            held_bytes: 0,
            widths: None,
        }
    }

    fn release(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        let widths = match self.widths.take() {
            Some(widths) => widths,
            None => {
                let widths = self.measure();
                self.write_line(&self.names, &widths, out)?;
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(out, "-{}-", rules.join("-+-"))?;
                widths
            }
        };
        for row in std::mem::take(&mut self.held) {
            self.write_line(&row, &widths, out)?;
        }
        self.held_bytes = 0;
        self.widths = Some(widths);
        Ok(())
    }

    fn measure(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.names.iter().map(|name| width(name).max(1)).collect();
        for row in &self.held {
            for (column, cell) in row.iter().enumerate() {
                widths[column] = widths[column].max(width(cell));
            }
        }
        if let Some(terminal_width) = self.terminal_width {
            fit(&mut widths, terminal_width);
        }
        widths
    }

    fn write_line(
        &self,
        cells: &[String],
        widths: &[usize],
        out: &mut dyn Write,
    ) -> Result<(), WriteError> {
        let mut line = String::from(" ");
        for (column, cell) in cells.iter().enumerate() {
            let cell = match self.terminal_width {
                Some(_) => truncate(cell, widths[column]),
                None => cell.clone(),
            };
            let padding = " ".repeat(widths[column].saturating_sub(width(&cell)));
            if column > 0 {
                line.push_str(SEPARATOR);
            }
            if self.right[column] {
                line.push_str(&padding);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&padding);
            }
        }
        writeln!(out, "{}", line.trim_end_matches(' '))?;
        Ok(())
    }
}

impl ResultWriter for AlignedTable {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| display(column, row, Lists::Short))
                .collect::<Result<_, ArrowError>>()?;
            self.held_bytes += cells.iter().map(String::len).sum::<usize>();
            self.held.push(cells);
            if self.held.len() >= MAX_HELD_ROWS || self.held_bytes >= MAX_HELD_BYTES {
                self.release(out)?;
            }
        }
        // Once the widths are known nothing is gained by waiting.
        if self.widths.is_some() {
            self.release(out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        self.release(out)
    }
}

/// Narrows the widest columns until the line fits, none below [`MIN_WIDTH`].
fn fit(widths: &mut [usize], terminal_width: usize) {
    let frame = 1 + SEPARATOR.len() * widths.len().saturating_sub(1);
    let available = terminal_width.saturating_sub(frame);
    let mut excess = widths.iter().sum::<usize>().saturating_sub(available);
    while excess > 0 {
        let Some(widest) = widths.iter_mut().filter(|width| **width > MIN_WIDTH).max() else {
            return;
        };
        *widest -= 1;
        excess -= 1;
    }
}

/// Whether the result is that of EXPLAIN, whose lines are the text.
pub fn is_plan(schema: &Schema) -> bool {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names == ["plan_type", "plan"]
}

/// Writes EXPLAIN's plans as they are laid out, each under its kind.
#[derive(Debug)]
pub struct PlanWriter;

impl ResultWriter for PlanWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        let options = FormatOptions::default();
        let kinds = ArrayFormatter::try_new(batch.column(0), &options)?;
        let plans = ArrayFormatter::try_new(batch.column(1), &options)?;
        for row in 0..batch.num_rows() {
            let plan = plans.value(row).try_to_string()?;
            writeln!(out, "{}:\n{}", kinds.value(row), plan.trim_end())?;
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_columns_give_way() {
        let mut widths = vec![5, 100, 30];
        fit(&mut widths, 60);
        assert_eq!(widths, [5, 24, 24]);
        let mut narrow = vec![10, 10, 10];
        fit(&mut narrow, 12);
        assert_eq!(narrow, [10, 10, 10]);
    }
}
