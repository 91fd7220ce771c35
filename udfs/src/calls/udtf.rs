//! Calls by position, as DataFusion plans them where the planner of calls is not asked.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;

use super::arguments::{Arguments, Relation};
use super::binding::{WrittenArgument, bind};
use super::callable::Callable;
use super::lookup::{Lookup, table_name};
use crate::scan_by_plan;

/// A table function of the catalogue as DataFusion calls one.
#[derive(Debug)]
pub(super) struct Udtf(pub(super) Callable);

impl TableFunctionImpl for Udtf {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let doc = self.0.doc;
        let written = args
            .exprs()
            .iter()
            .cloned()
            .map(WrittenArgument::unnamed)
            .collect();
        let mut values = bind(doc, written)?;
        for (parameter, value) in &mut values {
            if parameter.takes_table()
                && let Some(name) = table_name(value)
            {
                let exprs = Lookup::arguments(doc.name, &name);
                let found = TableFunctionArgs::new(&exprs, args.session());
                let source = provider_as_source(Lookup.call_with_args(found)?);
                let relation = Relation {
                    written: name.to_quoted_string(),
                    plan: Arc::new(LogicalPlanBuilder::scan(name, source, None)?.build()?),
                };
                *value = relation.into_expr();
            } else if parameter.takes_query()
                && let Expr::ScalarSubquery(query) = value
                && query.outer_ref_columns.is_empty()
            {
                let relation = Relation {
                    written: format!("({})", query.subquery.display_indent()),
                    plan: Arc::clone(&query.subquery),
                };
                *value = relation.into_expr();
            }
        }
        let arguments = Arguments::new(doc, values)?;
        let call = TableReference::bare(arguments.call());
        let table = self.0.table(arguments)?;
        let source = provider_as_source(Arc::clone(&table));
        let plan = LogicalPlanBuilder::scan(call, source, None)?.build()?;
        Ok(Arc::new(Called { table, plan }))
    }
}

/// The table of a call, put in place by a scan that is named by the whole call; [`Callable::scan`] says why.
#[derive(Debug)]
struct Called {
    table: Arc<dyn TableProvider>,
    plan: LogicalPlan,
}

impl Called {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.table.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for Called {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    scan_by_plan!(Called);
}
