//! Per-neuron functions as table functions: arguments are checked when the call is planned, tables and settings are
//! looked up when the plan is made, work is done when it runs, so views and prepared statements never go stale.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, project_schema};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::function::{BoundCall, PerNeuron};
use super::inputs::SIGN;
use super::keys::{KIND, KeyArguments, KeySelection, LAYER_NEURON};
use super::layer_filter::LayerFilterExec;
use super::operator::PerNeuronExec;
use crate::arrow::tables;
use crate::calls::{Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction};
use crate::scan_by_plan;

/// The catalogue entry of a per-neuron function.
pub fn table_function(doc: &'static FunctionDoc, function: &'static PerNeuron) -> Function {
    Function {
        doc,
        implementation: Implementation::Table(Arc::new(PerNeuronFunction(function))),
    }
}

/// What a catalogue entry is made of, where it is a per-neuron function.
pub fn per_neuron(function: &Function) -> Option<&'static PerNeuron> {
    let Implementation::Table(table) = &function.implementation else {
        return None;
    };
    let table = (table.as_ref() as &dyn Any).downcast_ref::<PerNeuronFunction>()?;
    Some(table.0)
}

#[derive(Debug)]
struct PerNeuronFunction(&'static PerNeuron);

impl TableFunction for PerNeuronFunction {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(self.0.schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let keys = KeyArguments::new(&arguments)?;
        keys.require_layer_or_kind()?;
        self.0.check(&arguments)?;
        Ok(Arc::new(PerNeuronTable {
            function: self.0,
            schema: self.0.schema(),
            arguments,
            keys,
        }))
    }

    fn is_key(&self, argument: &str) -> bool {
        LAYER_NEURON.iter().any(|key| key.name == argument)
    }

    fn for_open_key(&self, key: &str) -> Option<(&'static Parameter, ScalarValue)> {
        // A layer that a column gives is named, whatever its kind.
        (key == "layer").then(|| (&KIND, ScalarValue::from("all")))
    }
}

impl BoundCall {
    /// The plan of its rows for the selected neurons.
    pub async fn plan(
        self,
        state: &dyn Session,
        [examples, neurons]: [&Arc<dyn TableProvider>; 2],
        projection: Option<&Vec<usize>>,
        selection: KeySelection,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = self.name;
        let KeySelection {
            filters,
            lookup,
            check,
        } = selection;
        let of_layers = |plan: Arc<dyn ExecutionPlan>| match &lookup {
            None => plan,
            Some(lookup) => Arc::new(LayerFilterExec::new(plan, lookup.clone())),
        };
        let inputs = self.inputs(&self.columns(projection));
        let mut columns = vec!["layer", "neuron", "example"];
        columns.extend(inputs.vectors);
        columns.extend(inputs.examples);
        if examples.schema().column_with_name(SIGN).is_some() && !columns.contains(&SIGN) {
            columns.push(SIGN);
        }
        let examples = tables::scan(state, name, "examples", examples, &columns, &filters).await?;
        let columns = [&["layer", "neuron"], inputs.weights].concat();
        let neurons = tables::scan(state, name, "neurons", neurons, &columns, &filters).await?;
        let operator = PerNeuronExec::try_new(
            Arc::new(self),
            projection.cloned(),
            of_layers(examples),
            of_layers(neurons),
        )?;
        Ok(Arc::new(operator.with_check(check)))
    }
}

#[derive(Debug, Clone)]
struct PerNeuronTable {
    function: &'static PerNeuron,
    schema: SchemaRef,
    arguments: Arguments,
    keys: KeyArguments,
}

impl PerNeuronTable {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.keys.is_null() {
            let schema = project_schema(&self.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let name = self.function.name;
        let call = self.function.call(&self.arguments, state)?;
        let examples = tables::table(state, name, "examples").await?;
        let neurons = tables::table(state, name, "neurons").await?;
        let selection = self.keys.select(state, &neurons, filters).await?;
        let tables = [&examples, &neurons];
        call.plan(state, tables, projection, selection).await
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
