//! Table functions that are written in SQL over the store's own tables.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{internal_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder, TableType, col};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::scan_by_plan;

/// A query with the run it is asked of.
pub struct Query {
    /// The run that unqualified names mean.
    pub run: String,
    /// One SELECT; its columns are cast to the function's by place.
    pub sql: String,
}

/// What makes the query of a call when it is planned.
pub type Ask = dyn Fn(&dyn Session) -> Result<Query> + Send + Sync;

/// A function whose rows are those of a query.
pub struct QueryTable {
    /// Name of the function, for messages.
    pub function: &'static str,
    /// Its columns.
    pub schema: SchemaRef,
    /// The query.
    pub ask: Arc<Ask>,
}

impl fmt::Debug for QueryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueryTable").field(&self.function).finish()
    }
}

impl QueryTable {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(state) = state.as_any().downcast_ref::<SessionState>() else {
            return plan_err!(
                "{}: a session that plans SQL is required, got another kind",
                self.function
            );
        };
        let query = (self.ask)(state)?;
        let mut state = state.clone();
        state.config_mut().options_mut().catalog.default_schema = query.run;
        let plan = state.create_logical_plan(&query.sql).await?;
        let schema = Arc::clone(plan.schema());
        if schema.fields().len() != self.schema.fields().len() {
            return internal_err!(
                "{}: {} columns are required of its query, got {}",
                self.function,
                self.schema.fields().len(),
                schema.fields().len()
            );
        }
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let columns = projection.unwrap_or(&all).iter().map(|i| {
            let wanted = self.schema.field(*i);
            let column = col(schema.columns()[*i].clone());
            Ok(column
                .cast_to(wanted.data_type(), &schema)?
                .alias(wanted.name()))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        state.create_physical_plan(&plan).await
    }
}

impl TableProvider for QueryTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(QueryTable);
}
