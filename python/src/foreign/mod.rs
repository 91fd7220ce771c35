//! Functions and tables for a session of another library in this process, which is datafusion-python's: capsules that
//! datafusion-ffi defines, asked for by the methods that datafusion-python looks for.
//!
//! What is planned here is planned whole, by a session of this library, and crosses as one operator: orders and
//! partitions that an operator requires of its inputs are unknown on the other side, which would change them.

mod crossing;
mod drive;
mod function;
mod guest;
mod host;
mod leaf;
mod question;

use std::sync::Arc;

use datafusion::catalog::{MemTable, TableFunctionImpl, TableProvider};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion_ffi::config::extension_options::FFI_ExtensionOptions;
use datafusion_ffi::udaf::FFI_AggregateUDF;
use datafusion_ffi::udf::FFI_ScalarUDF;
use datafusion_ffi::udtf::FFI_TableFunction;
use polysema_udfs::calls::Implementation;
use polysema_udfs::calls::settings::PolysemaOptions;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::connection::Connection;
use crate::error::{Error, raised};
use crate::result::{Result, Rows};
use crossing::Crossing;
use guest::{Guest, GuestFunction};
use question::{Question, SessionFunction};

/// A function that a session of datafusion-python takes.
#[pyclass(frozen, module = "polysema._lib")]
pub struct ForeignFunction {
    /// Its name in SQL.
    #[pyo3(get)]
    name: String,
    kind: Kind,
}

enum Kind {
    Scalar(Arc<ScalarUDF>),
    Aggregate(Arc<AggregateUDF>),
    Table(Box<dyn Fn(Crossing) -> Arc<dyn TableFunctionImpl> + Send + Sync>),
}

impl ForeignFunction {
    fn refused(&self) -> PyErr {
        let kind = self.kind();
        Error::new_err(format!(
            "{}: another kind is required, got a {kind} function",
            self.name
        ))
    }
}

#[pymethods]
impl ForeignFunction {
    /// `scalar`, `aggregate` or `table`.
    #[getter]
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Scalar(_) => "scalar",
            Kind::Aggregate(_) => "aggregate",
            Kind::Table(_) => "table",
        }
    }

    /// The function as datafusion-ffi has a scalar one.
    fn __datafusion_scalar_udf__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let Kind::Scalar(function) = &self.kind else {
            return Err(self.refused());
        };
        let function = FFI_ScalarUDF::from(Arc::clone(function));
        PyCapsule::new_with_value(py, function, c"datafusion_scalar_udf")
    }

    /// The function as datafusion-ffi has an aggregate.
    fn __datafusion_aggregate_udf__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let Kind::Aggregate(function) = &self.kind else {
            return Err(self.refused());
        };
        let function = FFI_AggregateUDF::from(Arc::clone(function));
        PyCapsule::new_with_value(py, function, c"datafusion_aggregate_udf")
    }

    /// The function as datafusion-ffi has a table function.
    fn __datafusion_table_function__<'py>(
        &self,
        py: Python<'py>,
        session: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let Kind::Table(function) = &self.kind else {
            return Err(self.refused());
        };
        let crossing = Crossing::to(session)?;
        let (codec, handle) = (crossing.codec().clone(), crossing.handle().clone());
        // The host reads the runtime out of this struct as if it were its own, and compilers agree on how there is one, not on
        // how there is none. It is used for streams of what is found in the session of the call, of which none is read.
        let function =
            FFI_TableFunction::new_with_ffi_codec(function(crossing), Some(handle), codec);
        PyCapsule::new_with_value(py, function, c"datafusion_table_function")
    }
}

/// The functions on vectors and neurons, over the tables of the session that takes them.
#[pyfunction]
pub fn foreign_functions(
    settings: Vec<(String, String)>,
    memory_limit: Option<usize>,
) -> PyResult<Vec<ForeignFunction>> {
    let guest = Arc::new(Guest::new(settings, memory_limit).map_err(raised)?);
    let functions = polysema_udfs::catalog::functions().into_iter();
    let functions = functions.map(|function| {
        let name = function.doc.name;
        let kind = match function.implementation {
            Implementation::Scalar(function) => Kind::Scalar(function),
            Implementation::Aggregate(function) => Kind::Aggregate(function),
            Implementation::Table(_) => {
                let guest = Arc::clone(&guest);
                Kind::Table(Box::new(move |crossing| {
                    Arc::new(GuestFunction::new(Arc::clone(&guest), name, crossing))
                }))
            }
        };
        ForeignFunction {
            name: name.to_string(),
            kind,
        }
    });
    Ok(functions.collect())
}

/// The table functions of a connection, which answers them.
#[pyfunction]
pub fn foreign_functions_of(connection: &Connection) -> PyResult<Vec<ForeignFunction>> {
    let session = connection.session()?;
    let functions = session.functions().into_iter();
    let functions = functions
        .filter(|function| function.kind == "table")
        .map(|function| {
            let (session, name) = (Arc::clone(&session), function.name.clone());
            let table = move |crossing| -> Arc<dyn TableFunctionImpl> {
                Arc::new(SessionFunction::new(
                    Arc::clone(&session),
                    name.clone(),
                    crossing,
                ))
            };
            ForeignFunction {
                name: function.name,
                kind: Kind::Table(Box::new(table)),
            }
        });
    Ok(functions.collect())
}

/// The settings `polysema.*` with their defaults, as an extension of a configuration.
#[pyfunction]
pub fn foreign_settings(py: Python<'_>) -> PyResult<Bound<'_, PyCapsule>> {
    let mut options = FFI_ExtensionOptions::default();
    options
        .add_config(&PolysemaOptions::default())
        .map_err(raised)?;
    PyCapsule::new_with_value(py, options, c"datafusion_extension_options")
}

/// The rows of a statement as a table of a session.
pub fn table<'py>(result: &Result, session: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyCapsule>> {
    let table: Arc<dyn TableProvider> = match &result.rows {
        Rows::Kept(batches) => {
            let table = MemTable::try_new(Arc::clone(&result.schema), vec![batches.clone()]);
            Arc::new(table.map_err(raised)?)
        }
        Rows::Asked(asked) => {
            let (session, plan) = (Arc::clone(&asked.session), asked.plan.clone());
            let question = Question::new(session, plan, asked.parameters.clone());
            Arc::new(question.map_err(raised)?)
        }
    };
    let table = Crossing::to(session)?.table(table);
    PyCapsule::new_with_value(session.py(), table, c"datafusion_table_provider")
}
