//! One neuron with its examples, as a function sees them.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, StringArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, filter, filter_record_batch, take};
use datafusion::arrow::datatypes::{DataType, Float32Type, Int32Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err, internal_datafusion_err};

use super::inputs::{SIGN, WEIGHTED_PRE_MLP};
use crate::arrow::context::{Context, contexts};
use crate::arrow::vectors::VectorColumn;
use polysema_kernels::vector::product;

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
    /// The neuron's weights that were asked for. `[d]` each
    pub weights: Vec<Vec<f32>>,
    /// Whether these are examples of the neuron's greatest or least activations, where the table says it.
    pub sign: Option<&'static str>,
}

/// What the column `sign` says.
const SIGNS: [&str; 2] = ["positive", "negative"];

impl Group {
    /// The neuron once for each sign of its examples, each with those of one: they are lists of their own.
    pub(super) fn by_sign(mut self) -> Result<Vec<Self>> {
        let Some(column) = self.examples.column_by_name(SIGN) else {
            return Ok(vec![self]);
        };
        let signs = cast(column, &DataType::Utf8)?;
        let signs = signs.as_string::<i32>();
        if let Some(row) =
            (0..signs.len()).find(|i| signs.is_null(*i) || !SIGNS.contains(&signs.value(*i)))
        {
            let got = signs.is_valid(row).then(|| signs.value(row));
            return exec_err!(
                "{}: sign of table 'examples' must be positive or negative, got {} in {}",
                self.function,
                got.unwrap_or("NULL"),
                self.place_of(row)
            );
        }
        let there = |sign: &&&str| signs.iter().flatten().any(|found| found == **sign);
        match *SIGNS.iter().filter(there).collect::<Vec<_>>() {
            [] => Ok(vec![self]),
            [sign] => {
                self.sign = Some(sign);
                Ok(vec![self])
            }
            ref both => both.iter().map(|sign| self.of_sign(signs, sign)).collect(),
        }
    }

    fn of_sign(&self, signs: &StringArray, sign: &'static str) -> Result<Self> {
        let mask: BooleanArray = signs
            .iter()
            .map(|found| Some(found == Some(sign)))
            .collect();
        let mut first = 0;
        let vectors = self.vectors.iter().map(|piece| {
            let of_piece = mask.slice(first, piece.len());
            first += piece.len();
            Ok(filter(piece, &of_piece)?)
        });
        Ok(Self {
            examples: filter_record_batch(&self.examples, &mask)?,
            vectors: vectors.collect::<Result<_>>()?,
            weights: self.weights.clone(),
            sign: Some(sign),
            ..*self
        })
    }

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

    /// These examples, or all, as lines of text; from the columns that the column `context` reads.
    pub fn contexts(&self, rows: Option<&UInt32Array>) -> Result<ArrayRef> {
        let contexts = self.texts(rows)?;
        let lines = contexts.iter().map(|text| Some(text.as_ref()?.line()));
        Ok(Arc::new(lines.collect::<StringArray>()))
    }

    /// The same around their key tokens.
    pub fn texts(&self, rows: Option<&UInt32Array>) -> Result<Vec<Option<Context>>> {
        let column = |name| -> Result<ArrayRef> {
            let column = self.column(name)?;
            match rows {
                Some(rows) => Ok(take(column, rows, None)?),
                None => Ok(Arc::clone(column)),
            }
        };
        let [tokens, pos, start] = ["window_tokens", "pos", "window_start"].map(column);
        contexts(&tokens?, &pos?, &start?)
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

    /// The mean activation over each of several sets of rows; NULL where none is known.
    pub fn mean_activations(&self, sets: &[Vec<usize>]) -> Result<ArrayRef> {
        let activations = self.numbers("activation")?;
        let means = sets.iter().map(|rows| {
            let known: Vec<_> = rows.iter().filter_map(|&row| activations[row]).collect();
            let sum: f64 = known.iter().copied().map(f64::from).sum();
            (!known.is_empty()).then(|| sum / known.len() as f64)
        });
        Ok(Arc::new(Float64Array::from_iter(means)))
    }

    /// The vectors of the examples, checked to be of one width, that of the weights.
    pub fn vectors(&self) -> Result<GroupVectors> {
        let mut width = self.weights.first().map(Vec::len);
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
        if let Some(weights) = self.weights.first() {
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

    /// What a received vector is multiplied with so that cosines are those of its embeddings. Of two embeddings one after
    /// the other, `<h u, k u> + <h v, k v> = <h w, k w>` with `w = sqrt(u^2 + v^2)`.
    pub fn scale(&self) -> Option<Cow<'_, [f32]>> {
        match &*self.weights {
            [] => None,
            [one] => Some(Cow::Borrowed(one)),
            [first, others @ ..] => {
                let square = |i: usize| {
                    let others = others.iter().map(|w| f64::from(w[i]).powi(2));
                    f64::from(first[i]).powi(2) + others.sum::<f64>()
                };
                let scale = (0..first.len()).map(|i| square(i).sqrt() as f32);
                Some(Cow::Owned(scale.collect()))
            }
        }
    }

    /// Width of the embeddings of vectors of width `d`.
    pub fn embedding_width(&self, d: usize) -> usize {
        d * self.weights.len().max(1)
    }

    /// The embedding of a received vector `h: [d]`: its products with the weights, one after the other.
    /// `[embedding_width(d)]`
    pub fn embed(&self, h: &[f32], embedding: &mut [f32]) {
        if self.weights.is_empty() {
            return embedding.copy_from_slice(h);
        }
        let parts = embedding.chunks_exact_mut(h.len().max(1));
        (parts.zip(&self.weights)).for_each(|(part, w)| product(h, w, part));
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
