//! A session over a store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::MemTable;
use datafusion::common::{ParamValues, TableReference};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use futures::StreamExt;
use polysema::policy::{Access, Policy};
use polysema::session::{Engine, EngineOptions, Session};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Error, raised};
use crate::result::Result;
use crate::runtime::{require_threads, wait};
use crate::values::{cell, parameter};
use crate::{arrays, capsules};

/// An open store with the settings, the run and the tables of one session. Threads may share it.
#[pyclass(frozen, module = "polysema._lib")]
pub struct Connection {
    /// None once it is closed.
    session: Mutex<Option<Arc<Session>>>,
}

impl Connection {
    pub(crate) fn session(&self) -> PyResult<Arc<Session>> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session
            .clone()
            .ok_or_else(|| Error::new_err("an open connection is required, got a closed one"))
    }

    fn put(&self, name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> PyResult<()> {
        let session = self.session()?;
        session
            .policy()
            .require("register", Access::CreateTables)
            .map_err(raised)?;
        let table = MemTable::try_new(schema, vec![batches]).map_err(raised)?;
        let name = TableReference::partial("public", name);
        let context = session.context();
        context.deregister_table(name.clone()).map_err(raised)?;
        context
            .register_table(name, Arc::new(table))
            .map_err(raised)?;
        Ok(())
    }
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (store, memory_limit, read_only, threads))]
    fn new(
        py: Python<'_>,
        store: PathBuf,
        memory_limit: Option<usize>,
        read_only: bool,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        if let Some(threads) = threads {
            require_threads(threads)?;
        }
        let engine = Engine::open(&EngineOptions {
            store,
            memory_limit,
            loaded_limit: None,
        });
        // Tables of its own change nothing, and settings are how a question is asked.
        let policy = match read_only {
            false => Policy::everything(),
            true => Policy {
                run_jobs: false,
                write_files: false,
                ..Policy::everything()
            },
        };
        let session = engine.map_err(raised)?.session(policy).map_err(raised)?;
        if let Some(threads) = threads {
            let set = format!("SET datafusion.execution.target_partitions = {threads}");
            wait(py, session.query(&set))?.map_err(raised)?;
        }
        Ok(Self {
            session: Mutex::new(Some(Arc::new(session))),
        })
    }

    /// Plans a statement. A question is computed when its rows are asked for; what changes something runs now, and
    /// `progress` is called with the newest row of a job, a dict, as its rows come.
    #[pyo3(signature = (statement, parameters, progress = None))]
    fn sql(
        &self,
        py: Python<'_>,
        statement: &str,
        parameters: Vec<(Option<String>, Bound<'_, PyAny>)>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Result> {
        let session = self.session()?;
        let parameters = param_values(parameters)?;
        let plan = wait(py, session.plan(statement))?.map_err(raised)?;
        require_values(&plan, &parameters)?;
        let answer = session.answer(plan.clone(), parameters.clone());
        let answer = wait(py, answer)?.map_err(raised)?;
        if !answer.changes {
            return Ok(Result::asked(session, plan, parameters, answer.rows));
        }
        let progress = progress.filter(|_| answer.is_job);
        let schema = answer.rows.schema();
        let batches = read(py, answer.rows, progress)?;
        wait(py, session.select_made_run())?.map_err(raised)?;
        Ok(Result::kept(schema, batches))
    }

    /// Makes the rows of an Arrow object a table of the session.
    fn register(&self, name: &str, table: &Bound<'_, PyAny>) -> PyResult<()> {
        let (schema, batches) = capsules::read(table)?;
        self.put(name, schema, batches)
    }

    /// Makes arrays of NumPy a table of the session, a column each, without a copy.
    fn register_arrays(
        &self,
        name: &str,
        columns: Vec<(String, Bound<'_, PyAny>)>,
    ) -> PyResult<()> {
        let columns = columns.iter().map(|(column, array)| {
            let array = arrays::column(column, array)?;
            Ok((column.clone(), array))
        });
        let (schema, batches) = capsules::table(columns.collect::<PyResult<Vec<_>>>()?)?;
        self.put(name, schema, batches)
    }

    /// Makes texts a table of the session with the column `text`; None is NULL.
    fn register_texts(&self, name: &str, texts: Vec<Option<String>>) -> PyResult<()> {
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        let (schema, batches) = capsules::table(vec![("text".to_string(), texts)])?;
        self.put(name, schema, batches)
    }

    /// Drops a table of the session; false where there is none.
    fn unregister(&self, name: &str) -> PyResult<bool> {
        let name = TableReference::partial("public", name);
        let session = self.session()?;
        let dropped = session.context().deregister_table(name).map_err(raised)?;
        Ok(dropped.is_some())
    }

    /// The run that unqualified names mean.
    #[getter]
    fn run(&self) -> PyResult<Option<String>> {
        self.session()?.selected_run().map_err(raised)
    }

    /// Lets go of the store; results that were not read need it, and keep it open until then.
    fn close(&self) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *session = None;
    }
}

fn param_values(parameters: Vec<(Option<String>, Bound<'_, PyAny>)>) -> PyResult<ParamValues> {
    let (mut named, mut listed) = (vec![], vec![]);
    for (i, (name, value)) in parameters.iter().enumerate() {
        match name {
            Some(name) => named.push((name.clone(), parameter(name, value)?)),
            None => listed.push(parameter(&format!("${}", i + 1), value)?),
        }
    }
    match (named.is_empty(), listed.is_empty()) {
        (true, _) => Ok(ParamValues::from(listed)),
        (false, true) => Ok(ParamValues::from(named)),
        (false, false) => Err(Error::new_err(format!(
            "parameters by position or by name are required, got {} and {}",
            listed.len(),
            named.len()
        ))),
    }
}

/// Refuses a parameter without a value, and a value without a parameter.
fn require_values(plan: &LogicalPlan, given: &ParamValues) -> PyResult<()> {
    // Those of a prepared statement and of a function's body get their values later.
    if let LogicalPlan::Statement(_) | LogicalPlan::Ddl(DdlStatement::CreateFunction(_)) = plan {
        return Ok(());
    }
    let required = plan.get_parameter_names().map_err(raised)?;
    let required: BTreeSet<String> = required.into_iter().collect();
    let given: BTreeSet<String> = match given {
        ParamValues::List(values) => (1..=values.len()).map(|i| format!("${i}")).collect(),
        ParamValues::Map(values) => values.keys().map(|name| format!("${name}")).collect(),
    };
    if required == given {
        return Ok(());
    }
    let listed = |names: BTreeSet<String>| match names.is_empty() {
        true => "none".to_string(),
        false => Vec::from_iter(names).join(", "),
    };
    let hint = match required.contains("?") {
        true => " (a place is written $1, $2, ... or $name)",
        false => "",
    };
    Err(Error::new_err(format!(
        "values for the parameters {} are required, got {}{hint}",
        listed(required),
        listed(given)
    )))
}

/// All rows, with their progress told.
fn read(
    py: Python<'_>,
    mut rows: SendableRecordBatchStream,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Vec<RecordBatch>> {
    let mut batches = vec![];
    while let Some(batch) = wait(py, rows.next())? {
        let batch = batch.map_err(raised)?;
        if let (Some(progress), Some(row)) = (&progress, batch.num_rows().checked_sub(1)) {
            let told = PyDict::new(py);
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                told.set_item(field.name(), cell(py, column, row)?)?;
            }
            progress.call1((told,))?;
        }
        batches.push(batch);
    }
    Ok(batches)
}
