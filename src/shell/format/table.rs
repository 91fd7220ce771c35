//! Aligned columns for people. The first rows decide the widths; the memory held is bounded by them, whatever the
//! length of the result.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::layout::{Expanded, Layout};
use super::value::{Lists, display, is_number, truncate, visible, width};

use super::writer::{ResultWriter, WriteError};
use crate::shell::screen::wrapped;

/// Rows that may be held back to find the widths (chosen, not tuned).
const MAX_HELD_ROWS: usize = 10_000;
/// Bytes of text that may be held back (chosen, not tuned): a row may hold a whole document.
const MAX_HELD_BYTES: usize = 16 << 20;
/// A column whose values are wider is not narrowed below this to fit the terminal (chosen, not tuned).
const LEAST_VALUE: usize = 12;
/// A name longer than its column's values is not cut below this (chosen, not tuned).
const LEAST_NAME: usize = 6;
/// What stands between two columns.
const SEPARATOR: &str = " | ";
/// What stands for columns that are left out.
const LEFT_OUT: &str = "…";

/// Writes a result as aligned columns under their names, or a value a line.
#[derive(Debug)]
pub struct AlignedTable {
    names: Vec<String>,
    right: Vec<bool>,
    layout: Layout,
    held: Vec<Vec<String>>,
    held_bytes: usize,
    rows: usize,
    /// Fixed when the first rows are written.
    shape: Option<Shape>,
    /// Whether a value was.
    cut_short: bool,
}

/// How the rows are laid out.
#[derive(Debug)]
enum Shape {
    /// A column each of these, of this width; `None` stands for those that are left out.
    Columns(Vec<(Option<usize>, usize)>),
    /// A line for each column, whose names take this width.
    Lines(usize),
}

impl AlignedTable {
    /// A writer for a result of these columns, fitted to the terminal if there is one.
    pub fn new(schema: &Schema, layout: Layout) -> Self {
        let fields = schema.fields().iter();
        AlignedTable {
            names: fields.clone().map(|field| visible(field.name())).collect(),
            right: fields.map(|field| is_number(field.data_type())).collect(),
            layout,
            held: Vec::new(),
            held_bytes: 0,
            rows: 0,
            shape: None,
            cut_short: false,
        }
    }

    /// Rows that are shown at most.
    fn most(&self) -> usize {
        self.layout.screen_rows().unwrap_or(usize::MAX)
    }

    fn release(&mut self, out: &mut dyn Write) -> Result<(), WriteError> {
        let shape = match self.shape.take() {
            Some(shape) => shape,
            None => {
                let shape = self.shape_of_held();
                if let Shape::Columns(columns) = &shape {
                    write_line(&self.names, columns, &self.right, out)?;
                    let rules = columns.iter().map(|(_, width)| "-".repeat(*width));
                    writeln!(out, "-{}-", rules.collect::<Vec<_>>().join("-+-"))?;
                }
                shape
            }
        };
        let mut number = self.rows.min(self.most()) - self.held.len();
        for row in std::mem::take(&mut self.held) {
            number += 1;
            match &shape {
                Shape::Columns(columns) if self.layout.wraps => {
                    for line in lines(&row, columns) {
                        write_line(&line, columns, &self.right, out)?;
                    }
                }
                Shape::Columns(columns) => {
                    self.cut_short |= is_cut(&row, columns);
                    write_line(&row, columns, &self.right, out)?;
                }
                Shape::Lines(margin) => {
                    writeln!(out, "-[ {number} ]{}", "-".repeat(*margin))?;
                    for (name, cell) in self.names.iter().zip(&row) {
                        let padding = " ".repeat(margin - width(name));
                        writeln!(out, "{name}{padding}{SEPARATOR}{cell}")?;
                    }
                }
            }
        }
        self.held_bytes = 0;
        self.shape = Some(shape);
        Ok(())
    }

    fn shape_of_held(&self) -> Shape {
        let names: Vec<usize> = self.names.iter().map(|name| width(name).max(1)).collect();
        let lines = Shape::Lines(names.iter().copied().max().unwrap_or(0));
        let mut values = vec![0; names.len()];
        for row in &self.held {
            for (most, cell) in values.iter_mut().zip(row) {
                *most = width(cell).max(*most);
            }
        }
        let widths = names
            .iter()
            .zip(&values)
            .map(|(name, value)| *name.max(value));
        let widths: Vec<usize> = widths.collect();
        let terminal = self.layout.width.unwrap_or(usize::MAX);
        match self.layout.expanded {
            Expanded::On => lines,
            Expanded::Auto if excess(&widths, terminal) > 0 => lines,
            Expanded::Auto | Expanded::Off => Shape::Columns(fit(widths, &values, terminal)),
        }
    }
}

/// Whether a cell of a row does not fit.
fn is_cut(cells: &[String], columns: &[(Option<usize>, usize)]) -> bool {
    let mut shown = columns.iter();
    shown.any(|(column, room)| column.is_some_and(|column| width(&cells[column]) > *room))
}

/// The cells of a row as lines of cells, those that do not fit gone on below.
fn lines(cells: &[String], columns: &[(Option<usize>, usize)]) -> Vec<Vec<String>> {
    let mut pieces = vec![vec![]; cells.len()];
    for (column, room) in columns {
        if let Some(column) = column {
            let words = wrapped(&cells[*column], *room, 0);
            pieces[*column] = words.iter().flat_map(|piece| cut(piece, *room)).collect();
        }
    }
    let n = pieces.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |of: &Vec<String>, i| of.get(i).cloned().unwrap_or_default();
    let line = |i| pieces.iter().map(|of| cell(of, i)).collect();
    (0..n).map(line).collect()
}

/// A text in pieces that fit, without regard to its words.
fn cut(text: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for character in text.chars() {
        let mut wider = pieces.last().cloned().unwrap_or_default();
        let is_begun = !wider.is_empty();
        wider.push(character);
        match pieces.last_mut() {
            Some(last) if !is_begun || width(&wider) <= room => *last = wider,
            _ => pieces.push(character.to_string()),
        }
    }
    pieces
}

/// The cells of a row, those that do not fit cut short.
fn write_line(
    cells: &[String],
    columns: &[(Option<usize>, usize)],
    right: &[bool],
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    let mut line = String::from(" ");
    for (place, (column, room)) in columns.iter().enumerate() {
        let cell = match column {
            Some(column) => truncate(&cells[*column], *room),
            None => LEFT_OUT.to_string(),
        };
        let padding = " ".repeat(room.saturating_sub(width(&cell)));
        if place > 0 {
            line.push_str(SEPARATOR);
        }
        match column.is_some_and(|column| right[column]) {
            true => line.extend([padding, cell]),
            false => line.extend([cell, padding]),
        }
    }
    writeln!(out, "{}", line.trim_end_matches(' '))?;
    Ok(())
}

impl ResultWriter for AlignedTable {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError> {
        let shown = self.most().saturating_sub(self.rows).min(batch.num_rows());
        for row in 0..shown {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| display(column, row, Lists::Short))
                .collect::<Result<_, ArrowError>>()?;
            self.held_bytes += cells.iter().map(String::len).sum::<usize>();
            self.held.push(cells);
            self.rows += 1;
            if self.held.len() >= MAX_HELD_ROWS || self.held_bytes >= MAX_HELD_BYTES {
                self.release(out)?;
            }
        }
        self.rows += batch.num_rows() - shown;
        // Once the widths are known nothing is gained by waiting.
        if self.shape.is_some() {
            self.release(out)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut dyn Write) -> Result<(), WriteError> {
        self.release(out)?;
        let more = self.rows.saturating_sub(self.most());
        if more > 0 {
            writeln!(
                out,
                "{LEFT_OUT} {more} of {} rows left out: \\rows all shows all",
                self.rows
            )?;
        }
        if let Some(Shape::Columns(columns)) = &self.shape {
            let shown = columns
                .iter()
                .filter(|(column, _)| column.is_some())
                .count();
            if shown < self.names.len() {
                let (all, more) = (self.names.len(), self.names.len() - shown);
                writeln!(
                    out,
                    "{LEFT_OUT} {more} of {all} columns left out: \\x shows all"
                )?;
            } else if self.cut_short && self.layout.width.is_some() {
                writeln!(out, "{LEFT_OUT} values are cut short: \\x shows them whole")?;
            }
        }
        Ok(())
    }
}

/// By how much columns of these widths are wider than the terminal.
fn excess(widths: &[usize], terminal: usize) -> usize {
    // A blank stands before the first and after the last.
    let frame = 2 + SEPARATOR.len() * widths.len().saturating_sub(1);
    (frame + widths.iter().sum::<usize>()).saturating_sub(terminal)
}

/// The columns that fit the terminal, with their widths: the widest values are cut short, then the names that are longer
/// than their values, and if that is not enough columns in the middle are left out.
fn fit(mut widths: Vec<usize>, values: &[usize], terminal: usize) -> Vec<(Option<usize>, usize)> {
    let names_too = |value: &usize| LEAST_NAME.max(*value).min(LEAST_VALUE);
    for least in [
        vec![LEAST_VALUE; values.len()],
        values.iter().map(names_too).collect(),
    ] {
        for _ in 0..excess(&widths, terminal) {
            let narrower = widths.iter_mut().zip(&least);
            let narrower = narrower.filter(|(width, least)| **width > **least);
            let Some((widest, _)) = narrower.max() else {
                break;
            };
            *widest -= 1;
        }
    }
    let n = widths.len();
    let mut columns: Vec<_> = widths
        .iter()
        .enumerate()
        .map(|(i, width)| (Some(i), *width))
        .collect();
    let too_wide = |columns: &[(Option<usize>, usize)]| {
        let widths: Vec<usize> = columns.iter().map(|(_, width)| *width).collect();
        excess(&widths, terminal) > 0
    };
    // The first and the last stay: the keys, and what was asked for.
    let mut left_out = 0;
    while too_wide(&columns) && left_out + 2 < n {
        left_out += 1;
        let from = 1 + (n - 1 - left_out) / 2;
        let (before, after) = (0..from, from + left_out..n);
        let shown = |range: std::ops::Range<usize>| range.map(|i| (Some(i), widths[i]));
        columns = shown(before)
            .chain([(None, 1)])
            .chain(shown(after))
            .collect();
    }
    columns
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

    fn finish(self: Box<Self>, _out: &mut dyn Write) -> Result<(), WriteError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(columns: &[(Option<usize>, usize)]) -> Vec<usize> {
        columns.iter().map(|(_, width)| *width).collect()
    }

    #[test]
    fn the_widest_columns_give_way() {
        let fitted = |widths: &[usize], values, terminal| fit(widths.to_vec(), values, terminal);
        let values = [5, 100, 30];
        assert_eq!(widths(&fitted(&values, &values, 61)), [5, 24, 24]);
        // Names of 10 over short numbers.
        assert_eq!(widths(&fitted(&[10, 10, 10], &[1, 8, 10], 32)), [6, 8, 10]);
        assert_eq!(widths(&fitted(&[3, 10], &[1, 1], usize::MAX)), [3, 10]);
    }

    #[test]
    fn cells_go_on_below() {
        let cells = ["1".to_string(), "one two three".to_string()];
        let columns = [(Some(0), 1), (Some(1), 7)];
        assert_eq!(lines(&cells, &columns), [["1", "one two"], ["", "three"]]);
        assert_eq!(cut("long_name(x)", 5), ["long_", "name(", "x)"]);
        assert!(is_cut(&cells, &columns));
        assert!(!is_cut(&cells, &[(Some(0), 1), (None, 1)]));
    }

    #[test]
    fn columns_in_the_middle_are_left_out() {
        let columns = fit(vec![6; 9], &[6; 9], 40);
        let shown: Vec<_> = columns.iter().map(|(column, _)| *column).collect();
        assert_eq!(shown, [Some(0), Some(1), None, Some(7), Some(8)]);
        assert_eq!(excess(&widths(&columns), 40), 0);
        assert_eq!(fit(vec![6; 2], &[6; 2], 5).len(), 2);
    }
}
