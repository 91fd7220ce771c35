//! Calls that read the tables of a schema that is not the session's default one: of the run that a call names, or that its
//! plan belongs to.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::binding::did_you_mean;
use crate::scan_by_plan;

/// A call whose tables are looked up in a schema.
#[derive(Debug)]
pub struct InSchema {
    call: Arc<dyn TableProvider>,
    schema: String,
    /// The function, where its call names the schema.
    named_by: Option<&'static str>,
}

impl InSchema {
    /// A call in the schema of its plan.
    pub fn of_plan(call: Arc<dyn TableProvider>, schema: &str) -> Self {
        Self {
            call,
            schema: schema.to_string(),
            named_by: None,
        }
    }

    /// A call that names its schema.
    pub(super) fn named(
        call: Arc<dyn TableProvider>,
        schema: &str,
        function: &'static str,
    ) -> Self {
        Self {
            named_by: Some(function),
            ..Self::of_plan(call, schema)
        }
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(function) = self.named_by {
            require_schema(state, function, &self.schema)?;
        }
        let Some(own) = state.as_any().downcast_ref::<SessionState>() else {
            return match self.named_by {
                Some(function) => plan_err!(
                    "{function}: a session of this program is required with the option run, got one of another"
                ),
                None => self.call.scan(state, projection, filters, limit).await,
            };
        };
        let mut state = own.clone();
        let catalog = &mut state.config_mut().options_mut().catalog;
        catalog.default_schema.clone_from(&self.schema);
        self.call.scan(&state, projection, filters, limit).await
    }
}

fn require_schema(state: &dyn Session, function: &str, name: &str) -> Result<()> {
    let default = &state.config_options().catalog.default_catalog;
    let catalog = state.catalog_list().catalog(default).ok_or_else(|| {
        plan_datafusion_err!("{function}: a catalog is required, got the unknown '{default}'")
    })?;
    if catalog.schema(name).is_some() {
        return Ok(());
    }
    let has = |other: &String| {
        let schema = catalog.schema(other);
        schema.is_some_and(|schema| schema.table_exist("neurons"))
    };
    let mut names: Vec<_> = catalog.schema_names().into_iter().filter(has).collect();
    names.sort();
    match names.as_slice() {
        [] => plan_err!("{function}: a run is required, got '{name}' where there is none"),
        _ => plan_err!(
            "{function}: run must be one of {}, got '{name}'{}",
            names.join(", "),
            did_you_mean(names.iter().map(String::as_str), name)
        ),
    }
}

impl TableProvider for InSchema {
    fn schema(&self) -> SchemaRef {
        self.call.schema()
    }

    fn table_type(&self) -> TableType {
        self.call.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.call.supports_filters_pushdown(filters)
    }

    scan_by_plan!(InSchema);
}
