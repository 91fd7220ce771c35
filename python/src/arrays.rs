//! Arrays of NumPy, and what NumPy can see as one, as Arrow columns that share their memory.

use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayData, ArrayRef, BooleanArray, FixedSizeListArray, StringArray, make_array,
};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{DataType, Field};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::raised;

/// An array that Arrow holds on to. No panic leaves it half: it is only ever dropped.
struct Owner(#[expect(dead_code, reason = "it is kept, not read")] AssertUnwindSafe<Py<PyAny>>);

/// `[n]` numbers as a column of them, `[n, d]` numbers as a column of vectors. The memory stays Python's: what is written
/// to the array later is seen by queries.
pub fn column(name: &str, array: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    let interface = array.getattr("__array_interface__")?;
    let interface = interface.cast::<PyDict>()?;
    let get = |key: &str| -> PyResult<Bound<'_, PyAny>> {
        interface
            .get_item(key)?
            .ok_or_else(|| PyValueError::new_err(format!("{name}: an array's {key} is required")))
    };
    let shape: Vec<usize> = get("shape")?.extract()?;
    let kind: String = get("typestr")?.extract()?;
    let data_type = match kind.as_str() {
        "<f4" => DataType::Float32,
        "<f8" => DataType::Float64,
        "<f2" => DataType::Float16,
        "<i4" => DataType::Int32,
        "<i8" => DataType::Int64,
        "<u4" => DataType::UInt32,
        "|b1" => DataType::Boolean,
        text if text.starts_with("<U") || text == "|O" => return texts(name, array),
        other => {
            return Err(PyTypeError::new_err(format!(
                "{name}: numbers of type f2, f4, f8, i4, i8, u4 or bool, or texts, are required, got {other}"
            )));
        }
    };
    if interface
        .get_item("strides")?
        .is_some_and(|strides| !strides.is_none())
    {
        return Err(PyValueError::new_err(format!(
            "{name}: an array in C order is required, got one with strides (numpy.ascontiguousarray copies it)"
        )));
    }
    let (n, d) = match shape.as_slice() {
        [n] => (*n, None),
        [n, d] => (*n, Some(*d)),
        _ => {
            return Err(PyValueError::new_err(format!(
                "{name}: an array of shape (n,) or (n, d) is required, got {shape:?}"
            )));
        }
    };
    let len = n * d.unwrap_or(1);
    let (address, _read_only): (usize, bool) = get("data")?.extract()?;
    let bytes = len * data_type.primitive_width().unwrap_or(1);
    let owner = Arc::new(Owner(AssertUnwindSafe(array.clone().unbind())));
    let buffer = match NonNull::new(address as *mut u8).filter(|_| bytes > 0) {
        // SAFETY: the interface gives the address of that many bytes, which live as long as the array does, whose owner the
        // buffer holds.
        Some(pointer) => unsafe { Buffer::from_custom_allocation(pointer, bytes, owner) },
        None => Buffer::from_vec(Vec::<u8>::new()),
    };
    if data_type == DataType::Boolean {
        return Ok(Arc::new(BooleanArray::from_iter(
            buffer.iter().map(|byte| Some(*byte != 0)),
        )));
    }
    if buffer
        .as_ptr()
        .align_offset(data_type.primitive_width().unwrap_or(1))
        != 0
    {
        return Err(PyValueError::new_err(format!(
            "{name}: an aligned array is required (numpy.ascontiguousarray copies it)"
        )));
    }
    let data = ArrayData::builder(data_type.clone())
        .len(len)
        .add_buffer(buffer)
        .build()
        .map_err(|error| raised(error.into()))?;
    let values = make_array(data);
    let Some(d) = d else { return Ok(values) };
    let width = i32::try_from(d).map_err(|_| {
        PyValueError::new_err(format!("{name}: narrower vectors are required, got {d}"))
    })?;
    let item = Arc::new(Field::new_list_field(data_type, false));
    let vectors = FixedSizeListArray::try_new_with_length(item, width, values, None, n);
    Ok(Arc::new(vectors.map_err(|error| raised(error.into()))?))
}

/// Texts, copied; None is NULL.
fn texts(name: &str, array: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    let values = array.call_method0("tolist")?;
    let values: Vec<Option<String>> = values.extract().map_err(|_| {
        PyTypeError::new_err(format!(
            "{name}: numbers or texts are required, got objects"
        ))
    })?;
    Ok(Arc::new(StringArray::from(values)))
}
