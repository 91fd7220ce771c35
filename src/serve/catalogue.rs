//! What clients of PostgreSQL find in every session: the schemas `pg_catalog` and `information_schema`, and the functions by
//! which a client asks about the server, its session and itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int32Type;
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList, TableFunction};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::generate_series_arg_coercion::CoerceIntArgsToBigInt;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, array_bounds_udf,
    create_pg_get_partition_ancestors_udf, create_pg_get_statisticsobjdef_columns_udf,
    create_pg_relation_is_publishable_udf, create_pg_table_is_visible, format_type,
    quote_ident_udf,
};

use super::functions;
use super::information_schema::InformationSchema;
use super::objects::{Oids, SessionView};
use super::pg_tables::{Fixed, PgCatalog};
use super::settings::PostgresSettings;
use super::users::Role;
use crate::session::Session;

/// The parts that all sessions share.
pub(super) struct Catalogue {
    tables: Arc<PgCatalogStaticTables>,
    fixed: Arc<Fixed>,
    oids: Arc<Oids>,
    types: Arc<HashMap<String, i32>>,
    values: Vec<Arc<ScalarUDF>>,
    rows: Vec<Arc<TableFunction>>,
}

/// Who a session is of.
pub(super) struct SessionClient<'a> {
    pub(super) user: &'a str,
    pub(super) role: Role,
    /// The name of the database that it has connected to.
    pub(super) database: &'a str,
    pub(super) connection: i32,
}

impl Catalogue {
    pub(super) fn new() -> Result<Self> {
        let tables = Arc::new(PgCatalogStaticTables::try_new()?);
        let context = SessionContext::new();
        CoerceIntArgsToBigInt::widen(&context);
        context.register_udtf("pg_get_keywords", Arc::clone(&tables.pg_get_keywords) as _);
        let rows = context
            .state()
            .table_functions()
            .values()
            .cloned()
            .collect();
        let values = [
            array_bounds_udf::create_array_lower_udf(),
            array_bounds_udf::create_array_upper_udf(),
            create_pg_get_partition_ancestors_udf(),
            create_pg_get_statisticsobjdef_columns_udf(),
            create_pg_relation_is_publishable_udf(),
            create_pg_table_is_visible(),
            format_type::create_format_type_udf(),
            quote_ident_udf::create_parse_ident_udf(),
            quote_ident_udf::create_quote_ident_udf(),
        ]
        .map(Arc::new)
        .to_vec();
        let nothing: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
        let fixed =
            PgCatalogSchemaProvider::try_new(nothing, Arc::clone(&tables), EmptyContextProvider)?;
        Ok(Self {
            fixed: Arc::new(fixed),
            oids: Arc::new(Oids::new(information_schema(&tables))),
            types: Arc::new(types(&tables)),
            tables,
            values,
            rows,
        })
    }

    /// Adds all of it to a session.
    pub(super) fn add_to(
        &self,
        session: &Session,
        settings: &Arc<Mutex<PostgresSettings>>,
        client: SessionClient<'_>,
    ) -> Result<()> {
        let context = session.context();
        let lock = context.state_ref();
        let state = lock.read().clone();
        let seen = Arc::new(SessionView {
            catalogs: Arc::downgrade(state.catalog_list()),
            oids: Arc::clone(&self.oids),
            store: Arc::clone(session.store()),
            settings: Arc::clone(settings),
            user: client.user.to_string(),
            role: client.role,
            database: client.database.to_string(),
            connection: client.connection,
            types: Arc::clone(&self.types),
            meanings: Mutex::default(),
        });
        let mut state = SessionStateBuilder::new_from_existing(state)
            .with_type_planner(Arc::new(PgOidTypePlanner))
            .build();
        // The session's own takes its place.
        let options = state.config_mut().options_mut();
        options.catalog.information_schema = false;
        let own = functions::of_session(&seen).map(Arc::new);
        for function in self.values.iter().cloned().chain(own) {
            state.register_udf(function)?;
        }
        for function in &self.rows {
            state.register_udtf(function.name(), Arc::clone(function.function()));
        }
        *lock.write() = state;
        let weak = context.state_weak_ref();
        let information = InformationSchema {
            seen: Arc::clone(&seen),
            functions: Box::new(move || {
                let state = weak.upgrade();
                // It may be asked while the state is being read, where another reader must not wait for a writer.
                state.map_or_else(HashMap::new, |state| {
                    state.read_recursive().table_functions().clone()
                })
            }),
        };
        session.add_schema("information_schema", Arc::new(information));
        let catalog = PgCatalog::new(seen, Arc::clone(&self.fixed), &self.tables);
        session.add_schema("pg_catalog", Arc::new(catalog));
        Ok(())
    }
}

/// PostgreSQL's types by their names.
fn types(tables: &PgCatalogStaticTables) -> HashMap<String, i32> {
    of_types(tables, "oid").collect()
}

/// The schema that the types of `information_schema` are in.
fn information_schema(tables: &PgCatalogStaticTables) -> i32 {
    let mut schemas = of_types(tables, "typnamespace");
    let own = schemas.find(|(name, _)| name == "sql_identifier");
    own.map_or(13_000, |(_, schema)| schema)
}

/// A number of each type by the type's name.
fn of_types(
    tables: &PgCatalogStaticTables,
    column: &'static str,
) -> impl Iterator<Item = (String, i32)> {
    tables.pg_type.data().iter().flat_map(move |batch| {
        let names = batch.column_by_name("typname");
        let names = names.and_then(|names| names.as_string_opt::<i32>());
        let numbers = batch.column_by_name(column);
        let numbers = numbers.and_then(|numbers| numbers.as_primitive_opt::<Int32Type>());
        let pairs = names
            .into_iter()
            .flatten()
            .zip(numbers.into_iter().flatten());
        pairs.filter_map(|(name, number)| Some((name?.to_string(), number?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{CATALOG, Engine, EngineOptions};

    #[test]
    fn a_session_that_ends_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(&EngineOptions {
            store: folder.path().join("s"),
            memory_limit: None,
            loaded_limit: None,
        });
        let session = engine.unwrap().session(Role::Reader.policy()).unwrap();
        let client = SessionClient {
            user: "ana",
            role: Role::Reader,
            database: CATALOG,
            connection: 1,
        };
        let catalogue = Catalogue::new().unwrap();
        catalogue.add_to(&session, &Arc::default(), client).unwrap();
        let left = Arc::downgrade(session.context().state().catalog_list());
        drop(session);
        assert!(left.upgrade().is_none());
    }
}
