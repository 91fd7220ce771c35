//! A question to the model of a run: what such functions share. The run is the one that the call names or the session has
//! selected; its model is loaded when rows are asked for, and stays in memory as others do.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::arrow::tables::table;
use polysema_udfs::calls::{Arguments, Parameter};
use polysema_udfs::scan_by_plan;

use super::sources::current_run;
use crate::files::loaded::Resident;
use crate::jobs::{Course, Job, JobContext, Rows, named, plan};
use crate::models::LoadedModel;
use crate::options::Options;
use crate::policy::{self, Access};
use crate::runs::model_of_run;
use crate::saes::{MOVED_MODEL, SaeLibrary};
use crate::store::{LayerRow, PassedRows, Run};

/// The argument that says which layer.
pub const LAYER: Parameter = Parameter {
    name: "layer",
    kind: "whole number or text",
    summary: "the layer's number or name",
};
/// The argument that says which neuron.
pub const NEURON: Parameter = Parameter {
    name: "neuron",
    kind: "whole number",
    summary: "index in the layer",
};

const NEEDS: &[Access] = &[Access::ReadFiles];

/// A layer, or one of its neurons, as a call names it.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenNeuron {
    layer: GivenLayer,
    neuron: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
enum GivenLayer {
    Number(i64),
    Name(String),
}

impl GivenNeuron {
    /// The arguments [`LAYER`] and [`NEURON`]; the second may be left out where `whole` says that a layer is an answer.
    pub fn of(arguments: &Arguments, whole: bool) -> Result<Self> {
        let function = arguments.function();
        let layer = match arguments.get(LAYER.name) {
            Some(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_)) => {
                arguments.text(LAYER.name)?.map(GivenLayer::Name)
            }
            _ => arguments.integer(LAYER.name)?.map(GivenLayer::Number),
        };
        let Some(layer) = layer else {
            return plan_err!("{function}: layer must be given, got NULL");
        };
        let neuron = arguments.integer(NEURON.name)?;
        if neuron.is_none() && (!whole || arguments.is_null(NEURON.name)) {
            return plan_err!("{function}: neuron must be given, got NULL");
        }
        Ok(Self { layer, neuron })
    }

    /// What it means in a run.
    ///
    /// Errors (planning): there is no such layer or neuron; the layers, or the range, are named.
    pub fn resolve(&self, run: &Run) -> Result<(LayerRow, Option<i32>)> {
        let layers = run.layers()?;
        let found = match &self.layer {
            GivenLayer::Number(number) => {
                let n = layers.iter().map(|row| row.layer as u64 + 1).max();
                let number = within(LAYER.name, *number, n.unwrap_or(0))?;
                layers.iter().find(|row| row.layer == number)
            }
            GivenLayer::Name(name) => layers.iter().find(|row| row.name == *name),
        };
        let Some(row) = found else {
            let known: Vec<_> = layers.iter().map(|row| row.name.as_str()).collect();
            return plan_err!(
                "layer must be a number or one of {}, got {}",
                known.join(", "),
                match &self.layer {
                    GivenLayer::Number(number) => number.to_string(),
                    GivenLayer::Name(name) => format!("'{name}'"),
                }
            );
        };
        let neuron = self.neuron.map(|neuron| {
            let name = format_args!("neuron of layer {}", row.layer);
            within(name, neuron, row.n_neurons as u64)
        });
        Ok((row.clone(), neuron.transpose()?))
    }
}

/// A whole number that has to be given.
pub fn given_integer(arguments: &Arguments, name: &str) -> Result<i64> {
    match arguments.integer(name)? {
        Some(number) => Ok(number),
        None => plan_err!("{}: {name} must be given, got NULL", arguments.function()),
    }
}

/// A number of one of so many things.
///
/// Errors (planning): it is none of them.
pub fn within(name: impl fmt::Display, number: i64, n: u64) -> Result<i32> {
    match u64::try_from(number) {
        Ok(index) if index < n => Ok(number as i32),
        _ => plan_err!(
            "{name} must be between 0 and {}, got {number}",
            n.saturating_sub(1)
        ),
    }
}

/// The run that is asked, with what its answers need.
pub struct AskedRun {
    /// The run.
    pub run: Arc<Run>,
    /// The autoencoders that may be its layers.
    pub saes: Arc<SaeLibrary>,
    state: SessionState,
    moved: Option<String>,
}

impl AskedRun {
    /// Its model.
    pub fn model(&self, context: &JobContext) -> Result<Arc<Resident<LoadedModel>>> {
        let facts = self.run.manifest();
        model_of_run(self.saes.store(), facts, self.moved.as_deref(), context)
    }

    /// The rows that a relation of the run has which its model's passes give, as far as they are kept beside the run.
    pub fn passed_rows(&self, relation: &str) -> PassedRows {
        PassedRows::of(&self.run, &self.state, relation)
    }

    /// The settings of the session that asks.
    pub fn settings(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    /// The rows of a query of its tables.
    pub fn rows(&self, sql: &str, context: &JobContext) -> Result<Rows> {
        let planning = async {
            let query = self.state.create_logical_plan(sql).await?;
            plan(&self.state, &query).await
        };
        context.rows_of(&context.wait(planning)?)
    }
}

/// What a call asks of a run.
pub struct RunCall {
    /// As a plan shows it.
    pub detail: String,
    /// Sends the rows.
    pub answer: Arc<AnswerCall>,
}

type AnswerCall = dyn Fn(&AskedRun, &JobContext) -> Result<()> + Send + Sync;
type CallOf = dyn Fn(&Run) -> Result<RunCall> + Send + Sync;

/// One call.
pub struct RunQuestion {
    /// Name of the function, and of its operator in plans.
    pub function: [&'static str; 2],
    schema: SchemaRef,
    saes: Arc<SaeLibrary>,
    moved: Option<String>,
    ask: Arc<CallOf>,
}

impl fmt::Debug for RunQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.function[1]).finish_non_exhaustive()
    }
}

impl RunQuestion {
    /// Of a function with the option [`MOVED_MODEL`]; `ask` is called with the run when the query is planned.
    pub fn new(
        function: [&'static str; 2],
        schema: SchemaRef,
        saes: &Arc<SaeLibrary>,
        options: &Options,
        ask: impl Fn(&Run) -> Result<RunCall> + Send + Sync + 'static,
    ) -> Self {
        Self {
            function,
            schema,
            saes: Arc::clone(saes),
            moved: options.get(MOVED_MODEL),
            ask: Arc::new(ask),
        }
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [function, operator] = self.function;
        policy::require(state, function, NEEDS)?;
        let (Some(run), Some(own)) = (
            current_run(state)?,
            state.as_any().downcast_ref::<SessionState>(),
        ) else {
            // What is missing where no run is selected is told as of every function.
            table(state, function, "neurons").await?;
            return plan_err!(
                "{function}: a run of the store is required, since its model is asked, got tables without one"
            );
        };
        let RunCall { detail, answer } = (self.ask)(&run).map_err(named(function))?;
        let detail = format!("run={}, {detail}", run.name());
        let asked = AskedRun {
            run,
            saes: Arc::clone(&self.saes),
            state: own.clone(),
            moved: self.moved.clone(),
        };
        let job = Job {
            function,
            operator,
            detail,
            schema: Arc::clone(&self.schema),
            needs: NEEDS,
            course: Course::Answer,
            input: None,
            makes: None,
            work: Arc::new(move |context: &JobContext| answer(&asked, context)),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for RunQuestion {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(RunQuestion);
}
