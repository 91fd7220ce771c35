//! What was meant by a table that is not there: a run to choose, or one of the names there are.

use std::sync::Arc;

use datafusion::common::{Diagnostic, TableReference, plan_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;

use polysema_udfs::arrow::tables::MissingTableAdvice;
use polysema_udfs::calls::did_you_mean;

use super::catalogs::CATALOG;
use super::named_files::is_file_name;
use super::names::Names;
use crate::store::kept::KeptName;
use crate::store::{PUBLIC, Store, StoreCatalog, Table};

/// What to do where there is no run.
const MAKE_ONE: &str = "make one with ingest(...), or open another store";

/// The first table of a statement that could not be planned which is not there, in our words.
pub(super) async fn missing_table(
    state: &SessionState,
    references: &[TableReference],
    names: &Names,
) -> Option<DataFusionError> {
    let options = &state.config_options().catalog;
    for reference in references {
        let full = (reference.clone()).resolve(&options.default_catalog, &options.default_schema);
        if names.calls.contains(reference) || *full.catalog != *CATALOG {
            continue;
        }
        let found = match state.schema_for_ref(full.clone()) {
            Ok(schema) => schema.table(&full.table).await.ok()?.is_some(),
            Err(_) => false,
        };
        if !found {
            let error = match reference {
                TableReference::Partial { schema, table } if is_file_name(table) => {
                    let file = format!("{schema}.{table}");
                    plan_datafusion_err!(
                        "FROM: a file in single quotes is required, got {file} without: write FROM '{file}'"
                    )
                }
                _ => explain(state, &full.schema, &full.table),
            };
            let place = names.places.get(reference).copied();
            return Some(error.with_diagnostic_fn(|error| {
                Diagnostic::new_error(error.strip_backtrace(), place)
            }));
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
    let root = catalog.runs().store().place();
    let runs = catalog.runs().names().unwrap_or_default();
    if schema == PUBLIC && Table::canonical(table).is_some() {
        return match runs.first() {
            Some(first) => plan_datafusion_err!(
                "session: table {table} requires a selected run, got none of {}: choose one with \
                 SET polysema.run = '{first}', or name it as in {first}.{table}",
                listed(&runs)
            ),
            None => plan_datafusion_err!(
                "session: table {table} requires a run, got none in {root}: {MAKE_ONE}"
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
            let lasting = lasting.find(|name| store.has_kept(name));
            let lasting = lasting.map(|name| name.to_string());
            let elsewhere = lasting.or_else(|| catalog.info_table(table));
            if let Some(elsewhere) = elsewhere {
                return plan_datafusion_err!(
                    "session: a table of {schema} is required, got '{table}' (is '{elsewhere}' meant?); tables: {}",
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

/// What to do where the tables of a run are missing.
pub(super) struct ChooseRun(pub(super) Arc<Store>);

impl MissingTableAdvice for ChooseRun {
    fn advice(&self, runs: &[String]) -> String {
        match runs.first() {
            Some(first) => format!(
                "choose one with SET polysema.run = '{first}'; runs: {}",
                runs.join(", ")
            ),
            None => format!("the store {} has no run yet: {MAKE_ONE}", self.0.place()),
        }
    }
}
