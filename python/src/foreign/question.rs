//! Questions of a connection as tables of a session elsewhere: computed by the connection's own session, with its run,
//! settings and memory, whenever they are scanned.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session as Host, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ParamValues, Result, plan_err, project_schema};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{TryFutureExt, TryStreamExt, stream};
use polysema::jobs::Effects;
use polysema::session::Session;

use super::crossing::Crossing;
use super::drive::of_parts;
use super::function::written;
use super::leaf::{all_exact, asked, of_call, under};

/// A question whose rows are a table.
pub struct Question {
    session: Arc<Session>,
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl Question {
    pub fn new(session: Arc<Session>, plan: LogicalPlan, parameters: ParamValues) -> Result<Self> {
        let plan = match &parameters {
            ParamValues::List(values) if values.is_empty() => plan,
            ParamValues::Map(values) if values.is_empty() => plan,
            _ => plan.with_param_values(parameters)?,
        };
        let schema = Arc::new(Schema::clone(plan.schema().inner()));
        Ok(Self {
            session,
            plan,
            schema,
        })
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Question").field(&self.plan).finish()
    }
}

#[async_trait]
impl TableProvider for Question {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(all_exact(filters))
    }

    async fn scan(
        &self,
        _: &dyn Host,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.schema, projection)?;
        let rows = Rows {
            session: Arc::clone(&self.session),
            plan: asked(self.plan.clone(), projection, filters, limit)?,
            schema: Arc::clone(&schema),
        };
        of_parts(schema, vec![Arc::new(rows)], None)
    }
}

struct Rows {
    session: Arc<Session>,
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rows").field(&self.plan).finish()
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (session, plan) = (Arc::clone(&self.session), self.plan.clone());
        let answer = async move { session.answer(plan, ParamValues::List(vec![])).await };
        let rows = answer.map_ok(|answer| answer.rows);
        under(Arc::clone(&self.schema), stream::once(rows).try_flatten())
    }
}

/// A table function of a session.
pub struct SessionFunction {
    session: Arc<Session>,
    name: String,
    crossing: Crossing,
}

impl fmt::Debug for SessionFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionFunction").field(&self.name).finish()
    }
}

impl SessionFunction {
    pub fn new(session: Arc<Session>, name: String, crossing: Crossing) -> Self {
        Self {
            session,
            name,
            crossing,
        }
    }
}

impl TableFunctionImpl for SessionFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let call = written(&self.name, args.exprs())?;
        let statement = format!("SELECT * FROM {call}");
        let question = async {
            let plan = self.session.plan(&statement).await?;
            // Its operators alone: whoever asks for rows may have begun the work.
            let state = self.session.context().state();
            let operators = state.create_physical_plan(&plan).await?;
            if Effects::of(&operators)?.changes_the_store {
                return plan_err!(
                    "{}: a call by the connection is required, since it changes the store, got one in a query",
                    self.name
                );
            }
            Question::new(Arc::clone(&self.session), plan, ParamValues::List(vec![]))
        };
        // Planning cannot wait, and the session that plans is of another library with threads of its own.
        let mut question = self.crossing.handle().block_on(question)?;
        question.schema = of_call(&question.schema, &call);
        Ok(self.crossing.given(Arc::new(question)))
    }
}
