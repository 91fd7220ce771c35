//! The vectors of a job's relation, row by row, for work that wants numbers.

use std::borrow::Cow;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Int64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use polysema_udfs::arrow::vectors::{VectorColumn, is_vector};

use crate::corpus::{VectorBatch, VectorSource};
use crate::jobs::Rows;

/// Columns that people read, the first of them that a relation has.
const TEXTS: [&str; 3] = ["token", "text", "label"];

/// A relation with a column of vectors.
pub struct RowVectors<'a> {
    rows: &'a Rows,
    written: String,
    vector: usize,
    doc_id: Option<usize>,
    pos: Option<usize>,
    text: Option<usize>,
}

impl<'a> RowVectors<'a> {
    /// The vectors of `column`, or of the only column of vectors there is.
    ///
    /// Errors: there is no such column, or there are several.
    pub fn try_new(rows: &'a Rows, column: Option<&str>, written: String) -> Result<Self> {
        let schema = rows.schema();
        let place = |name: &str| schema.index_of(name).ok();
        let known = || {
            let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            names.join(", ")
        };
        let vectors: Vec<usize> = (0..schema.fields().len())
            .filter(|i| is_vector(schema.field(*i).data_type()))
            .collect();
        let vector = match (column, vectors.as_slice()) {
            (Some(name), _) => match place(name).filter(|i| vectors.contains(i)) {
                Some(found) => found,
                None => {
                    return plan_err!(
                        "a column '{name}' of lists of numbers is required in {written}, got {}",
                        known()
                    );
                }
            },
            (None, [only]) => *only,
            (None, _) => {
                return plan_err!(
                    "one column of lists of numbers, or the option column, is required in {written}, got {}",
                    known()
                );
            }
        };
        let integer = |name| place(name).filter(|i| schema.field(*i).data_type().is_integer());
        let readable = |i: &usize| {
            let kind = schema.field(*i).data_type();
            kind.is_string() || kind.is_integer()
        };
        let text = TEXTS.iter().find_map(|name| place(name).filter(readable));
        Ok(Self {
            rows,
            written,
            vector,
            doc_id: integer("doc_id"),
            pos: integer("pos"),
            text,
        })
    }

    /// The rows' vectors one after the other, checked to be of one width and finite.
    fn gather(
        &self,
        column: &ArrayRef,
        first: usize,
        width: &mut Option<usize>,
    ) -> Result<Vec<f32>> {
        let written = &self.written;
        let vectors = VectorColumn::<Float32Type>::try_new("rows", "vector", column)?;
        let mut values = vec![];
        for i in 0..vectors.len() {
            let row = first + i;
            let Some(vector) = vectors.row(i) else {
                return exec_err!(
                    "a vector without NULLs is required in every row of {written}, got NULL in row {row}"
                );
            };
            let required = *width.get_or_insert(vector.len());
            if vector.len() != required || required == 0 {
                return exec_err!(
                    "vectors of one width from 1 are required in {written}, got {} after {required} in \
                     row {row}",
                    vector.len()
                );
            }
            if let Some(bad) = vector.iter().find(|value| !value.is_finite()) {
                return exec_err!(
                    "finite vectors are required in {written}, got {bad} in row {row}"
                );
            }
            values.extend_from_slice(vector);
        }
        Ok(values)
    }
}

fn integers(batch: &RecordBatch, column: Option<usize>) -> Result<Option<Vec<Option<i64>>>> {
    let Some(column) = column else {
        return Ok(None);
    };
    let values = cast(batch.column(column), &DataType::Int64)?;
    Ok(Some(values.as_primitive::<Int64Type>().iter().collect()))
}

fn texts(batch: &RecordBatch, column: Option<usize>) -> Result<Option<Vec<Option<String>>>> {
    let Some(column) = column else {
        return Ok(None);
    };
    let values = cast(batch.column(column), &DataType::Utf8)?;
    let texts = values.as_string::<i32>().iter();
    Ok(Some(texts.map(|text| text.map(str::to_string)).collect()))
}

impl VectorSource for RowVectors<'_> {
    fn read(&mut self, f: &mut dyn FnMut(&VectorBatch<'_>) -> Result<()>) -> Result<()> {
        let (mut first, mut width) = (0, None);
        for batch in self.rows.read()? {
            let batch = batch?;
            let values = self.gather(batch.column(self.vector), first, &mut width)?;
            first += batch.num_rows();
            if values.is_empty() {
                continue;
            }
            f(&VectorBatch {
                values: Cow::Owned(values),
                d: width.unwrap_or(0),
                doc_ids: integers(&batch, self.doc_id)?,
                pos: integers(&batch, self.pos)?,
                texts: texts(&batch, self.text)?,
            })?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        self.written.clone()
    }
}
