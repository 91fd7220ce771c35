//! The views of `sql/views`, as they read over the current run: planned when a statement names one, so that they
//! follow the run chosen, the settings, and a run that was replaced.

use std::sync::Arc;

use datafusion::catalog::CatalogProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::error::Result;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};

use super::statement;
use crate::store::StoreCatalog;

/// Name and definition of every view.
const VIEWS: [(&str, &str); 5] = [
    (
        "cluster_sizes",
        include_str!("../../sql/views/cluster_sizes.sql"),
    ),
    (
        "dead_neurons",
        include_str!("../../sql/views/dead_neurons.sql"),
    ),
    (
        "layer_summary",
        include_str!("../../sql/views/layer_summary.sql"),
    ),
    (
        "monosemantic_neurons",
        include_str!("../../sql/views/monosemantic_neurons.sql"),
    ),
    (
        "polysemantic_neurons",
        include_str!("../../sql/views/polysemantic_neurons.sql"),
    ),
];

/// Plans the views that `statement` may name into the current schema. One whose tables are missing is left out, and
/// the statement then says what is missing.
pub(super) async fn plan_named(
    state: &SessionState,
    catalog: &StoreCatalog,
    statement: &str,
) -> Result<()> {
    let schema = &state.config_options().catalog.default_schema;
    let text = statement.to_ascii_lowercase();
    let listing = text.contains("information_schema") || text.contains("show");
    let has_neurons = catalog
        .schema(schema)
        .is_some_and(|tables| tables.table_exist("neurons"));
    for (name, sql) in VIEWS {
        if !listing && !text.contains(name) {
            continue;
        }
        if !has_neurons {
            catalog.remove_view(schema, name);
            continue;
        }
        let view = match plan(state, sql).await {
            Ok(LogicalPlan::Ddl(DdlStatement::CreateView(view))) => view,
            _ => {
                catalog.remove_view(schema, name);
                continue;
            }
        };
        let table = ViewTable::new(view.input.as_ref().clone(), view.definition);
        catalog.set_view(schema, name, Arc::new(table));
    }
    Ok(())
}

async fn plan(state: &SessionState, sql: &str) -> Result<LogicalPlan> {
    let dialect = state.config().options().sql_parser.dialect;
    state
        .statement_to_plan(statement::parse(state, sql, &dialect)?)
        .await
}
