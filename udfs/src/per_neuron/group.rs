//! One neuron with its examples, as a function sees them.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Float32Type, Int32Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err, internal_datafusion_err};

use super::columns::WEIGHTED_PRE_MLP;
use crate::arrow::context::contexts;
use crate::arrow::vectors::VectorColumn;

/// One neuron with its examples, ordered by example id.
#[derive(Debug)]
pub struct Group {
    /// The function's name, for messages.
    pub function: &'static str,
    /// Layer of the neuron.
    pub layer: i32,
    /// Index of the neuron in its layer.
    pub neuron: i32,
    /// The example rows without their vectors; no rows when the neuron has none.
    pub examples: RecordBatch,
    /// The column of their vectors; empty where none was asked for.
    pub(crate) vector_column: &'static str,
    /// The vectors where they were asked for, in as many pieces as they came.
    pub(crate) vectors: Vec<ArrayRef>,
    /// The neuron's input weights, where they were asked for. `[d]`
    pub weights: Option<Vec<f32>>,
}

impl Group {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.examples.num_rows()
    }

    /// Whether the neuron has no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A column of the examples that `InputColumns` asked for.
    pub fn column(&self, name: &str) -> Result<&ArrayRef> {
        self.examples.column_by_name(name).ok_or_else(|| {
            internal_datafusion_err!("{}: column {name} was not asked for", self.function)
        })
    }

    /// These examples, or all, as lines of text; from the columns that [`OutputColumns::copied`] adds.
    ///
    /// [`OutputColumns::copied`]: super::columns::OutputColumns::copied
    pub fn contexts(&self, rows: Option<&UInt32Array>) -> Result<ArrayRef> {
        let column = |name| -> Result<ArrayRef> {
            let column = self.column(name)?;
            match rows {
                Some(rows) => Ok(take(column, rows, None)?),
                None => Ok(Arc::clone(column)),
            }
        };
        let [tokens, pos, start] = ["window_tokens", "pos", "window_start"].map(column);
        Ok(Arc::new(contexts(&tokens?, &pos?, &start?)?))
    }

    /// Example ids.
    pub fn ids(&self) -> Result<&[i32]> {
        self.integers("example")
    }

    /// Refuses examples that do not rise by number: their order, and with it the answer, would be left to chance.
    pub(super) fn require_ids(&self) -> Result<()> {
        let (function, place) = (self.function, self.place());
        match self.ids()?.windows(2).find(|pair| pair[0] >= pair[1]) {
            None => Ok(()),
            Some(&[a, b]) if a == b => exec_err!(
                "{function}: table 'examples' must have one row an example, got two for {place}, example {a}"
            ),
            Some(pair) => exec_err!(
                "{function}: rows of table 'examples' must come in the order of example, got {} after {} in {place}",
                pair[1],
                pair[0]
            ),
        }
    }

    /// A whole-number column, NULL refused.
    pub fn integers(&self, name: &str) -> Result<&[i32]> {
        let column = self.column(name)?.as_primitive::<Int32Type>();
        if column.null_count() > 0 {
            return exec_err!(
                "{}: {name} must be a number, got NULL in {}",
                self.function,
                self.place()
            );
        }
        Ok(column.values())
    }

    /// A number column.
    pub fn numbers(&self, name: &str) -> Result<Vec<Option<f32>>> {
        Ok(self
            .column(name)?
            .as_primitive::<Float32Type>()
            .iter()
            .collect())
    }

    /// The vectors of the examples, checked to be of one width, that of the weights.
    pub fn vectors(&self) -> Result<GroupVectors> {
        let mut width = self.weights.as_ref().map(Vec::len);
        let name = self.vector_column;
        let mut pieces = Vec::with_capacity(self.vectors.len());
        let mut first = 0;
        for piece in &self.vectors {
            let column = VectorColumn::<Float32Type>::try_new(self.function, name, piece)?;
            for i in 0..column.len() {
                let Some(row) = column.row(i) else {
                    return exec_err!(
                        "{}: {name} must be a vector without NULLs, got NULL in {}{}",
                        self.function,
                        self.place_of(first + i),
                        match name {
                            WEIGHTED_PRE_MLP => " (ingest fills it with window_vectors: true)",
                            _ => "",
                        }
                    );
                };
                let required = *width.get_or_insert(row.len());
                if row.len() != required {
                    return exec_err!(
                        "{}: {name} must have width {required}, got {} in {}",
                        self.function,
                        row.len(),
                        self.place_of(first + i)
                    );
                }
            }
            first += column.len();
            pieces.push(column);
        }
        Ok(GroupVectors {
            pieces,
            width: width.unwrap_or(0),
        })
    }

    /// Width of the first vector, that of the weights, or zero where neither is read.
    pub(super) fn width(&self) -> Result<usize> {
        if let Some(weights) = &self.weights {
            return Ok(weights.len());
        }
        let Some(piece) = self.vectors.iter().find(|piece| !piece.is_empty()) else {
            return Ok(0);
        };
        let first = piece.slice(0, 1);
        let column =
            VectorColumn::<Float32Type>::try_new(self.function, self.vector_column, &first)?;
        Ok(column.row(0).map_or(0, <[f32]>::len))
    }

    /// `layer 3, neuron 17`, for messages.
    pub fn place(&self) -> String {
        format!("layer {}, neuron {}", self.layer, self.neuron)
    }

    /// `layer 3, neuron 17, example 5`, for messages.
    pub fn place_of(&self, row: usize) -> String {
        match self.ids() {
            Ok(ids) if row < ids.len() => format!("{}, example {}", self.place(), ids[row]),
            _ => self.place(),
        }
    }

    /// The neuron's layer and index repeated for `n` rows, the first two columns of every function.
    pub fn key_columns(&self, n: usize) -> [ArrayRef; 2] {
        [self.layer, self.neuron].map(|key| Arc::new(Int32Array::from_value(key, n)) as ArrayRef)
    }
}

/// The vectors of a group, all of one width.
#[derive(Debug)]
pub struct GroupVectors {
    pieces: Vec<VectorColumn<Float32Type>>,
    width: usize,
}

impl GroupVectors {
    /// Width of every vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One slice an example.
    pub fn rows(&self) -> Vec<&[f32]> {
        self.pieces
            .iter()
            .flat_map(|column| (0..column.len()).map(move |i| (column, i)))
            .map(|(column, i)| column.row(i).expect("checked by Group::vectors"))
            .collect()
    }
}
