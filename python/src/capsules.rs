//! Arrow through Python's capsules.

use std::ffi::CStr;
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch, RecordBatchReader, StructArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use datafusion::arrow::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::error::raised;

const STREAM: &CStr = c"arrow_array_stream";
const ARRAY: &CStr = c"arrow_array";
const SCHEMA: &CStr = c"arrow_schema";

/// The capsule of an Arrow C stream.
pub fn stream(
    py: Python<'_>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), STREAM)
}

/// All rows of an object that has `__arrow_c_stream__` or `__arrow_c_array__`.
pub fn read(table: &Bound<'_, PyAny>) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
    if table.hasattr("__arrow_c_stream__")? {
        let capsule = table.call_method0("__arrow_c_stream__")?;
        let capsule = capsule.cast::<PyCapsule>()?;
        let pointer = capsule.pointer_checked(Some(STREAM))?.cast();
        // SAFETY: the name says what it points to, the capsule lives, and the struct is moved out of it, once.
        let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
        let reader = ArrowArrayStreamReader::try_new(stream).map_err(|_| not_a_table(table))?;
        let schema = reader.schema();
        // What fills it may need Python, also in threads of its own.
        let batches = table.py().detach(|| reader.collect::<Result<Vec<_>, _>>());
        return Ok((schema, batches.map_err(|error| raised(error.into()))?));
    }
    if table.hasattr("__arrow_c_array__")? {
        let pair = table.call_method0("__arrow_c_array__")?;
        let pair = pair.cast::<PyTuple>()?;
        let (schema, array) = (pair.get_item(0)?, pair.get_item(1)?);
        let schema = schema.cast::<PyCapsule>()?.pointer_checked(Some(SCHEMA))?;
        let array = array.cast::<PyCapsule>()?.pointer_checked(Some(ARRAY))?;
        // SAFETY: the names say what they point to, the capsules live, and the array is moved out of its own, once.
        let (schema, array) = unsafe {
            (
                &*schema.cast::<FFI_ArrowSchema>().as_ptr(),
                FFI_ArrowArray::from_raw(array.cast().as_ptr()),
            )
        };
        let data_type = DataType::try_from(schema).map_err(|error| raised(error.into()))?;
        let DataType::Struct(_) = data_type else {
            return Err(not_a_table(table));
        };
        // SAFETY: the array is of the type that came with it.
        let data = unsafe { from_ffi_and_data_type(array, data_type) };
        let rows = StructArray::from(data.map_err(|error| raised(error.into()))?);
        if rows.null_count() > 0 {
            return Err(PyTypeError::new_err(format!(
                "rows without NULL are required, got {} of them NULL",
                rows.null_count()
            )));
        }
        let batch = RecordBatch::from(rows);
        return Ok((batch.schema(), vec![batch]));
    }
    Err(PyTypeError::new_err(format!(
        "an object with __arrow_c_stream__ or __arrow_c_array__ is required, got {}",
        table.get_type().name()?
    )))
}

/// One column alone has no name.
fn not_a_table(table: &Bound<'_, PyAny>) -> PyErr {
    let kind = table.get_type();
    let kind = kind.name();
    let kind = kind.map_or_else(|_| "an object".to_string(), |name| name.to_string());
    PyTypeError::new_err(format!(
        "a table is required, got one column, a {kind} (a Series has to_frame, an array goes into a dict with its name)"
    ))
}

/// A table of named arrays.
pub fn table(columns: Vec<(String, Arc<dyn Array>)>) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
    let batch = RecordBatch::try_from_iter(columns).map_err(|error| raised(error.into()))?;
    Ok((batch.schema(), vec![batch]))
}
