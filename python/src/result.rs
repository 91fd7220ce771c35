//! The rows of a statement. Those of a question are computed whenever they are asked for, batch by batch; what a statement
//! that changes something gave is kept.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::common::ParamValues;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use polysema::session::Session;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList, PyTuple};

use crate::capsules;
use crate::error::{raised, streamed};
use crate::runtime::{attached, wait};
use crate::values::cell;

/// The rows of one statement.
#[pyclass(frozen, module = "polysema._lib")]
pub struct Result {
    pub(crate) schema: SchemaRef,
    pub(crate) rows: Rows,
}

pub(crate) enum Rows {
    Kept(Vec<RecordBatch>),
    Asked(Box<Asked>),
}

pub(crate) struct Asked {
    pub(crate) session: Arc<Session>,
    pub(crate) plan: LogicalPlan,
    pub(crate) parameters: ParamValues,
    /// The stream that was made to see what the statement does; the first reader takes it.
    first: Mutex<Option<SendableRecordBatchStream>>,
}

impl Result {
    pub(crate) fn kept(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self {
            schema,
            rows: Rows::Kept(batches),
        }
    }

    pub(crate) fn asked(
        session: Arc<Session>,
        plan: LogicalPlan,
        parameters: ParamValues,
        first: SendableRecordBatchStream,
    ) -> Self {
        Self {
            schema: first.schema(),
            rows: Rows::Asked(Box::new(Asked {
                session,
                plan,
                parameters,
                first: Mutex::new(Some(first)),
            })),
        }
    }

    fn batches(&self, py: Python<'_>) -> PyResult<Box<dyn RecordBatchReader + Send>> {
        match &self.rows {
            Rows::Kept(batches) => {
                let batches = batches.clone().into_iter().map(Ok);
                let schema = Arc::clone(&self.schema);
                Ok(Box::new(RecordBatchIterator::new(batches, schema)))
            }
            Rows::Asked(asked) => {
                let mut first = asked.first.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = first.take();
                drop(first);
                let stream = match taken {
                    Some(stream) => stream,
                    None => {
                        let plan = asked.plan.clone();
                        let answer = asked.session.answer(plan, asked.parameters.clone());
                        wait(py, answer)?.map_err(raised)?.rows
                    }
                };
                let schema = Arc::clone(&self.schema);
                let stream = Some(stream);
                Ok(Box::new(Streamed { schema, stream }))
            }
        }
    }

    /// At most so many rows, and whether there are more.
    fn head(&self, py: Python<'_>, most: usize) -> PyResult<(Vec<RecordBatch>, bool)> {
        let (mut head, mut n) = (vec![], 0);
        for batch in self.batches(py)? {
            let batch = batch.map_err(|error| raised(error.into()))?;
            let taken = batch.num_rows().min(most - n);
            if taken > 0 {
                head.push(batch.slice(0, taken));
            }
            n += taken;
            if taken < batch.num_rows() {
                return Ok((head, true));
            }
        }
        Ok((head, false))
    }
}

#[pymethods]
impl Result {
    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        let fields = self.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    /// Arrow types of the columns.
    #[getter]
    fn types(&self) -> Vec<String> {
        let fields = self.schema.fields().iter();
        fields.map(|field| field.data_type().to_string()).collect()
    }

    /// The Arrow C stream of the rows. A type that is requested is not converted to, as the interface allows.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        capsules::stream(py, self.batches(py)?)
    }

    /// The rows as a table of a session of datafusion-python.
    #[cfg(feature = "ffi")]
    fn __datafusion_table_provider__<'py>(
        &self,
        session: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        crate::foreign::table(self, session)
    }

    /// At most `most` rows, each a tuple, and whether there are more.
    fn rows<'py>(&self, py: Python<'py>, most: usize) -> PyResult<(Bound<'py, PyList>, bool)> {
        let (batches, more) = self.head(py, most)?;
        let rows = PyList::empty(py);
        for batch in batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| cell(py, column, row));
                let cells = cells.collect::<PyResult<Vec<_>>>()?;
                rows.append(PyTuple::new(py, cells)?)?;
            }
        }
        Ok((rows, more))
    }
}

/// A stream as who pulls it reads it, from whatever thread.
struct Streamed {
    schema: SchemaRef,
    /// None once it has ended.
    stream: Option<SendableRecordBatchStream>,
}

impl Iterator for Streamed {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut stream = self.stream.take()?;
        // Not in this thread, which looks for Ctrl-C also where a batch is computed in one go.
        let next = async move {
            let task = SpawnedTask::spawn(async move { (stream.next().await, stream) });
            task.await
        };
        match attached(|py| wait(py, next)) {
            Ok(Ok((Some(Ok(batch)), stream))) => {
                self.stream = Some(stream);
                Some(Ok(batch))
            }
            Ok(Ok((Some(Err(error)), _))) => Some(Err(streamed(error))),
            Ok(Ok((None, _))) => None,
            Ok(Err(panic)) => Some(Err(streamed(DataFusionError::ExecutionJoin(Box::new(
                panic,
            ))))),
            Err(python) => Some(Err(ArrowError::ExternalError(Box::new(
                DataFusionError::External(Box::new(python)),
            )))),
        }
    }
}

impl RecordBatchReader for Streamed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
