//! The physical side of the per-neuron functions: one operator walks the neurons and hands each group of examples to
//! a function.

mod best;
pub mod clustering;
pub mod coactivation;
mod cursor;
pub mod features;
pub mod nearest;
mod operator;
mod options;
mod table;
mod worker;

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{Float32Type, Int32Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err, internal_datafusion_err};

use crate::bridge::vectors::VectorColumn;
use crate::exec::clustering::Scratch;

pub use best::{SIMILARITY, Search, orders_ties, with_similarity};
pub use operator::PerNeuronExec;
pub use table::{Asked, Bound, LAYER_NEURON, PerNeuron, only, table_function};

/// Which columns of its result a query reads, so that a function makes no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(Vec<bool>);

impl Wanted {
    /// From a projection of `n_columns`; none is all.
    pub fn new(n_columns: usize, projection: Option<&Vec<usize>>) -> Self {
        match projection {
            None => Self(vec![true; n_columns]),
            Some(projection) => Self((0..n_columns).map(|i| projection.contains(&i)).collect()),
        }
    }

    /// Whether column `i` of the function's schema is read.
    pub fn column(&self, i: usize) -> bool {
        self.0[i]
    }
}

/// What a function reads of each neuron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// Columns of `examples` besides layer, neuron, example and the vectors.
    pub examples: Vec<&'static str>,
    /// The column of `examples` that holds their vectors, where they are read.
    pub vectors: Option<&'static str>,
    /// Whether the neuron's weights `w_in` are read.
    pub weights: bool,
}

/// One function of a neuron and its examples, with its options bound.
pub trait NeuronFunction: Debug + Send + Sync + 'static {
    /// What it reads to make the wanted columns.
    fn inputs(&self, wanted: &Wanted) -> Inputs;

    /// Bytes it will hold for `n` examples of width `d`, reserved before it runs.
    fn bytes(&self, n: usize, d: usize) -> usize;

    /// Where these bytes are refused: what would need fewer, or why nothing does.
    fn advice(&self, _n: usize, _d: usize) -> Option<String> {
        None
    }

    /// The rows of one neuron, all columns of the schema; the unwanted may hold NULLs.
    fn rows(&self, group: &Group, wanted: &Wanted, scratch: &mut Scratch) -> Result<Vec<ArrayRef>>;

    /// Whether it gives one row a neuron; else it is taken to give about as many rows as there are examples.
    fn one_row(&self) -> bool {
        false
    }

    /// The options as EXPLAIN shows them.
    fn describe(&self) -> String;
}

/// The column of `examples` with what the neuron received at the key token.
const PRE_MLP: &str = "pre_mlp";
/// The column of `examples` with the mean of what it received up to the key token, weighted by its activations.
const WEIGHTED_PRE_MLP: &str = "weighted_pre_mlp";

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

    /// A column of the examples that [`Inputs`] asked for.
    pub fn column(&self, name: &str) -> Result<&ArrayRef> {
        self.examples.column_by_name(name).ok_or_else(|| {
            internal_datafusion_err!("{}: column {name} was not asked for", self.function)
        })
    }

    /// Example ids.
    pub fn ids(&self) -> Result<&[i32]> {
        self.integers("example")
    }

    /// Refuses examples that share a number: their order, and with it the answer, would be left to chance.
    fn require_ids(&self) -> Result<()> {
        match self.ids()?.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(pair) => exec_err!(
                "{}: table 'examples' must have one row an example, got two for {}, example {}",
                self.function,
                self.place(),
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
    pub fn vectors(&self) -> Result<Vectors> {
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
        Ok(Vectors {
            pieces,
            width: width.unwrap_or(0),
        })
    }

    /// Width of the first vector, that of the weights, or zero where neither is read.
    fn width(&self) -> Result<usize> {
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
        use datafusion::arrow::array::Int32Array;
        [self.layer, self.neuron].map(|key| Arc::new(Int32Array::from_value(key, n)) as ArrayRef)
    }
}

/// The vectors of a group, all of one width.
#[derive(Debug)]
pub struct Vectors {
    pieces: Vec<VectorColumn<Float32Type>>,
    width: usize,
}

impl Vectors {
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
