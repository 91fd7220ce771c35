//! The two steps of a statement: from its text to a plan, and from the plan to operators.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::catalog::CatalogProvider;
use datafusion::common::{TableReference, plan_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use super::blocking::blocking;
use super::bound::bind;
use super::engine::Engine;
use super::first_rows::FirstRows;
use super::lone_spillers::LoneSpillers;
use super::missing::missing_table;
use super::names::{Names, made};
use super::planner::EnginePlanner;
use super::reads::{extents_of_views, require_few_reads};
use super::shared_vectors::SharedVectors;
use super::text_files::TextFiles;
use super::whole_files::WholeFiles;
use super::yielding_joins::YieldingJoins;
use super::{external_tables, named_files, sized_values, statement};
use crate::jobs::Left;
use crate::store::{PUBLIC, StoreCatalog};

/// The state that a session of an engine begins with, without functions and tables.
pub(super) fn state(
    config: SessionConfig,
    runtime: RuntimeEnv,
    engine: &Engine,
) -> Result<SessionState> {
    let limited = matches!(runtime.memory_pool.memory_limit(), MemoryLimit::Finite(_));
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::new(runtime))
        .with_default_features()
        .with_query_planner(Arc::new(EnginePlanner))
        .with_physical_optimizer_rule(Arc::new(SharedVectors))
        .with_physical_optimizer_rule(Arc::new(YieldingJoins))
        .with_physical_optimizer_rule(Arc::new(WholeFiles))
        .with_physical_optimizer_rule(Arc::new(FirstRows));
    if let Some(last) = engine.last_rule() {
        builder = builder.with_physical_optimizer_rule(last);
    }
    if limited {
        builder = builder.with_physical_optimizer_rule(Arc::new(LoneSpillers));
    }
    let mut state = builder.build();
    external_tables::register(&mut state);
    sized_values::register(&mut state)?;
    for format in ["csv", "json"] {
        if let Some(usual) = state.get_file_format_factory(format) {
            state.register_file_format(Arc::new(TextFiles(usual)), true)?;
        }
    }
    Ok(state)
}

/// What a statement means in a state made for it.
pub(super) async fn plan(state: &SessionState, text: &str) -> Result<LogicalPlan> {
    let parsed = statement::parse(state, text)?;
    let mut references = state.resolve_table_references(&parsed)?;
    let made = made(&parsed);
    references.retain(|reference| Some(reference) != made.as_ref());
    read_ahead(state, &references).await;
    let names = Names::of(&parsed);
    add_files(state, &references, &names.tables).await?;
    require_few_reads(&parsed, &extents_of_views(state, &names.tables).await?)?;
    let plan = match state.statement_to_plan(parsed).await {
        Ok(plan) => plan,
        Err(error) => {
            rows_as_value(state, &names.values)?;
            let missing = missing_table(state, &references, &names).await;
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

/// The error of a function that gives rows where a value stands.
fn rows_as_value(state: &SessionState, functions: &HashSet<TableReference>) -> Result<()> {
    let gives_rows = |name: &str| state.table_functions().contains_key(name);
    let gives_a_value = |name: &str| {
        state.scalar_functions().contains_key(name)
            || state.aggregate_functions().contains_key(name)
            || state.window_functions().contains_key(name)
    };
    let mut names = functions.iter().map(TableReference::table);
    match names.find(|name| gives_rows(name) && !gives_a_value(name)) {
        Some(name) => plan_err!(
            "{name}: a place in FROM is required, since it gives rows, got one of a value: SELECT * FROM {name}(...)"
        ),
        None => Ok(()),
    }
}

/// Gives the statement tables of the files that it reads by name: a table of that name is in their place.
async fn add_files(
    state: &SessionState,
    references: &[TableReference],
    tables: &HashSet<TableReference>,
) -> Result<()> {
    let options = &state.config_options().catalog;
    let schema = options.default_schema.as_str();
    // Not the names of the statement's own WITH.
    let read = references.iter().filter(|name| tables.contains(name));
    for name in read.filter(|name| name.schema().is_none() && named_files::is_path(name.table())) {
        let Some(catalog) = StoreCatalog::of(state) else {
            return Ok(());
        };
        let own = match catalog.schema(schema) {
            Some(schema) => schema.table(name.table()).await?,
            None => None,
        };
        if own.is_none() {
            let file = named_files::open(state, schema, name.table()).await?;
            catalog.add_file(name.table(), file);
        }
    }
    Ok(())
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
