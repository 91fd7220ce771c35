//! Statements that would change a table of a run or of `info`, which are read only.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, WriteOp};

use super::catalogs::CATALOG;
use crate::store::StoreCatalog;

/// What a statement that changes rows of a table is called.
pub(super) fn changes(op: &WriteOp) -> Option<&'static str> {
    match op {
        WriteOp::Insert(_) => Some("INSERT"),
        WriteOp::Update => Some("UPDATE"),
        WriteOp::Delete => Some("DELETE"),
        WriteOp::Truncate => Some("TRUNCATE"),
        _ => None,
    }
}

/// Refuses a statement that would change one of them.
pub(super) fn refuse(plan: &LogicalPlan, state: &SessionState) -> Result<()> {
    let (statement, table) = match plan {
        LogicalPlan::Dml(dml) => (
            changes(&dml.op).unwrap_or("this statement"),
            &dml.table_name,
        ),
        LogicalPlan::Ddl(DdlStatement::DropTable(dropped)) => ("DROP TABLE", &dropped.name),
        LogicalPlan::Ddl(DdlStatement::DropView(dropped)) => ("DROP VIEW", &dropped.name),
        _ => return Ok(()),
    };
    let options = &state.config_options().catalog;
    let full = table
        .clone()
        .resolve(&options.default_catalog, &options.default_schema);
    let (schema, name) = (full.schema.as_ref(), full.table.as_ref());
    let Some(catalog) = StoreCatalog::of(state).filter(|_| *full.catalog == *CATALOG) else {
        return Ok(());
    };
    if !catalog.is_read_only(schema, name) {
        return Ok(());
    }
    match catalog.run_of(schema)? {
        Some(_) => plan_err!(
            "{statement}: a table of your own is required, got {schema}.{name}: the tables of a run are read only \
             (SELECT * FROM drop_run('{schema}') removes the run)"
        ),
        None => plan_err!(
            "{statement}: a table of your own is required, got {schema}.{name}, which is read only"
        ),
    }
}
