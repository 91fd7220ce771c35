//! Bars in text: a query's numbers sorted into buckets, buckets that it has, or a name and a number each.

use std::io::{self, IsTerminal};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::plan_datafusion_err;
use datafusion::error::DataFusionError;
use polysema_udfs::svg::{Axis, columns, first_columns};

use super::failure::Failure;
use super::format::value::{Lists, display, float};
use super::pictures;
use super::screen;

/// Buckets that numbers are sorted into, or so.
const BUCKETS: usize = 20;
/// Columns of a line where no terminal says how many it has.
const COLUMNS: usize = 80;
/// Columns of a name at most.
const NAME: usize = 32;

/// A line: its name, its number, and the number as text.
type TextBar = (String, f64, String);

/// The lines of a result; coloured where they go to a terminal and NO_COLOR does not forbid it.
pub fn of_rows(rows: &RecordBatch, to_screen: bool) -> Result<Vec<String>, Failure> {
    let bars = bars(rows)?;
    let terminal = to_screen && io::stdout().is_terminal();
    let colours = to_screen && screen::has_colours();
    let width = screen::size().filter(|_| terminal);
    let width = width.map_or(COLUMNS, |(columns, _)| columns);
    Ok(draw(&bars, width, colours))
}

fn bars(rows: &RecordBatch) -> Result<Vec<TextBar>, DataFusionError> {
    if let Some(buckets) = pictures::histogram(rows)? {
        let buckets = buckets.into_iter();
        return Ok(buckets
            .map(|(lower, upper, count)| (range(lower, upper), count, count.to_string()))
            .collect());
    }
    let schema = rows.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let last = match names.last() {
        Some(name) => pictures::numbers(rows, name)?,
        None => None,
    };
    match (last, names.len()) {
        (Some(numbers), 1) => Ok(buckets(&numbers)),
        (Some(numbers), 2) => {
            let cell = |column: usize, row| display(rows.column(column), row, Lists::Short);
            let bar = |(row, number): (usize, &f64)| Ok((cell(0, row)?, *number, cell(1, row)?));
            numbers.iter().enumerate().map(bar).collect()
        }
        _ => Err(plan_datafusion_err!(
            "\\histogram: one column of numbers, a name and a number, or lower, upper and count are required, got {}",
            names.join(", ")
        )),
    }
}

fn range(lower: f64, upper: f64) -> String {
    format!("{} to {}", float(lower), float(upper))
}

/// Numbers in buckets of one round width; those that are none are said last.
fn buckets(numbers: &[f64]) -> Vec<TextBar> {
    let finite = || numbers.iter().copied().filter(|x| x.is_finite());
    let n_other = numbers.len() - finite().count();
    let mut bars = vec![];
    if finite().next().is_some() {
        let ticks: Vec<(f64, String)> = Axis::over(finite(), [0.0, 1.0]).ticks(BUCKETS);
        let step = match ticks[..] {
            [(a, _), (b, _), ..] => b - a,
            _ => 1.0,
        };
        let (first, last) = (ticks[0].0, ticks[ticks.len() - 1].0);
        let place = |x: f64| ((x - (first - step)) / step + 1e-9).floor().max(0.0) as usize;
        let n = place(last) + 1;
        let mut counts = vec![0u64; n];
        finite().for_each(|x| counts[place(x).min(n - 1)] += 1);
        let edges = |i: usize| first - step + i as f64 * step;
        let filled = |i: &usize| counts[*i] > 0;
        let from = (0..n).find(filled).unwrap_or(0);
        let to = (0..n).rfind(filled).unwrap_or(0);
        // As many digits as the round edges have.
        let digits = ticks[0]
            .1
            .split_once('.')
            .map_or(0, |(_, digits)| digits.len());
        for (i, count) in counts.iter().enumerate().take(to + 1).skip(from) {
            let name = match ticks[0].1.contains('e') || ticks.iter().any(|t| t.1.contains('e')) {
                true => range(edges(i), edges(i + 1)),
                false => format!("{:.digits$} to {:.digits$}", edges(i) + 0.0, edges(i + 1)),
            };
            bars.push((name, *count as f64, count.to_string()));
        }
    }
    if n_other > 0 {
        bars.push(("no number".to_string(), n_other as f64, n_other.to_string()));
    }
    bars
}

fn draw(bars: &[TextBar], width: usize, colours: bool) -> Vec<String> {
    let names: Vec<String> = bars.iter().map(|bar| first_columns(&bar.0, NAME)).collect();
    let of_names = names.iter().map(|name| columns(name)).max().unwrap_or(0);
    let of_texts = bars.iter().map(|bar| columns(&bar.2)).max().unwrap_or(0);
    let room = width.saturating_sub(of_names + of_texts + 4).max(8);
    let most = bars.iter().map(|bar| bar.1.abs()).filter(|x| x.is_finite());
    let most = most.fold(0.0, f64::max);
    let lines = bars.iter().zip(&names).map(|((_, number, text), name)| {
        let part = match number.is_finite() && most > 0.0 {
            true => number.abs() / most,
            false => 0.0,
        };
        let bar = block(part * room as f64);
        let bar = match (colours, *number < 0.0) {
            (true, false) => format!("\u{1b}[36m{bar}\u{1b}[0m"),
            (true, true) => format!("\u{1b}[33m{bar}\u{1b}[0m"),
            (false, _) => bar,
        };
        let pad = " ".repeat(of_names - columns(name));
        format!("{pad}{name} │{bar} {text}")
    });
    lines.collect()
}

/// A bar of so many columns, in eighths of one; what is not zero is seen.
fn block(columns: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (columns * 8.0).round() as usize;
    let eighths = if columns > 0.0 {
        eighths.max(1)
    } else {
        eighths
    };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn lines(columns: Vec<(&str, ArrayRef)>) -> Vec<String> {
        let rows = RecordBatch::try_from_iter(columns).expect("columns");
        draw(&bars(&rows).expect("bars"), 40, false)
    }

    #[test]
    fn numbers_fall_into_round_buckets() {
        let numbers = [Some(0.1), Some(0.12), Some(0.9), Some(1.0), None];
        let lines = lines(vec![("x", Arc::new(Float64Array::from(numbers.to_vec())))]);
        let first = format!("0.10 to 0.15 │{} 2", "█".repeat(23));
        assert_eq!(lines.first(), Some(&first));
        let last = format!("   no number │{}▌ 1", "█".repeat(11));
        assert_eq!(lines.last(), Some(&last));
        let sum: u64 = (lines.iter())
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        assert_eq!(sum, 5);
    }

    #[test]
    fn one_number_and_whole_numbers_are_numbers_too() {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![7, 7]));
        assert_eq!(lines(vec![("x", one)]).len(), 1);
        let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        assert!(lines(vec![("x", none)]).is_empty());
    }

    #[test]
    fn names_and_buckets_are_lines_as_they_come() {
        let name: ArrayRef = Arc::new(StringArray::from(vec!["a", "bb"]));
        let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, -4.0]));
        assert_eq!(
            lines(vec![("name", Arc::clone(&name)), ("x", Arc::clone(&x))]),
            [
                " a │███████▌ 1.0".to_string(),
                format!("bb │{} -4.0", "█".repeat(30))
            ]
        );
        let count: ArrayRef = Arc::new(Int64Array::from(vec![3, 3]));
        let buckets = lines(vec![
            ("lower", Arc::clone(&x)),
            ("upper", Arc::clone(&x)),
            ("count", count),
        ]);
        assert!(buckets[0].starts_with("-4.0 to -4.0 │"), "{buckets:?}");
        let two = RecordBatch::try_from_iter([("x", x), ("name", name)]).expect("columns");
        let error = bars(&two).expect_err("no number").strip_backtrace();
        assert!(error.contains("are required, got x, name"), "{error}");
    }

    #[test]
    fn colours_are_escapes_around_bars() {
        let bars = [("a".to_string(), 1.0, "1".to_string())];
        let line = &draw(&bars, 20, true)[0];
        assert_eq!(line, &format!("a │\u{1b}[36m{}\u{1b}[0m 1", "█".repeat(14)));
    }
}
