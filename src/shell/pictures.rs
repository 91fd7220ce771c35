//! The picture that a result's columns suggest: what they are called says what they are.
//!
//! ```text
//! svg                                         the picture itself
//! lower, upper, count                         a histogram
//! threshold, n_clusters [, cut]               a curve of steps, with the cut marked
//! pc1, pc2 [, cluster]                        points
//! y, x, and one of importance, mean_pixel, weight, activation                 a heat map
//! ```

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::error::Result;
use polysema_udfs::svg::{About, Bar, HeatMap, Ink, Point, Shape, bars, curve, heat_map, scatter};

use super::format::value::{Lists, display, float};

/// A picture of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// A whole SVG document.
    pub svg: String,
    /// What is to be seen; nothing where the picture says it.
    pub caption: String,
    /// Whether it shows all that the result has, so that a table beside it is not read.
    pub is_all: bool,
}

/// Bars that a result is to be drawn as: columns whose values name a bar, and the one that says how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarColumns {
    /// Columns whose values name a bar.
    pub labels: Vec<String>,
    /// The column that says how long it is.
    pub value: String,
}

/// The pictures of a result; `id` tells them from others of their page.
pub fn of(
    id: &str,
    title: &str,
    rows: &RecordBatch,
    asked: Option<&BarColumns>,
) -> Result<Vec<Drawn>> {
    if rows.num_rows() == 0 {
        return Ok(vec![]);
    }
    if let Some(column) = texts(rows, "svg")? {
        let pictures = column.as_string::<i32>().iter().flatten();
        let drawn = pictures.map(|svg| Drawn {
            svg: svg.to_string(),
            caption: String::new(),
            is_all: true,
        });
        return Ok(drawn.collect());
    }
    let about = |description: String| About {
        id: id.to_string(),
        title: title.to_string(),
        description,
    };
    let all = |about: About, svg: String| Drawn {
        svg,
        caption: about.description,
        is_all: true,
    };
    let n = rows.num_rows();
    if let Some(asked) = asked {
        let found = bars_of(rows, asked)?;
        let longest = (found.iter()).max_by(|a, b| a.value.total_cmp(&b.value));
        let longest = longest.map_or_else(String::new, |bar| {
            format!(" The longest is {}, {}.", bar.label, bar.text)
        });
        let about = about(format!("{n} bars by {}.{longest}", asked.value));
        return Ok(vec![Drawn {
            svg: bars(&about, &found),
            caption: about.description,
            is_all: false,
        }]);
    }
    if let Some(buckets) = histogram(rows)? {
        let (x, y) = ("value".to_string(), "count in the bucket".to_string());
        let about = about(format!("A histogram of {n} buckets."));
        let svg = curve(&about, [&x, &y], &outline(&buckets), Shape::Filled, None);
        return Ok(vec![all(about, svg)]);
    }
    if let [Some(x), Some(y)] = [numbers(rows, "threshold")?, numbers(rows, "n_clusters")?] {
        let points: Vec<_> = x.into_iter().zip(y).collect();
        let cut = numbers(rows, "cut")?.and_then(|cuts| cuts.first().copied());
        let said = cut.map(|cut| format!("cut at {}", float(cut)));
        let marked = cut.zip(said.as_deref());
        let about = about("How many clusters there are at each threshold.".to_string());
        let names = ["threshold", "clusters"];
        let svg = curve(&about, names, &points, Shape::Steps, marked);
        return Ok(vec![all(about, svg)]);
    }
    if let [Some(x), Some(y)] = [numbers(rows, "pc1")?, numbers(rows, "pc2")?] {
        let about = about(format!(
            "{n} points by their first two principal components."
        ));
        let svg = scatter(&about, ["pc1", "pc2"], &points(rows, &x, &y)?);
        return Ok(vec![all(about, svg)]);
    }
    heat_map_of(rows, about)
}

fn heat_map_of(rows: &RecordBatch, about: impl Fn(String) -> About) -> Result<Vec<Drawn>> {
    let [Some(y), Some(x)] = [numbers(rows, "y")?, numbers(rows, "x")?] else {
        return Ok(vec![]);
    };
    let mut drawn = vec![];
    for name in ["importance", "mean_pixel", "weight", "activation"] {
        let Some(values) = numbers(rows, name)? else {
            continue;
        };
        let n_columns = x.iter().fold(0.0, |most: f64, x| most.max(*x)) as usize + 1;
        let mut cells = vec![f64::NAN; values.len()];
        for ((y, x), value) in y.iter().zip(&x).zip(&values) {
            if let Some(cell) = cells.get_mut(*y as usize * n_columns + *x as usize) {
                *cell = *value;
            }
        }
        let about = about(format!("{name} of every pixel."));
        let values = cells;
        drawn.push(Drawn {
            svg: heat_map(&about, &HeatMap { n_columns, values }),
            caption: about.description,
            is_all: true,
        });
    }
    Ok(drawn.into_iter().take(1).collect())
}

/// A bucket of a histogram: from, to, how many.
pub type CountedRange = (f64, f64, f64);

/// The buckets of a result with the columns lower, upper and count, in order; none where it has others.
pub fn histogram(rows: &RecordBatch) -> Result<Option<Vec<CountedRange>>> {
    let [Some(lower), Some(upper), Some(count)] = [
        numbers(rows, "lower")?,
        numbers(rows, "upper")?,
        numbers(rows, "count")?,
    ] else {
        return Ok(None);
    };
    let mut buckets: Vec<CountedRange> = (lower.into_iter().zip(upper).zip(count))
        .map(|((lower, upper), count)| (lower, upper, count))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Some(buckets))
}

/// The corners of a histogram's outline. Between buckets that do not touch there is nothing.
fn outline(buckets: &[CountedRange]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = vec![];
    let mut end = None;
    for &(lower, upper, count) in buckets {
        if let Some(end) = end.filter(|end| *end < lower) {
            points.push((end, 0.0));
        }
        points.push((lower, count));
        end = Some(upper);
    }
    points.extend(end.map(|end| (end, 0.0)));
    points
}

fn bars_of(rows: &RecordBatch, asked: &BarColumns) -> Result<Vec<Bar>> {
    let Some(values) = numbers(rows, &asked.value)? else {
        return Ok(vec![]);
    };
    let label = |row: usize| -> Result<String> {
        let parts = (asked.labels.iter())
            .filter_map(|name| rows.column_by_name(name))
            .map(|column| Ok(display(column, row, Lists::Short)?));
        Ok(parts.collect::<Result<Vec<_>>>()?.join("."))
    };
    let text = |row: usize| -> Result<String> {
        match rows.column_by_name(&asked.value) {
            Some(column) => Ok(display(column, row, Lists::Short)?),
            None => Ok(String::new()),
        }
    };
    let bar = |(row, value): (usize, &f64)| {
        Ok(Bar {
            label: label(row)?,
            value: *value,
            text: text(row)?,
        })
    };
    values.iter().enumerate().map(bar).collect()
}

fn points(rows: &RecordBatch, x: &[f64], y: &[f64]) -> Result<Vec<Point>> {
    let clusters = match rows.column_by_name("cluster") {
        Some(column) => Some(cast(column, &DataType::Int64)?),
        None => None,
    };
    let cluster = |row: usize| -> Option<i64> {
        let clusters = clusters.as_ref()?;
        let clusters = clusters.as_primitive::<Int64Type>();
        clusters.is_valid(row).then(|| clusters.value(row))
    };
    let mut sizes: HashMap<i64, u32> = HashMap::new();
    for number in (0..rows.num_rows()).filter_map(cluster) {
        *sizes.entry(number).or_default() += 1;
    }
    let token = texts(rows, "token")?;
    let tip = |row: usize| {
        let number = cluster(row).map(|number| format!("cluster {number}"));
        let token = token.as_ref().map(|token| token.as_string::<i32>());
        let token = token.filter(|token| token.is_valid(row));
        let token = token.map(|token| token.value(row).to_string());
        [number, token]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": ")
    };
    let ink = |row: usize| match (clusters.is_some(), cluster(row)) {
        (false, _) => Ink::Mark,
        (true, None) => Ink::Faint,
        (true, Some(number)) => Ink::Cluster {
            number: number as u32,
            size: sizes[&number],
        },
    };
    let point = |row: usize| Point {
        at: [x[row], y[row]],
        ink: ink(row),
        tip: tip(row),
    };
    Ok((0..rows.num_rows()).map(point).collect())
}

/// A column as numbers, NULL as NaN; none where there is none of numbers.
pub fn numbers(rows: &RecordBatch, name: &str) -> Result<Option<Vec<f64>>> {
    let Some(column) = rows
        .column_by_name(name)
        .filter(|c| c.data_type().is_numeric())
    else {
        return Ok(None);
    };
    let column: ArrayRef = cast(column, &DataType::Float64)?;
    let values = column.as_primitive::<Float64Type>().iter();
    Ok(Some(values.map(|x| x.unwrap_or(f64::NAN)).collect()))
}

fn texts(rows: &RecordBatch, name: &str) -> Result<Option<ArrayRef>> {
    match rows
        .column_by_name(name)
        .filter(|c| c.data_type().is_string())
    {
        Some(column) => Ok(Some(cast(column, &DataType::Utf8)?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, Int32Array, StringArray};
    use std::sync::Arc;

    fn column(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn drawn(columns: Vec<(&str, ArrayRef)>, asked: Option<&BarColumns>) -> Vec<Drawn> {
        let rows = RecordBatch::try_from_iter(columns).expect("columns");
        of("p", "A title", &rows, asked).expect("a picture")
    }

    #[test]
    fn columns_suggest_their_picture() {
        let (a, b) = (column(&[0.0, 1.0]), column(&[1.0, 2.0]));
        let has = |columns: Vec<(&str, ArrayRef)>, text: &str| {
            let drawn = drawn(columns, None);
            assert_eq!(drawn.len(), 1, "{text}");
            assert!(drawn[0].svg.contains(text), "{text}: {}", drawn[0].svg);
        };
        let histogram = vec![
            ("lower", Arc::clone(&a)),
            ("upper", Arc::clone(&b)),
            ("count", Arc::clone(&b)),
        ];
        has(histogram, "A histogram of 2 buckets.");
        let steps = vec![
            ("threshold", Arc::clone(&a)),
            ("n_clusters", Arc::clone(&b)),
        ];
        has(steps.clone(), "clusters");
        has(
            [steps, vec![("cut", Arc::clone(&a))]].concat(),
            "cut at 0.0",
        );
        let cluster: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), None]));
        let points = vec![
            ("pc1", Arc::clone(&a)),
            ("pc2", Arc::clone(&b)),
            ("cluster", cluster),
        ];
        has(points, "<circle class=\"cluster single\"");
        let pixels = vec![
            ("y", column(&[0.0; 2])),
            ("x", Arc::clone(&a)),
            ("weight", Arc::clone(&b)),
        ];
        has(pixels, "weight of every pixel");
        let svg: ArrayRef = Arc::new(StringArray::from(vec!["<svg>"]));
        has(vec![("svg", svg)], "<svg>");
        assert!(drawn(vec![("a", a), ("b", b)], None).is_empty());
    }

    #[test]
    fn bars_are_drawn_where_they_are_asked_for() {
        let asked = BarColumns {
            labels: vec!["layer".to_string(), "neuron".to_string()],
            value: "size".to_string(),
        };
        let layer: ArrayRef = Arc::new(Int32Array::from(vec![3, 3]));
        let neuron: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
        let columns = vec![
            ("layer", layer),
            ("neuron", neuron),
            ("size", column(&[2.0, 4.0])),
        ];
        let svg = &drawn(columns, Some(&asked))[0].svg;
        assert!(
            svg.contains(">3.7</tspan>") && svg.contains("The longest is 3.8, 4.0."),
            "{svg}"
        );
    }

    #[test]
    fn an_outline_falls_to_zero_between_buckets_that_do_not_touch() {
        let buckets = [(0.0, 1.0, 5.0), (1.0, 2.0, 7.0), (4.0, 5.0, 1.0)];
        let corners = [(0.0, 5.0), (1.0, 7.0), (2.0, 0.0), (4.0, 1.0), (5.0, 0.0)];
        assert_eq!(outline(&buckets), corners);
    }
}
