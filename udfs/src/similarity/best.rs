//! The k rows most like a query, kept while batches pass by.
//!
//! Ties go by the other columns of the rows, so that what is kept does not depend on the order in which rows come.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Float64Array, UInt32Array};
use datafusion::arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch,
};
use datafusion::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Schema, SchemaRef,
};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Result, exec_err, internal_datafusion_err};
use datafusion::execution::memory_pool::MemoryReservation;

use crate::arrow::memory::refused;
use crate::arrow::vectors::VectorColumn;
use polysema_kernels::similarity::search::Query;

/// Name of the column the operator adds.
pub const SIMILARITY: &str = "similarity";

/// How the search goes.
#[derive(Debug, Clone)]
pub struct Search {
    /// The function's name, for messages.
    pub function: &'static str,
    /// Name of the vector column among the rows' columns.
    pub column: String,
    /// Most rows that are given.
    pub k: usize,
    /// Least similarity that is given.
    pub min_similarity: f64,
    /// Whether rows of the neuron that the query comes from are left out.
    pub others_only: bool,
    /// Whether vectors of another width are left out, rather than refused.
    pub any_width: bool,
}

/// The most similar first.
pub(super) const DESCENDING: SortOptions = SortOptions {
    descending: true,
    nulls_first: false,
};

/// The schema with the column `similarity` after the last.
pub fn with_similarity(schema: &Schema) -> Schema {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(SIMILARITY, DataType::Float64, false)));
    Schema::new(fields)
}

/// Whether ties are ordered by a column of this type.
pub fn orders_ties(kind: &DataType) -> bool {
    kind.is_primitive()
        || kind.is_string()
        || kind.is_binary()
        || matches!(kind, DataType::Boolean | DataType::Dictionary(..))
}

/// The most similar rows so far, in order, with their similarity as last column.
pub(super) struct Best {
    query: Arc<Query>,
    search: Search,
    /// Layer and neuron whose rows are left out.
    own: Option<(i32, i32)>,
    /// Place of the vector column.
    vector: usize,
    /// Places of the columns that order ties.
    keys: Vec<usize>,
    pub(super) rows: RecordBatch,
    reservation: MemoryReservation,
}

impl Best {
    pub(super) fn new(
        search: &Search,
        (query, own): (&Arc<Query>, Option<(i32, i32)>),
        schema: SchemaRef,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let vector = schema.index_of(&search.column)?;
        let fields = schema.fields().iter().enumerate();
        let mut keys: Vec<_> = fields
            .filter(|(_, field)| orders_ties(field.data_type()))
            .map(|(i, _)| i)
            .collect();
        keys.push(vector);
        Ok(Self {
            query: Arc::clone(query),
            search: search.clone(),
            own: own.filter(|_| search.others_only),
            vector,
            keys,
            rows: RecordBatch::new_empty(Arc::new(with_similarity(&schema))),
            reservation,
        })
    }

    /// Compares a batch and keeps what is among the best.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let similarities = self.similarities(batch)?;
        let worst = self.worst().max(self.search.min_similarity);
        let mut found: Vec<(f64, u32)> = (similarities.iter().zip(0..))
            .filter_map(|(similarity, row)| Some(((*similarity)?, row)))
            .filter(|(similarity, _)| *similarity >= worst)
            .collect();
        if found.len() > self.search.k {
            // Rows as similar as the k-th stay, for their other columns decide.
            let by = |a: &(f64, u32), b: &(f64, u32)| b.0.total_cmp(&a.0);
            let (_, (least, _), _) = found.select_nth_unstable_by(self.search.k - 1, by);
            let least = *least;
            found.retain(|(similarity, _)| *similarity >= least);
        }
        if found.is_empty() {
            return Ok(());
        }
        self.reserve(batch, found.len())?;
        let rows: UInt32Array = found.iter().map(|(_, row)| *row).collect();
        let mut columns = take_record_batch(batch, &rows)?.columns().to_vec();
        let values = Float64Array::from_iter_values(found.iter().map(|(value, _)| *value));
        columns.push(Arc::new(values));
        self.merge(RecordBatch::try_new(self.rows.schema(), columns)?)
    }

    /// Takes in rows that have their similarity.
    pub(super) fn merge(&mut self, found: RecordBatch) -> Result<()> {
        let all = concat_batches(&self.rows.schema(), [&self.rows, &found])?;
        let similarity = all.num_columns() - 1;
        let mut columns = vec![SortColumn {
            values: Arc::clone(all.column(similarity)),
            options: Some(DESCENDING),
        }];
        columns.extend(self.keys.iter().map(|&key| SortColumn {
            values: Arc::clone(all.column(key)),
            options: None,
        }));
        let order = lexsort_to_indices(&columns, Some(self.search.k))?;
        self.rows = take_record_batch(&all, &order)?;
        Ok(())
    }

    /// The similarity that a row must have to be among the best.
    fn worst(&self) -> f64 {
        match self.rows.num_rows() {
            n if n < self.search.k => f64::NEG_INFINITY,
            n => {
                let similarities = self.rows.column(self.rows.num_columns() - 1);
                similarities.as_primitive::<Float64Type>().value(n - 1)
            }
        }
    }

    fn similarities(&self, batch: &RecordBatch) -> Result<Vec<Option<f64>>> {
        let Search {
            function, column, ..
        } = &self.search;
        let vectors =
            VectorColumn::<Float32Type>::try_new(function, column, batch.column(self.vector))?;
        let left_out = self.left_out(batch)?;
        (0..vectors.len())
            .map(|row| {
                let Some(vector) = vectors.row(row).filter(|_| !left_out(row)) else {
                    return Ok(None);
                };
                if vector.len() != self.query.width() && self.search.any_width {
                    return Ok(None);
                }
                if vector.len() != self.query.width() {
                    return exec_err!(
                        "{function}: column '{column}' must have the width of the vector, {}, got {} in {}",
                        self.query.width(),
                        vector.len(),
                        self.place(batch, row)
                    );
                }
                let similarity = self.query.similarity(vector);
                if similarity.is_some_and(f64::is_nan) {
                    return exec_err!(
                        "{function}: column '{column}' must be finite, got NaN or infinity in {}",
                        self.place(batch, row)
                    );
                }
                Ok(similarity)
            })
            .collect()
    }

    /// Whether a row belongs to the neuron that is left out.
    fn left_out(&self, batch: &RecordBatch) -> Result<impl Fn(usize) -> bool + use<>> {
        let keys = match self.own {
            None => None,
            Some(own) => {
                let column = |name: &str| match batch.column_by_name(name) {
                    Some(column) => Ok(column.as_primitive::<Int32Type>().clone()),
                    None => Err(internal_datafusion_err!("NearestExec: no column {name}")),
                };
                Some((own, column("layer")?, column("neuron")?))
            }
        };
        Ok(move |row: usize| {
            keys.as_ref().is_some_and(|(own, layers, neurons)| {
                (layers.value(row), neurons.value(row)) == *own
            })
        })
    }

    /// The row by its first columns, for messages.
    fn place(&self, batch: &RecordBatch, row: usize) -> String {
        const MOST: usize = 4;
        let schema = batch.schema();
        let named = |key: &&usize| {
            let kind = schema.field(**key).data_type();
            kind.is_integer() || kind.is_string()
        };
        let shown: Vec<_> = (self.keys.iter().filter(named))
            .take(MOST)
            .filter_map(|&key| {
                let value = array_value_to_string(batch.column(key), row).ok()?;
                Some(format!("{} {value}", schema.field(key).name()))
            })
            .collect();
        match shown.is_empty() {
            true => "a row".to_string(),
            false => shown.join(", "),
        }
    }

    /// Reserves what taking `n` rows of a batch over will hold: they are copied twice beside the rows held so far.
    fn reserve(&mut self, batch: &RecordBatch, n: usize) -> Result<()> {
        let bytes = |batch: &RecordBatch| -> Result<usize> {
            let sizes = batch.columns().iter();
            let sizes = sizes.map(|column| Ok(column.to_data().get_slice_memory_size()?));
            sizes.sum()
        };
        let taken = (bytes(batch)? / batch.num_rows().max(1) + size_of::<f64>()) * n;
        let needed = 2 * (taken + bytes(&self.rows)?) + batch.num_rows() * 2 * size_of::<f64>();
        self.reservation.try_resize(needed).map_err(|error| {
            let (function, k) = (self.search.function, self.search.k);
            let needs = format!("{function}: {needed} bytes are needed for the {k} nearest rows");
            refused(needs, error)
        })
    }
}
