//! `polysema._lib`: sessions of the engine for the Python package around it, which is where arguments are checked and
//! documented. Arrow goes in and out through the PyCapsule interface, so that no version of pyarrow is asked for.

mod arrays;
mod capsules;
mod connection;
mod error;
#[cfg(feature = "ffi")]
mod foreign;
mod result;
mod runtime;
mod values;

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command line program and returns its exit code; `words` begins with the program's name.
#[pyfunction]
fn run_command(py: Python<'_>, words: Vec<OsString>) -> u8 {
    py.detach(|| polysema::shell::run_command(words))
}

/// Threads that poll queries, and threads that multiply matrices; both are started if they were not.
#[pyfunction]
fn number_of_threads() -> PyResult<(usize, usize)> {
    runtime::number_of_threads()
}

#[pymodule]
mod _lib {
    #[pymodule_export]
    use super::connection::Connection;
    #[pymodule_export]
    use super::error::Error;
    #[cfg(feature = "ffi")]
    #[pymodule_export]
    use super::foreign::{
        ForeignFunction, foreign_functions, foreign_functions_of, foreign_settings,
    };
    #[pymodule_export]
    use super::number_of_threads;
    #[pymodule_export]
    use super::result::Result;
    #[pymodule_export]
    use super::run_command;
}
