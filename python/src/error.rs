//! The engine's errors as `polysema.Error`, with its message alone.

use datafusion::error::DataFusionError;
use polysema::text::describe;
use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::PyException;

create_exception!(
    polysema,
    Error,
    PyException,
    "What is required, and what came."
);

/// The exception for an error of the engine; one that was Python's comes back as it was.
pub fn raised(error: DataFusionError) -> PyErr {
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<PyErr>() {
            Some(python) => pyo3::Python::attach(|py| python.clone_ref(py)),
            None => Error::new_err(describe(&error)),
        },
        _ => Error::new_err(describe(&error)),
    }
}
