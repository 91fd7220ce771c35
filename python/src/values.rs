//! Single values between Python and Arrow.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PySequence, PyString};

use crate::error::raised;

/// A row of a column; NULL is None, a list a list, a struct a dict.
pub fn cell<'py>(py: Python<'py>, column: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>> {
    if column.is_null(row) {
        return Ok(py.None().into_bound(py));
    }
    macro_rules! number {
        ($type:ty) => {
            column
                .as_primitive::<$type>()
                .value(row)
                .into_bound_py_any(py)
        };
    }
    match column.data_type() {
        DataType::Null => Ok(py.None().into_bound(py)),
        DataType::Boolean => column.as_boolean().value(row).into_bound_py_any(py),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => {
            f32::from(column.as_primitive::<Float16Type>().value(row)).into_bound_py_any(py)
        }
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::Utf8 => column.as_string::<i32>().value(row).into_bound_py_any(py),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).into_bound_py_any(py),
        DataType::Utf8View => column.as_string_view().value(row).into_bound_py_any(py),
        DataType::Binary => Ok(PyBytes::new(py, column.as_binary::<i32>().value(row)).into_any()),
        DataType::List(_) => list(py, &column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(py, &column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => list(py, &column.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            let (fields, dict) = (column.as_struct(), PyDict::new(py));
            for (name, values) in fields.column_names().into_iter().zip(fields.columns()) {
                dict.set_item(name, cell(py, values, row)?)?;
            }
            Ok(dict.into_any())
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            let datetime = py.import("datetime")?;
            let epoch = datetime.getattr("date")?.call1((1970, 1, 1))?;
            epoch.add(datetime.getattr("timedelta")?.call1((days,))?)
        }
        DataType::Timestamp(unit, zone) => {
            let micros = match unit {
                TimeUnit::Second => {
                    column.as_primitive::<TimestampSecondType>().value(row) * 1_000_000
                }
                TimeUnit::Millisecond => {
                    column.as_primitive::<TimestampMillisecondType>().value(row) * 1000
                }
                TimeUnit::Microsecond => {
                    column.as_primitive::<TimestampMicrosecondType>().value(row)
                }
                TimeUnit::Nanosecond => column
                    .as_primitive::<TimestampNanosecondType>()
                    .value(row)
                    .div_euclid(1000),
            };
            let datetime = py.import("datetime")?;
            let utc = datetime.getattr("timezone")?.getattr("utc")?;
            // Instants have a zone, and are given in UTC; wall clocks have none.
            let zone = zone.as_ref().map(|_| utc);
            let epoch = datetime
                .getattr("datetime")?
                .call1((1970, 1, 1, 0, 0, 0, 0, zone))?;
            epoch.add(datetime.getattr("timedelta")?.call1((0, 0, micros))?)
        }
        _ => array_value_to_string(column, row)
            .map_err(|error| raised(error.into()))?
            .into_bound_py_any(py),
    }
}

fn list<'py>(py: Python<'py>, values: &ArrayRef) -> PyResult<Bound<'py, PyAny>> {
    let cells = (0..values.len()).map(|row| cell(py, values, row));
    Ok(PyList::new(py, cells.collect::<PyResult<Vec<_>>>()?)?.into_any())
}

/// The value of a parameter.
pub fn parameter(name: &str, value: &Bound<'_, PyAny>) -> PyResult<ScalarValue> {
    if value.is_none() {
        return Ok(ScalarValue::Null);
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(ScalarValue::Boolean(Some(flag.is_true())));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(ScalarValue::Int64(Some(value.extract()?)));
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(ScalarValue::Float64(Some(value.extract()?)));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(ScalarValue::Utf8(Some(value.extract()?)));
    }
    if value.is_instance_of::<PyBytes>() {
        return Ok(ScalarValue::Binary(Some(value.extract()?)));
    }
    // Numbers of NumPy and torch.
    if let Ok(item) = value.getattr("item").and_then(|item| item.call0())
        && !item.hasattr("item")?
    {
        return parameter(name, &item);
    }
    if let Ok(items) = value.cast::<PySequence>() {
        let items = items.try_iter()?;
        let values = items
            .map(|item| parameter(name, &item?))
            .collect::<PyResult<Vec<_>>>()?;
        let data_type = match values.first() {
            Some(first) => first.data_type(),
            None => DataType::Float64,
        };
        if let Some(other) = values.iter().find(|value| value.data_type() != data_type) {
            return Err(PyTypeError::new_err(format!(
                "{name}: a list of one type is required, got {data_type} and {}",
                other.data_type()
            )));
        }
        return Ok(ScalarValue::List(ScalarValue::new_list(
            &values, &data_type, true,
        )));
    }
    Err(PyTypeError::new_err(format!(
        "{name}: None, a bool, int, float, str, bytes or a list of them is required, got {}",
        value.get_type().name()?
    )))
}
