//! Rows of any columns as the cells of a table.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;

use super::show::{self, Visible};
use super::trouble::Trouble;

/// Rows of a table at most; all are in the data.
const ROWS: usize = 200;
/// Characters of a cell at most.
const CELL: usize = 240;
/// Characters of all cells, from which on no further row is begun.
const TABLE: usize = 120_000;

/// Columns that say which thing a row is about, though they are numbers.
const NAMES: [&str; 13] = [
    "layer", "neuron", "cluster", "example", "doc_id", "pos", "token_id", "latent", "match",
    "rank", "bucket", "step", "id",
];

/// Whether a column's numbers are names.
pub fn is_name_of_something(column: &str) -> bool {
    NAMES.contains(&column)
}

/// A value in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCell {
    /// As it is read.
    pub text: String,
    /// Whether it is NULL.
    pub is_null: bool,
    /// Where it leads.
    pub address: Option<String>,
}

/// Rows of any columns.
pub struct ShownRows {
    /// Names of the columns, and whether they have numbers.
    pub heads: Vec<(String, bool)>,
    /// The first rows.
    pub rows: Vec<Vec<ShownCell>>,
}

impl ShownRows {
    /// The first rows; those of neurons of a run lead to them.
    pub fn of(batch: &RecordBatch, run: Option<&str>) -> Result<Self, Trouble> {
        let schema = batch.schema();
        let heads = schema.fields().iter();
        let heads = heads.map(|field| (field.name().clone(), field.data_type().is_numeric()));
        let texts: Result<Vec<_>, _> = batch.columns().iter().map(text_of).collect();
        let texts = texts?;
        let place = |name: &str| {
            schema
                .fields()
                .iter()
                .position(|field| field.name() == name)
        };
        let of_neuron = place("layer").zip(place("neuron")).zip(run);
        let (mut rows, mut size) = (vec![], 0);
        for row in 0..batch.num_rows().min(ROWS) {
            let cells = texts.iter().enumerate().map(|(at, of)| {
                let is_null = batch.column(at).is_null(row);
                let text = if is_null { "NULL".into() } else { of(row) };
                let address = of_neuron.filter(|((_, neuron), _)| *neuron == at && !is_null);
                ShownCell {
                    address: address.map(|((layer, _), run)| {
                        let cluster =
                            place("cluster").map(|at| format!("#cluster-{}", texts[at](row)));
                        format!(
                            "/runs/{run}/layers/{}/neurons/{text}{}",
                            texts[layer](row),
                            cluster.unwrap_or_default()
                        )
                    }),
                    text,
                    is_null,
                }
            });
            let cells: Vec<_> = cells.collect();
            size += cells.iter().map(|cell| cell.text.len() + 12).sum::<usize>();
            rows.push(cells);
            if size > TABLE {
                break;
            }
        }
        Ok(Self {
            heads: heads.collect(),
            rows,
        })
    }
}

/// The values of a column in words.
pub fn text_of(column: &ArrayRef) -> Result<Box<dyn Fn(usize) -> String + '_>, Trouble> {
    let failed = |error: ArrowError| Trouble::from(DataFusionError::from(error));
    if column.data_type().is_floating() {
        let numbers = cast(column, &DataType::Float64).map_err(failed)?;
        let numbers = numbers.as_primitive::<Float64Type>().clone();
        return Ok(Box::new(move |row| match numbers.is_null(row) {
            true => "NULL".to_string(),
            false => show::number(numbers.value(row)),
        }));
    }
    let options = FormatOptions::default().with_null("NULL");
    let values = ArrayFormatter::try_new(column.as_ref(), &options).map_err(failed)?;
    Ok(Box::new(move |row| {
        let text = values.value(row).try_to_string();
        let text = text.unwrap_or_else(|error| error.to_string());
        let mut shown: String = text.chars().take(CELL).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Visible(&shown).to_string()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int32Array, StringArray};

    #[test]
    fn rows_of_neurons_lead_to_them() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("layer", Arc::new(Int32Array::from(vec![Some(1), Some(2)]))),
            ("neuron", Arc::new(Int32Array::from(vec![Some(7), None]))),
            ("share", Arc::new(Float64Array::from(vec![1.0 / 3.0, 1e-9]))),
            (
                "word",
                Arc::new(StringArray::from(vec![
                    "a\u{202e}b".to_string(),
                    "x".repeat(999),
                ])),
            ),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(n, c)| (n, c, true)),
        )
        .unwrap();
        let cells = ShownRows::of(&batch, Some("r")).unwrap();
        let [first, second] = &cells.rows[..] else {
            panic!("two rows");
        };
        assert_eq!(
            first[1].address.as_deref(),
            Some("/runs/r/layers/1/neurons/7")
        );
        assert_eq!(
            (first[2].text.as_str(), first[3].text.as_str()),
            ("0.333333", "a\\u{202e}b")
        );
        assert_eq!((second[1].is_null, &second[1].address), (true, &None));
        assert_eq!(second[3].text.chars().count(), CELL + 1);
        assert!(
            ShownRows::of(&batch, None).unwrap().rows[0][1]
                .address
                .is_none()
        );
    }
}
