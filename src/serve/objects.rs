//! A session's schemas, tables and columns as PostgreSQL's clients know them: under numbers that all sessions of a server
//! share, since a client asks on one connection about what it has found on another.

use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arrow_pg::datatypes::field_into_pg_type;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, TableProvider};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use futures::FutureExt;
use futures::future::ready;
use pgwire::api::Type;

use super::live::{LiveColumn, table_of};
use super::settings::PostgresSettings;
use super::users::Role;
use crate::session::CATALOG;
use crate::store::{PUBLIC, Store, StoreCatalog};

/// The number of the one user that a client sees: itself.
pub(super) const USER: i32 = 10;
/// The first number of an object that is not PostgreSQL's own.
const FIRST: i32 = 16384;

/// Tables of PostgreSQL's own that others name by their number.
const KNOWN: [(&str, i32); 8] = [
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_authid", 1260),
    ("pg_database", 1262),
    ("pg_constraint", 2606),
    ("pg_namespace", 2615),
];

/// What was given a number: a schema and a name in it, or one of both.
type Named = Arc<[String; 2]>;

/// The numbers that a server has given, to names that are never forgotten: a few bytes each.
pub(super) struct Oids {
    given: Mutex<(HashMap<Named, i32>, Vec<Named>)>,
    /// That of `information_schema`, which PostgreSQL's own types name.
    information_schema: i32,
}

impl Oids {
    pub(super) fn new(information_schema: i32) -> Self {
        Self {
            given: Mutex::default(),
            information_schema,
        }
    }

    fn given(&self, one: &str, other: &str) -> i32 {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let (numbers, names) = &mut *given;
        let named = Arc::new([one.to_string(), other.to_string()]);
        if let Some(oid) = numbers.get(&named) {
            return *oid;
        }
        let oid = FIRST.saturating_add(i32::try_from(names.len()).unwrap_or(i32::MAX));
        names.push(Arc::clone(&named));
        numbers.insert(named, oid);
        oid
    }

    /// The schema and the name of what has a number; one of both is empty for a schema or a database.
    pub(super) fn named(&self, oid: i32) -> Option<Named> {
        let known = KNOWN.iter().find(|(_, known)| *known == oid);
        let fixed = [
            (11, "pg_catalog"),
            (self.information_schema, "information_schema"),
            (2200, PUBLIC),
        ];
        let schema = fixed.iter().find(|(fixed, _)| *fixed == oid);
        let own = match (known, schema) {
            (Some((name, _)), _) => ["pg_catalog", *name],
            (None, Some((_, name))) => [*name, ""],
            (None, None) => {
                let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
                let at = usize::try_from(oid.checked_sub(FIRST)?).ok()?;
                return given.1.get(at).cloned();
            }
        };
        Some(Arc::new(own.map(str::to_string)))
    }

    fn database(&self, name: &str) -> i32 {
        self.given("", name)
    }

    pub(super) fn schema(&self, name: &str) -> i32 {
        match name {
            "pg_catalog" => 11,
            "information_schema" => self.information_schema,
            PUBLIC => 2200,
            name => self.given(name, ""),
        }
    }

    pub(super) fn relation(&self, schema: &str, name: &str) -> i32 {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        match known.filter(|_| schema == "pg_catalog") {
            Some((_, oid)) => *oid,
            None => self.given(schema, name),
        }
    }
}

/// A database that a client may connect to: the store, or one of its runs.
pub(super) struct DatabaseRow {
    pub(super) oid: i32,
    pub(super) name: String,
}

/// A schema.
pub(super) struct SchemaRow {
    pub(super) oid: i32,
    pub(super) name: String,
    pub(super) owner: String,
}

/// A table or a view.
pub(super) struct RelationRow {
    pub(super) oid: i32,
    pub(super) schema_oid: i32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) is_view: bool,
    pub(super) takes_rows: bool,
    pub(super) n_columns: i16,
    /// The query of a view.
    pub(super) definition: Option<String>,
    pub(super) owner: String,
}

/// As its columns and the catalogue's rows share it.
pub(super) type Relation = Arc<RelationRow>;

/// A column of one.
pub(super) struct ColumnRow {
    pub(super) relation: Relation,
    pub(super) number: i16,
    pub(super) name: String,
    pub(super) may_be_null: bool,
    pub(super) kind: Type,
    /// Digits of a number, and those after its point, where its type says so.
    pub(super) digits: Option<[i32; 2]>,
    pub(super) meaning: Option<&'static str>,
}

/// What the columns of a table mean, where something says it.
type Meanings = Vec<Option<&'static str>>;

/// What one session sees, and who asks.
pub(super) struct SessionView {
    /// Weakly: the catalogs own the tables that own this.
    pub(super) catalogs: Weak<dyn CatalogProviderList>,
    pub(super) oids: Arc<Oids>,
    pub(super) store: Arc<Store>,
    pub(super) settings: Arc<Mutex<PostgresSettings>>,
    pub(super) user: String,
    pub(super) role: Role,
    /// The name that the client has connected to.
    pub(super) database: String,
    pub(super) connection: i32,
    /// The numbers of PostgreSQL's types by their names.
    pub(super) types: Arc<HashMap<String, i32>>,
    /// What the columns of the table mean that was asked about last.
    pub(super) meanings: Mutex<Option<(i32, Meanings)>>,
}

impl Debug for SessionView {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SessionView")
            .field(&self.connection)
            .finish()
    }
}

impl SessionView {
    pub(super) fn settings(&self) -> MutexGuard<'_, PostgresSettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn catalogs(&self) -> Result<Arc<dyn CatalogProviderList>> {
        let catalogs = self.catalogs.upgrade();
        catalogs.ok_or_else(|| {
            exec_datafusion_err!("an open session is required, got one that has ended")
        })
    }

    pub(super) fn catalog(&self) -> Result<Arc<dyn CatalogProvider>> {
        let catalog = self.catalogs()?.catalog(CATALOG);
        catalog.ok_or_else(|| exec_datafusion_err!("the catalog {CATALOG} is required, got none"))
    }

    /// The databases: the store, its runs, and the one that tools look for.
    pub(super) fn databases(&self) -> Result<Vec<DatabaseRow>> {
        let mut names = self.store.runs()?;
        names.extend([CATALOG.to_string(), "postgres".to_string()]);
        if !names.contains(&self.database) {
            names.push(self.database.clone());
        }
        let row = |name: String| DatabaseRow {
            oid: self.oids.database(&name),
            name,
        };
        Ok(names.into_iter().map(row).collect())
    }

    /// The database that statements name: the store, whichever name the client has connected to.
    pub(super) fn database_row(&self) -> DatabaseRow {
        DatabaseRow {
            oid: self.oids.database(CATALOG),
            name: CATALOG.to_string(),
        }
    }

    /// The schemas.
    pub(super) fn schemas(&self) -> Result<Vec<SchemaRow>> {
        let row = |name: String| SchemaRow {
            oid: self.oids.schema(&name),
            name,
            owner: self.user.clone(),
        };
        Ok(self
            .catalog()?
            .schema_names()
            .into_iter()
            .map(row)
            .collect())
    }

    /// The tables and views of all schemas, with what they are read from. One that cannot be read is left out: asking it
    /// says why.
    async fn relations(&self) -> Result<Vec<(Relation, Arc<dyn TableProvider>)>> {
        let catalog = self.catalog()?;
        let store = catalog.downcast_ref::<StoreCatalog>();
        let mut relations = vec![];
        for schema_name in catalog.schema_names() {
            let Some(schema) = catalog.schema(&schema_name) else {
                continue;
            };
            let schema_oid = self.oids.schema(&schema_name);
            for name in schema.table_names() {
                let Ok(Some(table)) = schema.table(&name).await else {
                    continue;
                };
                let n_columns = table.schema().fields().len();
                let is_view = table.table_type() == TableType::View;
                let only_read = store.is_none_or(|store| store.is_read_only(&schema_name, &name));
                let relation = RelationRow {
                    oid: self.oids.relation(&schema_name, &name),
                    schema_oid,
                    schema: schema_name.clone(),
                    name,
                    is_view,
                    takes_rows: !only_read && !is_view,
                    n_columns: i16::try_from(n_columns).unwrap_or(i16::MAX),
                    definition: table.get_table_definition().and_then(query_of),
                    owner: self.user.clone(),
                };
                relations.push((Arc::new(relation), table));
            }
        }
        Ok(relations)
    }

    /// A table of the catalogue with rows that are known at once.
    pub(super) fn table_as<R: Send + 'static>(
        self: &Arc<Self>,
        columns: &'static [LiveColumn<R>],
        rows: fn(&Self) -> Result<Vec<R>>,
    ) -> Result<Arc<dyn TableProvider>> {
        let seen = Arc::clone(self);
        table_of(columns, move || ready(rows(&seen)).boxed())
    }

    /// A table of the catalogue with a row for each table and view of which something holds.
    pub(super) fn relations_as(
        self: &Arc<Self>,
        columns: &'static [LiveColumn<Relation>],
        holds: fn(&RelationRow) -> bool,
    ) -> Result<Arc<dyn TableProvider>> {
        let seen = Arc::clone(self);
        table_of(columns, move || Arc::clone(&seen).those(holds).boxed())
    }

    /// A table of the catalogue with a row for each of their columns.
    pub(super) fn columns_as(
        self: &Arc<Self>,
        columns: &'static [LiveColumn<ColumnRow>],
    ) -> Result<Arc<dyn TableProvider>> {
        let seen = Arc::clone(self);
        table_of(columns, move || Arc::clone(&seen).columns().boxed())
    }

    /// The columns of all tables and views.
    pub(super) async fn columns(self: Arc<Self>) -> Result<Vec<ColumnRow>> {
        let catalog = self.catalog()?;
        let store = catalog.downcast_ref::<StoreCatalog>();
        let mut columns = vec![];
        for (relation, table) in self.relations().await? {
            let meanings = store.map_or(vec![], |store| {
                store.meanings(&relation.schema, &relation.name, table.as_ref())
            });
            for (at, field) in table.schema().fields().iter().enumerate() {
                columns.push(ColumnRow {
                    relation: Arc::clone(&relation),
                    number: i16::try_from(at + 1).unwrap_or(i16::MAX),
                    name: field.name().clone(),
                    may_be_null: field.is_nullable(),
                    kind: postgres_type(field),
                    digits: digits(field.data_type()),
                    meaning: meanings.get(at).copied().flatten(),
                });
            }
        }
        Ok(columns)
    }

    /// The tables and views of which something holds.
    async fn those(self: Arc<Self>, holds: fn(&RelationRow) -> bool) -> Result<Vec<Relation>> {
        let relations = self.relations().await?.into_iter().map(|(row, _)| row);
        Ok(relations.filter(|row| holds(row)).collect())
    }

    /// The query of a view by its number; none where it cannot be said at once.
    pub(super) fn definition(&self, oid: i32) -> Option<String> {
        let table = self.table(oid)?;
        table.get_table_definition().and_then(query_of)
    }

    fn table(&self, oid: i32) -> Option<Arc<dyn TableProvider>> {
        let named = self.oids.named(oid)?;
        let [schema, name] = named.as_ref();
        let schema = self.catalog().ok()?.schema(schema)?;
        schema.table(name).now_or_never()?.ok()?
    }

    /// What a column means, by its number from 1; none where it cannot be said at once.
    pub(super) fn meaning(&self, oid: i32, column: i32) -> Option<&'static str> {
        let at = usize::try_from(column.checked_sub(1)?).ok()?;
        let mut last = self.meanings.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(known, _)| *known != oid) {
            let named = self.oids.named(oid)?;
            let [schema, name] = named.as_ref();
            let catalog = self.catalog().ok()?;
            let table = self.table(oid)?;
            let store = catalog.downcast_ref::<StoreCatalog>()?;
            *last = Some((oid, store.meanings(schema, name, table.as_ref())));
        }
        let (_, meanings) = last.as_ref()?;
        meanings.get(at).copied().flatten()
    }
}

/// What follows `CREATE VIEW name AS`.
fn query_of(definition: &str) -> Option<String> {
    let (_, query) = definition.split_once(" AS ")?;
    Some(query.to_string())
}

/// The type that a column is sent as; text where PostgreSQL has none for it.
fn postgres_type(field: &FieldRef) -> Type {
    field_into_pg_type(field).unwrap_or(Type::TEXT)
}

fn digits(kind: &DataType) -> Option<[i32; 2]> {
    match kind {
        DataType::Decimal128(digits, scale) | DataType::Decimal256(digits, scale) => {
            Some([i32::from(*digits), i32::from(*scale)])
        }
        _ => None,
    }
}
