//! Statements about tables that last, as plans: what makes or changes one becomes an INSERT into a target of the store.
//! DataFusion's own UPDATE and DELETE of a plan with a subquery would change every row: those are refused.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, TableReference, exec_err, plan_err};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp,
    col, when,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{TryStreamExt, stream};

use super::blocking::blocking;
use super::catalogs::CATALOG;
use crate::policy::{self, Access};
use crate::store::kept::{Change, KeptName, KeptProvider, KeptTarget, stored_columns};
use crate::store::{PUBLIC, Store};

/// Name of the column that says which rows an UPDATE or DELETE means.
const MARK: &str = "changed by the statement";

/// A table that a statement has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTable {
    /// Its name as it was written.
    pub name: String,
    /// Its name without a schema.
    pub table: String,
    /// `table`, `view` or `external table`.
    pub kind: &'static str,
    /// Whether it is kept in the store.
    pub lasts: bool,
}

impl CreatedTable {
    /// What a statement makes.
    pub(super) fn of(plan: &LogicalPlan, state: &SessionState, store: &Store) -> Option<Self> {
        let LogicalPlan::Ddl(ddl) = plan else {
            return None;
        };
        let (name, kind) = match ddl {
            DdlStatement::CreateMemoryTable(create) => (&create.name, "table"),
            DdlStatement::CreateView(create) => (&create.name, "view"),
            DdlStatement::CreateExternalTable(create) => (&create.name, "external table"),
            _ => return None,
        };
        Some(Self {
            name: name.to_string(),
            table: name.table().to_string(),
            kind,
            lasts: kind == "table" && kept_name(name, state, store).is_some(),
        })
    }
}

/// The name of a table that lasts; none of one of the session.
fn kept_name(name: &TableReference, state: &SessionState, store: &Store) -> Option<KeptName> {
    let options = &state.config_options().catalog;
    let name = name
        .clone()
        .resolve(&options.default_catalog, &options.default_schema);
    let lasts = *name.catalog == *CATALOG && *name.schema != *PUBLIC && !store.has(&name.schema);
    // An unqualified name is of the session, also when the run that is selected has gone.
    let lasts = lasts && *name.schema != *options.default_schema;
    lasts.then(|| KeptName::new(&name.schema, &name.table))
}

/// The plan of a statement with what it does to tables that last.
pub(super) async fn with_kept_tables(
    plan: LogicalPlan,
    state: &SessionState,
    store: &Arc<Store>,
) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
            match kept_name(&create.name, state, store) {
                Some(name) => created(create, name, store),
                None => Ok(LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create))),
            }
        }
        LogicalPlan::Ddl(DdlStatement::DropTable(dropped)) => {
            let name = kept_name(&dropped.name, state, store);
            let Some(name) = name.filter(|name| store.has_kept(name)) else {
                return Ok(LogicalPlan::Ddl(DdlStatement::DropTable(dropped)));
            };
            policy::require(
                state,
                "DROP TABLE",
                &[Access::CreateTables, Access::RunJobs],
            )?;
            // Whoever ends the statement while it waits for another drops nothing.
            let statement = Arc::new(());
            let (store, asked) = (Arc::clone(store), Arc::downgrade(&statement));
            let wanted = move || match asked.strong_count() {
                0 => exec_err!("a statement that goes on is required, got one that has ended"),
                _ => Ok(()),
            };
            blocking(move || store.drop_kept(&name, &wanted)).await??;
            drop(statement);
            LogicalPlanBuilder::empty(false).build()
        }
        LogicalPlan::Dml(dml) if rewrites(&dml.op) => changed(dml, store),
        plan => Ok(plan),
    }
}

/// Whether a statement writes the rows of a table anew.
pub(super) fn is_rewritten(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Dml(dml) if rewrites(&dml.op))
}

fn rewrites(op: &WriteOp) -> bool {
    matches!(op, WriteOp::Update | WriteOp::Delete | WriteOp::Truncate)
}

/// The same work without the number of rows that it tells.
pub(super) fn without_rows(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let done = async move {
        rows.try_for_each(|_| async { Ok(()) }).await?;
        Ok::<_, DataFusionError>(stream::empty())
    };
    let none = stream::once(done).try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(
        Arc::new(Schema::empty()),
        none,
    ))
}

fn insert(target: KeptTarget, name: TableReference, input: LogicalPlan) -> LogicalPlan {
    let source = provider_as_source(Arc::new(target));
    let op = WriteOp::Insert(InsertOp::Append);
    LogicalPlan::Dml(DmlStatement::new(name, source, op, Arc::new(input)))
}

fn created(create: CreateMemoryTable, name: KeptName, store: &Arc<Store>) -> Result<LogicalPlan> {
    if create.temporary {
        return plan_err!("CREATE TABLE: TEMPORARY goes with a table of the session, got {name}");
    }
    if !create.column_defaults.is_empty() || create.constraints.iter().next().is_some() {
        return plan_err!(
            "CREATE TABLE: columns with no more than a type and NOT NULL are required of a table that lasts, got \
             {name} with a default or a key"
        );
    }
    if create.if_not_exists && create.or_replace {
        return plan_err!(
            "CREATE TABLE: one of OR REPLACE and IF NOT EXISTS is required, got both"
        );
    }
    if create.if_not_exists && store.has_kept(&name) {
        return LogicalPlanBuilder::empty(false).build();
    }
    let columns = stored_columns(&columns(&create.input));
    if columns.fields().is_empty() {
        return plan_err!("CREATE TABLE: a column at least is required, got {name} without");
    }
    let mut seen = HashSet::new();
    let twice = columns
        .fields()
        .iter()
        .find(|field| !seen.insert(field.name()));
    if let Some(field) = twice {
        return plan_err!(
            "CREATE TABLE: columns with names of their own are required, got '{}' twice: name them with AS",
            field.name()
        );
    }
    let target = KeptTarget {
        store: Arc::clone(store),
        name,
        columns,
        change: Change::Create {
            replace: create.or_replace,
        },
        statement: "CREATE TABLE",
    };
    let input = Arc::unwrap_or_clone(create.input);
    Ok(insert(target, create.name, input))
}

/// The columns of a new table: those that are written down, or a query's, which may become NULL later.
fn columns(input: &LogicalPlan) -> SchemaRef {
    let columns = Arc::clone(input.schema().inner());
    match input {
        LogicalPlan::EmptyRelation(_) => columns,
        _ => {
            let fields = columns.fields().iter();
            let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
            Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
        }
    }
}

/// An UPDATE, DELETE or TRUNCATE of a table that lasts, as the rows with a mark at those that it means.
fn changed(dml: DmlStatement, store: &Arc<Store>) -> Result<LogicalPlan> {
    let is_update = dml.op == WriteOp::Update;
    let (statement, dml) = match dml.op {
        WriteOp::Update => ("UPDATE", dml),
        WriteOp::Truncate if !is_kept(&dml)? => return Ok(LogicalPlan::Dml(dml)),
        WriteOp::Truncate => ("TRUNCATE", of_all_rows(dml)?),
        _ => ("DELETE", dml),
    };
    let (values, rest) = match dml.input.as_ref() {
        LogicalPlan::Projection(values) if is_update => (values.expr.clone(), &values.input),
        _ => (vec![], &dml.input),
    };
    let (condition, rows) = match rest.as_ref() {
        LogicalPlan::Filter(filter) => (Some(filter.predicate.clone()), &filter.input),
        _ => (None, rest),
    };
    let is_scan = match rows.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => matches!(*alias.input, LogicalPlan::TableScan(_)),
        rows => matches!(rows, LogicalPlan::TableScan(_)),
    };
    let mut all = values.iter().chain(&condition);
    if !is_scan || all.any(asks_more) {
        return plan_err!(
            "{statement}: conditions and values of the row itself are required, got a query, a second table or a \
             LIMIT: CREATE OR REPLACE TABLE {} AS SELECT ... takes any",
            dml.table_name
        );
    }
    let provider = source_as_provider(&dml.target)?;
    let Some(kept) = provider.downcast_ref::<KeptProvider>() else {
        return Ok(LogicalPlan::Dml(dml));
    };
    let table = kept.table();
    let columns: Vec<Expr> = rows
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let mark = condition.map_or(Expr::Literal(true.into(), None), |c| c.is_true());
    let marked = columns.iter().cloned().chain([mark.alias(MARK)]);
    let marked = LogicalPlanBuilder::from(rows.as_ref().clone()).project(marked)?;
    let of = table.generation().clone();
    let (marked, change) = match is_update {
        false => (marked, Change::Delete(of)),
        true => {
            let fields = table.columns().fields().iter();
            let updated = values.into_iter().zip(columns).zip(fields);
            let updated = updated.map(|((value, old), field)| {
                let value = value.unalias();
                let value = match value == old {
                    true => old,
                    false => when(col(mark_column()), value).otherwise(old)?,
                };
                Ok(value.alias(field.name()))
            });
            let mut updated = updated.collect::<Result<Vec<_>>>()?;
            updated.push(col(mark_column()));
            (marked.project(updated)?, Change::Update(of))
        }
    };
    let target = KeptTarget {
        store: Arc::clone(store),
        name: table.name().clone(),
        columns: Arc::clone(table.columns()),
        change,
        statement,
    };
    Ok(insert(target, dml.table_name, marked.build()?))
}

fn is_kept(dml: &DmlStatement) -> Result<bool> {
    Ok(source_as_provider(&dml.target)?.is::<KeptProvider>())
}

/// A statement that has no rows of its own, with all of its table's.
fn of_all_rows(dml: DmlStatement) -> Result<DmlStatement> {
    let target = Arc::clone(&dml.target);
    let rows = LogicalPlanBuilder::scan(dml.table_name.clone(), target, None)?.build()?;
    Ok(DmlStatement {
        input: Arc::new(rows),
        ..dml
    })
}

fn mark_column() -> Column {
    Column::new_unqualified(MARK)
}

fn asks_more(expr: &Expr) -> bool {
    let found = expr.exists(|part| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    });
    found.unwrap_or(true)
}
