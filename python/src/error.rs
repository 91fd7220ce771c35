//! The engine's errors as `polysema.Error`, with its message alone.

use std::fmt;

use datafusion::arrow::error::ArrowError;
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

/// An error's message, for a reader of a stream.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// An error of the engine in a stream, whose reader may be another library.
pub fn streamed(error: DataFusionError) -> ArrowError {
    match error {
        DataFusionError::ArrowError(error, _) => *error,
        error => ArrowError::ExternalError(Box::new(Said(describe(&error)))),
    }
}

/// The exception for an error of the engine; one that was Python's comes back as it was.
pub fn raised(error: DataFusionError) -> PyErr {
    if let DataFusionError::ArrowError(inner, _) = &error
        && let ArrowError::ExternalError(inner) = inner.as_ref()
        && let Some(said) = inner.downcast_ref::<Said>()
    {
        return Error::new_err(said.to_string());
    }
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<PyErr>() {
            Some(python) => pyo3::Python::attach(|py| python.clone_ref(py)),
            None => Error::new_err(describe(&error)),
        },
        _ => Error::new_err(describe(&error)),
    }
}
