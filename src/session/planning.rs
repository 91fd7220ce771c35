//! The two steps of a statement: from its text to a plan, and from the plan to operators.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionContext};

use super::blocking::blocking;
use super::bound::bind;
use super::missing::{calls, made, missing_table};
use super::statement;
use crate::jobs::Left;
use crate::store::{PUBLIC, StoreCatalog};

/// What a statement means in a state made for it.
pub(super) async fn plan(state: &SessionState, text: &str) -> Result<LogicalPlan> {
    let parsed = statement::parse(state, text)?;
    let mut references = state.resolve_table_references(&parsed)?;
    let made = made(&parsed);
    references.retain(|reference| Some(reference) != made.as_ref());
    read_ahead(state, &references).await;
    let calls = calls(&parsed);
    let plan = match state.statement_to_plan(parsed).await {
        Ok(plan) => plan,
        Err(error) => {
            let missing = missing_table(state, &references, &calls).await;
            return Err(missing.unwrap_or(error));
        }
    };
    match state.config_options().catalog.default_schema.as_str() {
        PUBLIC => Ok(plan),
        run => bind(plan, run, false),
    }
}

/// The operators of a plan, and what they run with.
pub(super) async fn operators(
    context: &SessionContext,
    plan: LogicalPlan,
    left: Arc<Left>,
) -> Result<(Arc<TaskContext>, Arc<dyn ExecutionPlan>)> {
    let (mut state, plan) = context.execute_logical_plan(plan).await?.into_parts();
    state.config_mut().set_extension(left);
    let rows = DataFrame::new(state, plan);
    let task = Arc::new(rows.task_ctx());
    Ok((task, rows.create_physical_plan().await?))
}

/// Opens the runs that a statement names, away from the query's threads: the catalog's own methods cannot wait. One
/// that cannot be opened says so when its tables are asked for.
async fn read_ahead(state: &SessionState, references: &[TableReference]) {
    let Some(catalog) = StoreCatalog::of(state) else {
        return;
    };
    let current = state.config_options().catalog.default_schema.clone();
    let mut schemas: Vec<String> = references
        .iter()
        .filter_map(|reference| Some(reference.schema()?.to_string()))
        .collect();
    schemas.push(current);
    let _ = blocking(move || {
        for schema in schemas.iter().filter(|schema| catalog.runs().has(schema)) {
            let _ = catalog.run_of(schema);
        }
    })
    .await;
}
