//! CSV as the shell prints it and COPY writes it: RFC 4180 with nested values as JSON text. NULL is nothing and an empty
//! text `""`, as in PostgreSQL and DuckDB.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::json;

/// What parts and marks the cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvDialect {
    /// Between two cells.
    pub delimiter: char,
    /// Around a cell that would not be read back as it is.
    pub quote: char,
    /// What NULL is; a text of these letters is in quotes.
    pub null: String,
}

impl Default for CsvDialect {
    fn default() -> Self {
        Self {
            delimiter: ',',
            quote: '"',
            null: String::new(),
        }
    }
}

impl CsvDialect {
    /// Cells that tabs part.
    pub fn tabs() -> Self {
        Self {
            delimiter: '\t',
            ..Self::default()
        }
    }

    /// The line with the names of the columns.
    pub fn head(&self, schema: &Schema) -> String {
        let fields = schema.fields().iter();
        self.record(fields.map(|field| self.quoted(field.name())))
    }

    /// A line for each row.
    pub fn rows(&self, batch: &RecordBatch) -> Result<String, ArrowError> {
        let schema = batch.schema();
        let fields = schema.fields().iter();
        let columns: Vec<_> = fields
            .zip(batch.columns())
            .map(texts)
            .collect::<Result<_, _>>()?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column[row].as_deref());
            let cells = cells.map(|cell| match cell {
                Some(cell) => self.quoted(cell),
                None => self.null.clone(),
            });
            text += &self.record(cells);
        }
        Ok(text)
    }

    fn record(&self, cells: impl Iterator<Item = String>) -> String {
        let cells: Vec<String> = cells.collect();
        cells.join(&self.delimiter.to_string()) + "\n"
    }

    fn quoted(&self, cell: &str) -> String {
        let quote = self.quote;
        match cell == self.null || cell.contains([self.delimiter, quote, '\n', '\r']) {
            true => {
                let inside = cell.replace(quote, &format!("{quote}{quote}"));
                format!("{quote}{inside}{quote}")
            }
            false => cell.to_string(),
        }
    }
}

/// A column as texts in full precision, `None` for NULL.
pub(super) fn texts(
    (field, column): (&FieldRef, &ArrayRef),
) -> Result<Vec<Option<String>>, ArrowError> {
    if field.data_type().is_nested() {
        return json::texts(field, column);
    }
    let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default())?;
    let nulls = column.logical_nulls();
    (0..column.len())
        .map(
            |row| match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                true => Ok(None),
                false => formatter.value(row).try_to_string().map(Some),
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::StringArray;

    use super::*;

    #[test]
    fn what_would_be_read_otherwise_is_in_quotes() {
        let texts = ["a", "", "NULL", "b;c", "it's", "d,e", "two\nlines"];
        let column = texts.map(Some).into_iter().chain([None]);
        let column: ArrayRef = Arc::new(StringArray::from_iter(column));
        let batch = RecordBatch::try_from_iter([("x;y", column)]).expect("a batch");
        let usual = CsvDialect::default();
        assert_eq!(usual.head(&batch.schema()), "x;y\n");
        let rows = "a\n\"\"\nNULL\nb;c\nit's\n\"d,e\"\n\"two\nlines\"\n\n";
        assert_eq!(usual.rows(&batch).expect("texts"), rows);
        let other = CsvDialect {
            delimiter: ';',
            quote: '\'',
            null: "NULL".to_string(),
        };
        assert_eq!(other.head(&batch.schema()), "'x;y'\n");
        let rows = "a\n\n'NULL'\n'b;c'\n'it''s'\nd,e\n'two\nlines'\nNULL\n";
        assert_eq!(other.rows(&batch).expect("texts"), rows);
    }
}
