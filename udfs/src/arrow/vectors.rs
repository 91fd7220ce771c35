//! Vector columns as slices: any list type, any numeric child, any child name; and back to `List<Float32>`.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, ListArray, PrimitiveArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use datafusion::common::{Result, plan_err};

/// The child field of every vector we produce.
pub fn item_field() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

/// A vector as a place in a shared buffer of values: rows that many examples share are not copied for each.
pub fn shared_vector_type() -> DataType {
    DataType::LargeListView(item_field())
}

/// `List<Float32>`, the type of every vector we produce.
pub fn vector_type() -> DataType {
    DataType::List(item_field())
}

/// Whether a column of this type can be read as vectors; NULL is a vector of unknown width.
pub fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric() || item.data_type().is_null()
        }
        _ => false,
    }
}

/// Whether the vectors of this type hold more than float32 does.
pub fn is_wide(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => !matches!(
            item.data_type(),
            DataType::Float32 | DataType::Float16 | DataType::Null
        ),
        _ => false,
    }
}

/// Checks the argument types of a function of vectors, at planning.
pub fn require_vectors(function: &str, names: &[&str], types: &[DataType]) -> Result<()> {
    for (name, data_type) in names.iter().zip(types) {
        if !is_vector(data_type) {
            return plan_err!("{function}: {name} must be a list of numbers, got {data_type}");
        }
    }
    Ok(())
}

/// A column of vectors read as slices of `T`.
#[derive(Debug)]
pub struct VectorColumn<T: ArrowPrimitiveType> {
    /// The values that the rows have.
    values: PrimitiveArray<T>,
    /// Place of the first of them among all that the list has: a slice of a list keeps those of the other rows.
    first: usize,
    rows: RowBounds,
    nulls: Option<NullBuffer>,
    len: usize,
}

#[derive(Debug)]
enum RowBounds {
    Offsets(ScalarBuffer<i32>),
    LargeOffsets(ScalarBuffer<i64>),
    /// Where each row begins, and how wide it is.
    Views(ScalarBuffer<i64>, ScalarBuffer<i64>),
    Width(usize),
}

impl RowBounds {
    /// The part of `n` values that the rows have.
    fn used(&self, n: usize) -> Range<usize> {
        match self {
            // There is one offset more than there are rows.
            Self::Offsets(offsets) => offsets[0] as usize..offsets[offsets.len() - 1] as usize,
            Self::LargeOffsets(offsets) => offsets[0] as usize..offsets[offsets.len() - 1] as usize,
            Self::Views(offsets, sizes) => {
                let rows = || offsets.iter().zip(sizes).filter(|(_, size)| **size > 0);
                let first = rows().map(|(offset, _)| *offset).min().unwrap_or(0);
                let last = rows().map(|(offset, size)| offset + size).max();
                first as usize..last.unwrap_or(0) as usize
            }
            // A slice of such a list has only its own.
            Self::Width(_) => 0..n,
        }
    }
}

impl<T: ArrowPrimitiveType> VectorColumn<T> {
    /// Reads `array`, converting the child to `T` where it is another number type.
    ///
    /// Errors: `name` is not a list of numbers.
    pub fn try_new(function: &str, name: &str, array: &ArrayRef) -> Result<Self> {
        let len = array.len();
        let (rows, child) = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                (
                    RowBounds::Offsets(list.offsets().inner().clone()),
                    Arc::clone(list.values()),
                )
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                (
                    RowBounds::LargeOffsets(list.offsets().inner().clone()),
                    Arc::clone(list.values()),
                )
            }
            DataType::LargeListView(_) => {
                let list = array.as_list_view::<i64>();
                (
                    RowBounds::Views(list.offsets().clone(), list.sizes().clone()),
                    Arc::clone(list.values()),
                )
            }
            DataType::FixedSizeList(_, width) => (
                RowBounds::Width(*width as usize),
                Arc::clone(array.as_fixed_size_list().values()),
            ),
            DataType::Null => {
                let values = PrimitiveArray::<T>::from_iter_values([]);
                let nulls = Some(NullBuffer::new_null(len));
                return Ok(Self {
                    values,
                    first: 0,
                    rows: RowBounds::Width(0),
                    nulls,
                    len,
                });
            }
            other => {
                return plan_err!("{function}: {name} must be a list of numbers, got {other}");
            }
        };
        let used = rows.used(child.len());
        let child = child.slice(used.start, used.len());
        let child = if child.data_type() == &T::DATA_TYPE {
            child
        } else {
            cast(&child, &T::DATA_TYPE)?
        };
        let values = child.as_primitive::<T>().clone();
        Ok(Self {
            values,
            first: used.start,
            rows,
            nulls: array.logical_nulls(),
            len,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The vector of row `i`; `None` where the row or one of its elements is NULL.
    pub fn row(&self, i: usize) -> Option<&[T::Native]> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(i)) {
            return None;
        }
        let (start, end) = match &self.rows {
            RowBounds::Offsets(offsets) => (offsets[i] as usize, offsets[i + 1] as usize),
            RowBounds::LargeOffsets(offsets) => (offsets[i] as usize, offsets[i + 1] as usize),
            RowBounds::Views(offsets, sizes) => {
                (offsets[i] as usize, (offsets[i] + sizes[i]) as usize)
            }
            RowBounds::Width(width) => (i * width, (i + 1) * width),
        };
        if start == end {
            return Some(&[]);
        }
        let (start, end) = (start - self.first, end - self.first);
        if let Some(nulls) = self.values.nulls()
            && nulls.slice(start, end - start).null_count() > 0
        {
            return None;
        }
        Some(&self.values.values()[start..end])
    }
}

/// Collects vectors into a `List<Float32>` column.
#[derive(Debug, Default)]
pub struct VectorBuilder {
    values: Vec<f32>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl VectorBuilder {
    /// An empty column.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `width` values written by `fill` into a slice of zeros.
    pub fn append_with(&mut self, width: usize, fill: impl FnOnce(&mut [f32])) {
        let start = self.values.len();
        self.values.resize(start + width, 0.0);
        fill(&mut self.values[start..]);
        self.lengths.push(width);
        self.valid.push(true);
    }

    /// Appends a copy of `vector`.
    pub fn append(&mut self, vector: &[f32]) {
        self.append_with(vector.len(), |out| out.copy_from_slice(vector));
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.lengths.push(0);
        self.valid.push(false);
    }

    /// The column.
    pub fn finish(self) -> ListArray {
        let values = PrimitiveArray::<Float32Type>::new(self.values.into(), None);
        let nulls = NullBuffer::from(self.valid);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        ListArray::new(
            item_field(),
            OffsetBuffer::from_lengths(self.lengths),
            Arc::new(values),
            nulls,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{
        FixedSizeListArray, Float16Array, LargeListArray, LargeListViewArray,
    };
    use datafusion::arrow::datatypes::{Float16Type, Float64Type, Int64Type};

    fn rows(array: &ArrayRef) -> Vec<Option<Vec<f32>>> {
        let column =
            VectorColumn::<Float32Type>::try_new("f", "v", array).expect("a vector column");
        (0..column.len())
            .map(|i| column.row(i).map(<[f32]>::to_vec))
            .collect()
    }

    #[test]
    fn every_list_type_and_child_reads_the_same() {
        let data = vec![
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![Some(3), None]),
            Some(vec![Some(-4), Some(5)]),
        ];
        let expected = vec![Some(vec![1.0, 2.0]), None, None, Some(vec![-4.0, 5.0])];
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(data.clone());
        let large = LargeListArray::from_iter_primitive::<Int64Type, _, _>(data.clone());
        let fixed = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(data, 2);
        let view = LargeListViewArray::from(large.clone());
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(list),
            Arc::new(large),
            Arc::new(view),
            Arc::new(fixed),
        ];
        for array in arrays {
            assert_eq!(rows(&array), expected, "{}", array.data_type());
            // A slice has its own rows, and makes nothing of the others.
            let slice = array.slice(2, 2);
            assert_eq!(rows(&slice), expected[2..], "{}", array.data_type());
            let column = VectorColumn::<Float64Type>::try_new("f", "v", &slice);
            let column = column.expect("a vector column");
            assert_eq!(column.row(1), Some([-4.0, 5.0].as_slice()));
            assert!(column.values.len() <= 4, "{}", array.data_type());
            assert_eq!(
                rows(&array.slice(1, 3)),
                expected[1..],
                "sliced {}",
                array.data_type()
            );
        }
    }

    #[test]
    fn half_precision_and_foreign_child_names_are_read() {
        let halves = Float16Array::from_iter_values([1.5, -2.0].map(half_from));
        let field = Arc::new(Field::new("element", DataType::Float16, false));
        let list = ListArray::new(
            field,
            OffsetBuffer::from_lengths([2]),
            Arc::new(halves),
            None,
        );
        assert_eq!(
            rows(&(Arc::new(list) as ArrayRef)),
            vec![Some(vec![1.5, -2.0])]
        );
    }

    fn half_from(x: f32) -> <Float16Type as ArrowPrimitiveType>::Native {
        <Float16Type as ArrowPrimitiveType>::Native::from_f32(x)
    }

    #[test]
    fn text_is_refused_by_name() {
        let text: ArrayRef = Arc::new(datafusion::arrow::array::StringArray::from(vec!["a"]));
        let error = VectorColumn::<Float64Type>::try_new("f", "v", &text).expect_err("text");
        assert!(
            error
                .to_string()
                .contains("f: v must be a list of numbers, got Utf8"),
            "{error}"
        );
    }
}
