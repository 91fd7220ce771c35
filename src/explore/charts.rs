//! The picture that a result suggests by the names and types of its columns: a bar a row, or a point a row.

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};

use super::cells::{is_name_of_something, text_of};
use super::scatter::scatter;
use super::show;
use super::trouble::Trouble;

/// What a reader may ask for; the first is what the columns suggest.
pub const KINDS: [&str; 4] = ["auto", "none", "bars", "points"];
/// Bars at most.
const BARS: usize = 40;
/// Points at most.
const POINTS: usize = 5000;
/// Columns that name a bar at most.
const NAMES: usize = 3;

/// A picture of rows.
pub enum Chart {
    /// A bar a row: the column of its length, and the bars.
    Bars(String, Vec<Bar>),
    /// A point a row: the columns to the right and up, how many there are, and their picture.
    Points([String; 2], usize, String),
}

/// A bar.
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// How long it is, in words.
    pub value: String,
    /// Its picture.
    pub svg: String,
}

/// A bar from one share of the width on, so long; the number stands beside it.
pub fn meter(from: f64, length: f64) -> String {
    format!(
        "<svg class=\"meter\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"bar\" x=\"{:.2}\" y=\"0\" width=\"{:.2}\" height=\"10\"/></svg>",
        from * 100.0,
        length * 100.0
    )
}

/// A bar for each number, all over one scale that has zero on it.
pub fn bars(labels: Vec<String>, numbers: &[Option<f64>]) -> Vec<Bar> {
    let seen = numbers.iter().flatten();
    let (low, high) = seen.fold((0.0, 0.0), |(low, high): (f64, f64), x| {
        (low.min(*x), high.max(*x))
    });
    let width = (high - low).max(f64::MIN_POSITIVE);
    let bars = labels.into_iter().zip(numbers).map(|(label, value)| {
        let (from, to) = value.map_or((0.0, 0.0), |value| (value.min(0.0), value.max(0.0)));
        Bar {
            label,
            value: value.map_or("–".to_string(), show::number),
            svg: meter((from - low) / width, (to - from) / width),
        }
    });
    bars.collect()
}

/// What the pictures are of.
struct DrawnColumns<'r> {
    rows: &'r RecordBatch,
    /// Those that say what a row is of.
    names: Vec<usize>,
    /// Numbers that are measured or counted.
    measures: Vec<usize>,
}

/// The columns that a picture may be of, by their names.
pub fn drawable(rows: &RecordBatch) -> Vec<String> {
    let schema = rows.schema();
    let fields = schema.fields().iter();
    let fields =
        fields.filter(|field| field.data_type().is_numeric() || is_text(field.data_type()));
    fields.map(|field| field.name().clone()).collect()
}

/// The picture of some kind, of these columns where they are given; none where the rows suggest none.
///
/// Errors: there are no such columns, or they have no numbers.
pub fn chart(
    rows: &RecordBatch,
    kind: &str,
    [x, y]: [Option<&str>; 2],
) -> Result<Option<Chart>, Trouble> {
    let columns = DrawnColumns::of(rows);
    let (x, y) = (columns.find("x", x)?, columns.find("y", y)?);
    if kind == "none" || rows.num_rows() < 2 {
        return Ok(None);
    }
    let first_measure = || columns.measures.iter().copied().find(|at| Some(*at) != x);
    let suggested = match (x, y) {
        (Some(x), _) if !columns.is_number(x) => "bars",
        (Some(_), _) => "points",
        _ if !columns.names.is_empty() && rows.num_rows() <= BARS => "bars",
        _ => "points",
    };
    let wanted = if kind == "auto" { suggested } else { kind };
    match wanted {
        "bars" => {
            let names = match x {
                Some(x) => vec![x],
                None => columns.names.iter().copied().take(NAMES).collect(),
            };
            let Some(y) = y.or_else(first_measure) else {
                return Ok(None);
            };
            columns.bars(&names, y).map(Some)
        }
        _ => {
            let Some(y) = y.or_else(|| {
                let mut others = columns.measures.iter().copied();
                match columns.measures.len() {
                    1 => others.next(),
                    _ => others
                        .find(|at| Some(*at) != x && (x.is_some() || *at != columns.measures[0])),
                }
            }) else {
                return Ok(None);
            };
            let is_x = |at: &usize| *at != y && columns.is_number(*at);
            let all = columns.measures.iter().chain(&columns.names).copied();
            let Some(x) = x.or_else(|| all.clone().find(is_x)) else {
                return Ok(None);
            };
            columns.points([x, y]).map(Some)
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean
    )
}

impl<'r> DrawnColumns<'r> {
    fn of(rows: &'r RecordBatch) -> Self {
        let (mut names, mut measures) = (vec![], vec![]);
        for (at, field) in rows.schema().fields().iter().enumerate() {
            let is_number = field.data_type().is_numeric();
            if is_text(field.data_type()) || is_number && is_name_of_something(field.name()) {
                names.push(at);
            } else if is_number {
                measures.push(at);
            }
        }
        Self {
            rows,
            names,
            measures,
        }
    }

    fn find(&self, of: &str, name: Option<&str>) -> Result<Option<usize>, Trouble> {
        let Some(name) = name else { return Ok(None) };
        let schema = self.rows.schema();
        let found = schema
            .fields()
            .iter()
            .position(|field| field.name() == name);
        found.map(Some).ok_or_else(|| {
            let known = drawable(self.rows).join(", ");
            Trouble::asked(format!(
                "one of the columns {known} is required as {of}, got '{name}'"
            ))
        })
    }

    fn name(&self, at: usize) -> String {
        self.rows.schema().field(at).name().clone()
    }

    fn is_number(&self, at: usize) -> bool {
        self.rows.schema().field(at).data_type().is_numeric()
    }

    /// The finite numbers of a column.
    fn numbers(&self, at: usize) -> Result<Vec<Option<f64>>, Trouble> {
        if !self.is_number(at) {
            return Err(Trouble::asked(format!(
                "a column of numbers is required for a picture, got {}",
                self.name(at)
            )));
        }
        let column: ArrayRef = cast(self.rows.column(at), &DataType::Float64)
            .map_err(|error| Trouble::from(datafusion::error::DataFusionError::from(error)))?;
        let numbers = column.as_primitive::<Float64Type>().iter();
        Ok(numbers
            .map(|number| number.filter(|number| number.is_finite()))
            .collect())
    }

    fn bars(&self, names: &[usize], y: usize) -> Result<Chart, Trouble> {
        let numbers = self.numbers(y)?;
        let shown = numbers.len().min(BARS);
        let texts: Result<Vec<_>, _> = names
            .iter()
            .map(|name| text_of(self.rows.column(*name)))
            .collect();
        let texts = texts?;
        let labels = (0..shown).map(|row| {
            let label: Vec<_> = texts.iter().map(|of| of(row)).collect();
            label.join(" · ")
        });
        let drawn = bars(labels.collect(), &numbers[..shown]);
        Ok(Chart::Bars(self.name(y), drawn))
    }

    fn points(&self, [x, y]: [usize; 2]) -> Result<Chart, Trouble> {
        let (right, up) = (self.numbers(x)?, self.numbers(y)?);
        let points: Vec<_> = right
            .into_iter()
            .zip(up)
            .filter_map(|(x, y)| Some((x?, y?)))
            .take(POINTS)
            .collect();
        let names = [self.name(x), self.name(y)];
        let svg = scatter(&names, &points);
        Ok(Chart::Points(names, points.len(), svg))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int32Array, StringArray};

    fn rows(n: i32) -> RecordBatch {
        let numbers = |times: f64| (0..n).map(move |i| (i > 0).then_some(f64::from(i) * times));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("layer", Arc::new(Int32Array::from_iter(0..n))),
            (
                "word",
                Arc::new(StringArray::from_iter_values(
                    (0..n).map(|i| format!("<{i}>")),
                )),
            ),
            ("share", Arc::new(Float64Array::from_iter(numbers(-0.5)))),
            ("size", Arc::new(Float64Array::from_iter(numbers(2.0)))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
            .unwrap()
    }

    #[test]
    fn columns_suggest_their_picture() {
        let Some(Chart::Bars(of, bars)) = chart(&rows(3), "auto", [None; 2]).unwrap() else {
            panic!("bars");
        };
        assert_eq!((of.as_str(), bars.len()), ("share", 3));
        assert_eq!(
            (bars[2].label.as_str(), bars[2].value.as_str()),
            ("2 · <2>", "-1")
        );
        assert!(
            bars[1].svg.contains("x=\"50.00\" y=\"0\" width=\"50.00\""),
            "{}",
            bars[1].svg
        );
        assert_eq!(bars[0].value, "–");
        let Some(Chart::Points(names, n, svg)) = chart(&rows(90), "auto", [None; 2]).unwrap()
        else {
            panic!("points");
        };
        assert_eq!((names, n), (["share".into(), "size".into()], 89));
        assert_eq!(svg.matches("<circle").count(), 89);
        assert!(chart(&rows(1), "auto", [None; 2]).unwrap().is_none());
        assert!(chart(&rows(3), "none", [None; 2]).unwrap().is_none());
    }

    #[test]
    fn a_reader_chooses_columns_that_are_there() {
        let of = |kind, x, y| chart(&rows(3), kind, [x, y]);
        let Ok(Some(Chart::Points(names, ..))) = of("points", Some("layer"), Some("size")) else {
            panic!("points");
        };
        assert_eq!(names, ["layer", "size"]);
        let message = of("auto", Some("x"), None).err().unwrap().message;
        assert!(message.contains("layer, word, share, size"), "{message}");
        let message = of("bars", None, Some("word")).err().unwrap().message;
        assert!(
            message.contains("a column of numbers is required"),
            "{message}"
        );
    }
}
