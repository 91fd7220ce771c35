//! What was meant by a table that is not there: a run to choose, or one of the names there are.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::common::{TableReference, plan_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{self, TableFactor, Visit, Visitor};

use polysema_udfs::calls::did_you_mean;

use super::catalogs::CATALOG;
use crate::store::kept::KeptName;
use crate::store::{PUBLIC, StoreCatalog, Table};

/// The first table of a statement that could not be planned which is not there, in our words.
pub(super) async fn missing_table(
    state: &SessionState,
    references: &[TableReference],
    calls: &HashSet<TableReference>,
) -> Option<DataFusionError> {
    let options = &state.config_options().catalog;
    for reference in references {
        let full = (reference.clone()).resolve(&options.default_catalog, &options.default_schema);
        if calls.contains(reference) || *full.catalog != *CATALOG {
            continue;
        }
        let found = match state.schema_for_ref(full.clone()) {
            Ok(schema) => schema.table(&full.table).await.ok()?.is_some(),
            Err(_) => false,
        };
        if !found {
            return Some(explain(state, &full.schema, &full.table));
        }
    }
    None
}

fn explain(state: &SessionState, schema: &str, table: &str) -> DataFusionError {
    let Some(catalog) = StoreCatalog::of(state) else {
        return plan_datafusion_err!("session: a store's catalog is required, got none");
    };
    let listed = |names: &[String]| match names {
        [] => "none".to_string(),
        _ => names.join(", "),
    };
    let root = catalog.runs().store().root().display().to_string();
    let runs = catalog.runs().names().unwrap_or_default();
    if schema == PUBLIC && Table::canonical(table).is_some() {
        return match runs.first() {
            Some(first) => plan_datafusion_err!(
                "session: table {table} requires a selected run, got none of {}: choose one with \
                 SET polysema.run = '{first}', or name it as in {first}.{table}",
                listed(&runs)
            ),
            None => plan_datafusion_err!(
                "session: table {table} requires a run, got none in {root}: make one with ingest(...)"
            ),
        };
    }
    match state.schema_for_ref(TableReference::partial(schema, table)) {
        Ok(_) if state.table_functions().contains_key(table) => plan_datafusion_err!(
            "session: a table of {schema} is required, got the function '{table}': write {table}(...)"
        ),
        Ok(known) => {
            let names = known.table_names();
            let store = catalog.runs().store();
            let lasting = store.schemas().unwrap_or_default().into_iter();
            let mut lasting = lasting.map(|schema| KeptName::new(&schema, table));
            if let Some(lasting) = lasting.find(|name| store.has_kept(name)) {
                return plan_datafusion_err!(
                    "session: a table of {schema} is required, got '{table}' (is '{lasting}' meant?); tables: {}",
                    listed(&names)
                );
            }
            plan_datafusion_err!(
                "session: a table of {schema} is required, got '{table}'{}; tables: {}",
                did_you_mean(names.iter().map(String::as_str), table),
                listed(&names)
            )
        }
        Err(_) => {
            let schemas = catalog.runs().store().schemas().unwrap_or_default();
            let (or, schemas) = match schemas.as_slice() {
                [] => ("", String::new()),
                _ => (" or a schema", format!("; schemas: {}", listed(&schemas))),
            };
            plan_datafusion_err!(
                "session: a run{or} of {root} is required, got '{schema}'{}; runs: {}{schemas}",
                did_you_mean(runs.iter().map(String::as_str), schema),
                listed(&runs)
            )
        }
    }
}

/// What to do where the tables of a run are missing and other schemas have them.
pub(super) fn choose_run(runs: &[String]) -> String {
    let first = runs.first().map(String::as_str).unwrap_or_default();
    format!(
        "choose one with SET polysema.run = '{first}'; runs: {}",
        runs.join(", ")
    )
}

/// The name of what a statement makes, which need not be there.
pub(super) fn made(statement: &Statement) -> Option<TableReference> {
    let name = match statement {
        Statement::CreateExternalTable(create) => &create.name,
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::CreateTable(create) => &create.name,
            ast::Statement::CreateView(create) => &create.name,
            _ => return None,
        },
        _ => return None,
    };
    object_name_to_table_reference(name.clone(), true).ok()
}

/// Names that stand before an opening parenthesis in FROM: of functions, not of tables.
pub(super) fn calls(statement: &Statement) -> HashSet<TableReference> {
    let mut calls = Calls::default();
    let _ = match statement {
        Statement::Statement(inner) => inner.visit(&mut calls),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => query.visit(&mut calls),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        Statement::Explain(explain) => return self::calls(&explain.statement),
        _ => ControlFlow::Continue(()),
    };
    calls.names
}

#[derive(Default)]
struct Calls {
    names: HashSet<TableReference>,
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name,
            args: Some(_),
            ..
        }
        | TableFactor::Function { name, .. } = factor
        {
            let idents = name.0.iter().filter_map(|part| part.as_ident());
            let names = idents.map(|ident| match ident.quote_style {
                Some(_) => ident.value.clone(),
                None => ident.value.to_lowercase(),
            });
            self.names
                .extend(match names.collect::<Vec<_>>().as_slice() {
                    [name] => Some(TableReference::bare(name.as_str())),
                    [run, name] => Some(TableReference::partial(run.as_str(), name.as_str())),
                    [catalog, run, name] => Some(TableReference::full(
                        catalog.as_str(),
                        run.as_str(),
                        name.as_str(),
                    )),
                    _ => None,
                });
        }
        ControlFlow::Continue(())
    }
}
