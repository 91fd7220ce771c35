//! Per-neuron functions as table functions: arguments are checked when the call is planned, tables and settings are
//! looked up when the plan is made, work is done when it runs, so views and prepared statements never go stale.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, col, lit};
use datafusion::physical_plan::ExecutionPlan;

use super::columns::OutputColumns;
use super::function::NeuronFunction;
use super::operator::PerNeuronExec;
use crate::arrow::tables;
use crate::calls::{Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction};
use crate::scan_by_plan;

/// The arguments every per-neuron function takes.
pub const LAYER_NEURON: &[Parameter] = &[
    Parameter {
        name: "layer",
        kind: "whole number or text",
        summary: "the layer's number or name; left out, all layers",
    },
    Parameter {
        name: "neuron",
        kind: "whole number",
        summary: "index in the layer; left out, the whole layer",
    },
];

/// What a per-neuron function is made of.
#[derive(Debug, Clone, Copy)]
pub struct PerNeuron {
    /// What users read.
    pub doc: &'static FunctionDoc,
    /// Its columns.
    pub schema: fn() -> SchemaRef,
    /// Refuses options that no session could make valid.
    pub check: fn(&Arguments) -> Result<()>,
    /// The function with the call's options over the session's settings.
    pub bind: fn(&Arguments, &dyn Session) -> Result<Arc<dyn NeuronFunction>>,
}

/// The catalogue entry of a per-neuron function.
pub fn table_function(function: &'static PerNeuron) -> Function {
    Function {
        doc: function.doc,
        implementation: Implementation::Table(Arc::new(PerNeuronFunction(function))),
    }
}

#[derive(Debug)]
struct PerNeuronFunction(&'static PerNeuron);

impl TableFunction for PerNeuronFunction {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok((self.0.schema)())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let asked = KeyArguments::new(&arguments)?;
        (self.0.check)(&arguments)?;
        Ok(Arc::new(PerNeuronTable {
            function: self.0,
            schema: (self.0.schema)(),
            arguments,
            asked,
        }))
    }

    fn is_key(&self, argument: &str) -> bool {
        LAYER_NEURON.iter().any(|key| key.name == argument)
    }
}

/// The layer and neuron a call names.
#[derive(Debug, Clone)]
pub struct KeyArguments {
    layer: Option<LayerRef>,
    neuron: Option<i64>,
}

#[derive(Debug, Clone)]
enum LayerRef {
    Number(i64),
    Name(String),
}

impl KeyArguments {
    /// The arguments `layer` and `neuron` of a call.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let layer = match arguments.get("layer") {
            Some(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_)) => {
                arguments.text("layer")?.map(LayerRef::Name)
            }
            _ => arguments.integer("layer")?.map(LayerRef::Number),
        };
        let neuron = arguments.integer("neuron")?;
        if neuron.is_some() && layer.is_none() {
            return plan_err!(
                "{}: layer must be given with a neuron, got NULL",
                arguments.function()
            );
        }
        Ok(Self { layer, neuron })
    }

    /// The numbers of the layer and the neuron, which table `neurons` must have.
    pub async fn resolve(
        &self,
        state: &dyn Session,
        function: &str,
        neurons: &Arc<dyn TableProvider>,
    ) -> Result<(Option<i64>, Option<i64>)> {
        let layer = match &self.layer {
            None => None,
            Some(LayerRef::Number(number)) => Some(*number),
            Some(LayerRef::Name(layer)) => Some(i64::from(
                tables::layer_number(state, function, layer).await?,
            )),
        };
        tables::require_neuron(state, function, neurons, layer, self.neuron).await?;
        Ok((layer, self.neuron))
    }
}

/// A function to be run over the tables of a session.
#[derive(Debug, Clone)]
pub struct BoundFunction {
    /// Its name.
    pub name: &'static str,
    /// What it does to a neuron.
    pub function: Arc<dyn NeuronFunction>,
    /// All its columns.
    pub schema: SchemaRef,
}

impl BoundFunction {
    /// The plan of its rows for the neurons that `filters` on layer and neuron keep.
    pub async fn plan(
        &self,
        state: &dyn Session,
        [examples, neurons]: [&Arc<dyn TableProvider>; 2],
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = self.name;
        let wanted = OutputColumns::new(self.schema.fields().len(), projection);
        let inputs = self.function.inputs(&wanted);
        let mut columns = vec!["layer", "neuron", "example"];
        columns.extend(inputs.vectors);
        columns.extend(inputs.examples);
        let examples = tables::scan(state, name, "examples", examples, &columns, filters).await?;
        let columns: &[&str] = if inputs.weights {
            &["layer", "neuron", "w_in"]
        } else {
            &["layer", "neuron"]
        };
        let neurons = tables::scan(state, name, "neurons", neurons, columns, filters).await?;
        Ok(Arc::new(PerNeuronExec::try_new(
            name,
            Arc::clone(&self.function),
            Arc::clone(&self.schema),
            projection.cloned(),
            examples,
            neurons,
        )?))
    }
}

/// `column = value`, for [`BoundFunction::plan`].
pub fn only(column: &str, value: i64) -> Expr {
    col(column).eq(lit(value as i32))
}

#[derive(Debug, Clone)]
struct PerNeuronTable {
    function: &'static PerNeuron,
    schema: SchemaRef,
    arguments: Arguments,
    asked: KeyArguments,
}

impl PerNeuronTable {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = self.function.doc.name;
        let bound = BoundFunction {
            name,
            function: (self.function.bind)(&self.arguments, state)?,
            schema: Arc::clone(&self.schema),
        };
        let examples = tables::table(state, name, "examples").await?;
        let neurons = tables::table(state, name, "neurons").await?;
        let (layer, neuron) = self.asked.resolve(state, name, &neurons).await?;
        let mut filters = filters.to_vec();
        filters.extend(layer.map(|layer| only("layer", layer)));
        filters.extend(neuron.map(|neuron| only("neuron", neuron)));
        let tables = [&examples, &neurons];
        bound.plan(state, tables, projection, &filters).await
    }
}

impl TableProvider for PerNeuronTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let of_keys = |filter: &&Expr| {
            !filter.is_volatile()
                && !filter.contains_outer()
                && !filter.contains_scalar_subquery()
                && filter
                    .column_refs()
                    .iter()
                    .all(|c| c.name == "layer" || c.name == "neuron")
        };
        Ok(filters
            .iter()
            .map(|filter| match of_keys(filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    scan_by_plan!(PerNeuronTable);
}
