//! Columns of `examples` that are stored once elsewhere: tokens of the corpus, vectors of a layer.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float32Builder, Int32Array, LargeListViewArray,
    ListArray, ListBuilder, StringArray, StringBuilder, UInt32Array,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, UInt32Type};
use datafusion::common::cast::{as_fixed_size_list_array, as_string_array};
use datafusion::common::{exec_datafusion_err, exec_err, internal_err};
use datafusion::error::Result;
use polysema_udfs::arrow::vectors::shared_vector_type;

use super::file::TableFile;

/// Where a file's rows lie: global row numbers to (batch, row in batch).
#[derive(Debug)]
struct RowIndex {
    /// First global row of each batch, then the number of rows.
    starts: Vec<u64>,
}

impl RowIndex {
    fn new(file: &TableFile) -> Self {
        let mut starts = vec![0];
        for rows in file.rows() {
            starts.push(starts[starts.len() - 1] + u64::from(*rows));
        }
        Self { starts }
    }

    fn rows(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    fn locate(&self, row: u64, file: &TableFile) -> Result<(usize, usize)> {
        if row >= self.rows() {
            return exec_err!(
                "a row of {} below {} is required, got row {row}",
                file.path().display(),
                self.rows()
            );
        }
        let batch = self.starts.partition_point(|start| *start <= row) - 1;
        Ok((batch, (row - self.starts[batch]) as usize))
    }
}

/// The `token` column of a run; a batch is decoded and its text checked at first use.
#[derive(Debug)]
pub(super) struct TokenColumn {
    file: Arc<TableFile>,
    index: RowIndex,
    batches: Vec<OnceLock<StringArray>>,
}

impl TokenColumn {
    pub fn new(file: Arc<TableFile>) -> Result<Self> {
        Ok(Self {
            index: RowIndex::new(&file),
            batches: file.rows().iter().map(|_| OnceLock::new()).collect(),
            file,
        })
    }

    fn batch(&self, batch: usize) -> Result<&StringArray> {
        if let Some(tokens) = self.batches[batch].get() {
            return Ok(tokens);
        }
        let [column] = self.file.columns(batch, ["token"])?;
        let tokens = as_string_array(&column)?.clone();
        Ok(self.batches[batch].get_or_init(|| tokens))
    }

    /// Has ranges of rows here, of a file that lies elsewhere.
    fn fetch(&self, ranges: impl Iterator<Item = Range<u64>>) -> Result<()> {
        if !self.file.is_elsewhere() {
            return Ok(());
        }
        let mut batches = BTreeSet::new();
        for rows in ranges.filter(|rows| !rows.is_empty()) {
            let (first, _) = self.index.locate(rows.start, &self.file)?;
            let (last, _) = self.index.locate(rows.end - 1, &self.file)?;
            batches.extend(first..=last);
        }
        batches.retain(|batch| self.batches[*batch].get().is_none());
        let column = self.file.schema().index_of("token")?;
        let batches: Vec<_> = batches.into_iter().collect();
        self.file.fetch_batches(&batches, &[column])
    }

    /// Calls `visit` with each token of a range of rows.
    fn visit(&self, rows: Range<u64>, mut visit: impl FnMut(Option<&str>)) -> Result<()> {
        let mut row = rows.start;
        while row < rows.end {
            let (batch, first) = self.index.locate(row, &self.file)?;
            let tokens = self.batch(batch)?;
            let last = tokens.len().min(first + (rows.end - row) as usize);
            for i in first..last {
                visit(tokens.is_valid(i).then(|| tokens.value(i)));
            }
            row += (last - first) as u64;
        }
        Ok(())
    }

    /// The key token of each example.
    pub fn tokens(&self, token_row: &UInt32Array) -> Result<ArrayRef> {
        self.file.require_uncut()?;
        self.fetch(
            token_row
                .values()
                .iter()
                .map(|row| u64::from(*row)..u64::from(*row) + 1),
        )?;
        let mut out = StringBuilder::new();
        for row in token_row.values() {
            let row = u64::from(*row);
            self.visit(row..row + 1, |token| out.append_option(token))?;
        }
        Ok(Arc::new(out.finish()))
    }

    /// The tokens of each example's window, which starts `pos - window_start` rows before the key token's.
    pub fn windows(
        &self,
        token_row: &UInt32Array,
        pos: &Int32Array,
        window_start: &Int32Array,
        window_activations: &ListArray,
    ) -> Result<ArrayRef> {
        self.file.require_uncut()?;
        let windows = (0..token_row.len()).map(|row| {
            let back = i64::from(pos.value(row)) - i64::from(window_start.value(row));
            let start = i64::from(token_row.value(row)) - back;
            let start = u64::try_from(start).map_err(|_| {
                exec_datafusion_err!(
                    "a window within {} is required, got one from row {start}",
                    self.file.path().display()
                )
            })?;
            Ok(start..start + window_activations.value_length(row) as u64)
        });
        let windows = windows.collect::<Result<Vec<_>>>()?;
        self.fetch(windows.iter().cloned())?;
        let mut out = ListBuilder::new(StringBuilder::new());
        for window in windows {
            self.visit(window, |token| out.values().append_option(token))?;
            out.append(true);
        }
        Ok(Arc::new(out.finish()))
    }
}

/// The vectors of one layer.
#[derive(Debug)]
pub(super) struct VectorColumn {
    file: Arc<TableFile>,
    index: RowIndex,
    d_in: usize,
    batches: Vec<OnceLock<DecodedBatch>>,
}

/// A decoded record batch.
#[derive(Debug)]
struct DecodedBatch {
    floats: ScalarBuffer<f32>,
    /// Where they begin in the file, counted in floats from the file's start; none where decoding copied them.
    place: Option<usize>,
}

impl VectorColumn {
    pub fn new(file: Arc<TableFile>) -> Result<Self> {
        let d_in = match file.schema().field(0).data_type() {
            DataType::FixedSizeList(_, d_in) => *d_in as usize,
            kind => return exec_err!("vectors are required, got a column of {kind}"),
        };
        Ok(Self {
            index: RowIndex::new(&file),
            batches: file.rows().iter().map(|_| OnceLock::new()).collect(),
            d_in,
            file,
        })
    }

    /// Floats per vector.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    fn batch(&self, batch: usize) -> Result<&DecodedBatch> {
        if let Some(vectors) = self.batches[batch].get() {
            return Ok(vectors);
        }
        let column = self.file.unverified_column(batch, "h")?;
        let vectors = as_fixed_size_list_array(&column)?;
        let floats = vectors.values().as_primitive::<Float32Type>().values();
        let place = self.file.place_of(floats.inner());
        let place = place.filter(|place| place.start.is_multiple_of(size_of::<f32>()));
        if place.is_none() {
            // They were copied: nobody knows which of them come from where.
            self.file.verify(0..self.file.bytes().len())?;
        }
        let vectors = DecodedBatch {
            floats: floats.clone(),
            place: place.map(|place| place.start / size_of::<f32>()),
        };
        Ok(self.batches[batch].get_or_init(|| vectors))
    }

    /// Compares a vector with its file's checksums; it begins at this place, counted in floats.
    fn verify(&self, place: usize) -> Result<()> {
        let bytes = size_of::<f32>();
        (self.file).verify(place * bytes..(place + self.d_in) * bytes)
    }

    /// Has the vectors of these rows here, of a file that lies elsewhere.
    fn fetch(&self, rows: impl Iterator<Item = u32>) -> Result<()> {
        if !self.file.is_elsewhere() {
            return Ok(());
        }
        let places = rows.map(|row| self.index.locate(u64::from(row), &self.file));
        let places = places.collect::<Result<Vec<_>>>()?;
        let batches: BTreeSet<_> = places.iter().map(|(batch, _)| *batch).collect();
        let batches: Vec<_> = batches.into_iter().collect();
        self.file.fetch_batches(&batches, &[])?;
        let width = self.d_in * size_of::<f32>();
        let mut parts = vec![];
        for (batch, row) in places {
            if let Some(place) = self.batch(batch)?.place {
                let start = place * size_of::<f32>() + row * width;
                parts.push(start..start + width);
            }
        }
        self.file.fetch(&parts)
    }

    /// Where a vector begins in the file, counted in floats from the file's start.
    fn place(&self, row: u32) -> Result<usize> {
        let (batch, row) = self.index.locate(u64::from(row), &self.file)?;
        match self.batch(batch)?.place {
            Some(place) => {
                let place = place + row * self.d_in;
                self.verify(place)?;
                Ok(place)
            }
            None => exec_err!(
                "vectors that can be read in place are required, got others in {}",
                self.file.path().display()
            ),
        }
    }

    /// The vector of each example as a place in the mapped file: nothing is copied. `[rows, d_in]`
    pub fn share(&self, vector: &UInt32Array) -> Result<ArrayRef> {
        self.file.require_uncut()?;
        self.fetch(vector.values().iter().copied())?;
        let bytes = self.file.bytes();
        let floats = ScalarBuffer::<f32>::new(bytes.clone(), 0, bytes.len() / size_of::<f32>());
        let places = vector
            .values()
            .iter()
            .map(|row| Ok(self.place(*row)? as i64))
            .collect::<Result<Vec<_>>>()?;
        let DataType::LargeListView(item) = shared_vector_type() else {
            return internal_err!("a list view is required for shared vectors");
        };
        Ok(Arc::new(LargeListViewArray::try_new(
            item,
            places.into(),
            vec![self.d_in as i64; vector.len()].into(),
            Arc::new(Float32Array::new(floats, None)),
            None,
        )?))
    }

    /// Whether a vector is what was written.
    pub fn is_whole(&self, row: u32) -> bool {
        self.vector(row).is_ok()
    }

    fn vector(&self, row: u32) -> Result<&[f32]> {
        let (batch, row) = self.index.locate(u64::from(row), &self.file)?;
        let batch = self.batch(batch)?;
        if let Some(place) = batch.place {
            self.verify(place + row * self.d_in)?;
        }
        Ok(&batch.floats[row * self.d_in..(row + 1) * self.d_in])
    }

    /// The vector of each example, copied. `[rows, d_in]`
    pub fn gather(&self, vector: &UInt32Array) -> Result<ArrayRef> {
        self.file.require_uncut()?;
        self.fetch(vector.values().iter().copied())?;
        let d = self.d_in;
        let mut out: Vec<f32> = Vec::with_capacity(vector.len() * d);
        for row in vector.values() {
            out.extend_from_slice(self.vector(*row)?);
        }
        Ok(Arc::new(ListArray::try_new(
            Arc::new(Field::new_list_field(DataType::Float32, true)),
            OffsetBuffer::from_repeated_length(d, vector.len()),
            Arc::new(Float32Array::from(out)),
            None,
        )?))
    }

    /// The mean of the vectors in each example's window, weighted by the activations that begin where they do; NULL
    /// where no window was kept. `[rows, d_in]`
    pub fn weighted(
        &self,
        window_vectors: &ListArray,
        window_activations: &ListArray,
    ) -> Result<ArrayRef> {
        self.file.require_uncut()?;
        let rows = window_vectors.values().as_primitive::<UInt32Type>();
        self.fetch(rows.iter().flatten())?;
        let mut out = ListBuilder::new(Float32Builder::new());
        let mut mean = vec![0.0f64; self.d_in];
        for example in 0..window_vectors.len() {
            if window_vectors.is_null(example) {
                out.append_null();
                continue;
            }
            let (rows, activations) = (
                window_vectors.value(example),
                window_activations.value(example),
            );
            let activations = activations.as_primitive::<Float32Type>();
            let weights = (rows.as_primitive::<UInt32Type>().iter()).zip(activations.values());
            mean.fill(0.0);
            let mut total = 0.0;
            for (row, weight) in weights {
                let Some(row) = row else { continue };
                let weight = f64::from(*weight);
                total += weight;
                let sums = mean.iter_mut().zip(self.vector(row)?);
                sums.for_each(|(sum, x)| *sum += weight * f64::from(*x));
            }
            for sum in &mean {
                out.values().append_value((sum / total) as f32);
            }
            out.append(true);
        }
        Ok(Arc::new(out.finish()))
    }
}
