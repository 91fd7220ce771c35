//! The catalog `polysema`: a schema per run, `info` over all runs, and the user's own tables in every schema.
//! Above 400 lines, since it is one catalog.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use futures::future::BoxFuture;

use super::info::{INFO_TABLES, InfoTable};
use super::info_meanings::meaning;
use super::kept::KeptSchema;
use super::snapshot::Snapshot;
use super::{Run, RunTable, Store, Table};
use crate::policy::{Access, Policy};

/// Schema of the user's tables, and the one that unqualified names mean while no run is selected.
pub const PUBLIC: &str = "public";
/// Schema of tables over all runs.
const INFO: &str = "info";

type Tables = RwLock<BTreeMap<String, Arc<dyn TableProvider>>>;

fn get(tables: &Tables, name: &str) -> Option<Arc<dyn TableProvider>> {
    let tables = tables.read().unwrap_or_else(|e| e.into_inner());
    tables.get(name).cloned()
}

fn names(tables: &Tables) -> Vec<String> {
    let tables = tables.read().unwrap_or_else(|e| e.into_inner());
    tables.keys().cloned().collect()
}

fn insert(
    tables: &Tables,
    name: String,
    table: Arc<dyn TableProvider>,
) -> Option<Arc<dyn TableProvider>> {
    let mut tables = tables.write().unwrap_or_else(|e| e.into_inner());
    tables.insert(name, table)
}

/// The views that every run has. The store knows no SQL; who does plans them.
pub trait Views: Debug + Send + Sync {
    /// Their names, sorted.
    fn names(&self) -> Vec<&'static str>;

    /// One of them over the tables that `catalog` has of a run, named in lower case.
    fn plan<'a>(
        &'a self,
        catalog: StoreCatalog,
        run: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>>>;
}

/// The run that a session's unqualified names mean now.
pub trait Selected: Debug + Send + Sync {
    /// Its name, if one is selected.
    fn run(&self) -> Option<String>;
}

/// What the catalogs of a session share.
#[derive(Debug)]
struct Shared {
    user: Tables,
    info: Tables,
    /// Schemas that a front end shows beside the store's, which no statement changes.
    added: RwLock<BTreeMap<String, Arc<dyn SchemaProvider>>>,
    views: Option<Arc<dyn Views>>,
    policy: Arc<Policy>,
}

/// The runs of a store as schemas, read from disk at each call, so that a new run appears at once; those of a statement
/// are read once.
#[derive(Debug, Clone)]
pub struct StoreCatalog {
    runs: Arc<Snapshot>,
    shared: Arc<Shared>,
    /// What the statement reads by its path.
    files: Arc<Tables>,
    selected: Option<Arc<dyn Selected>>,
}

impl StoreCatalog {
    /// The catalog of a store without views.
    pub fn new(store: Arc<Store>) -> Self {
        Self::of_session(store, None, Arc::new(Policy::everything()), None)
    }

    /// The catalog of one session. Its schema `public` has the tables of the selected run too, for statements whose
    /// default schema nobody set.
    pub fn of_session(
        store: Arc<Store>,
        views: Option<Arc<dyn Views>>,
        policy: Arc<Policy>,
        selected: Option<Arc<dyn Selected>>,
    ) -> Self {
        Self {
            runs: Arc::new(Snapshot::live(store)),
            shared: Arc::new(Shared {
                user: Tables::default(),
                info: Tables::default(),
                added: RwLock::default(),
                views,
                policy,
            }),
            files: Arc::default(),
            selected,
        }
    }

    /// The same catalog for one statement: it sees one state of each run, that of `runs` for those.
    pub fn of_statement(&self, runs: Vec<Arc<Run>>) -> Self {
        Self {
            runs: Arc::new(Snapshot::of_statement(Arc::clone(self.runs.store()), runs)),
            shared: Arc::clone(&self.shared),
            files: Arc::default(),
            selected: None,
        }
    }

    /// The catalog that a session's unqualified names are looked up in, if it is a store's.
    pub fn of(state: &dyn Session) -> Option<Self> {
        let name = &state.config_options().catalog.default_catalog;
        let catalog = state.catalog_list().catalog(name)?;
        catalog.downcast_ref::<Self>().cloned()
    }

    /// The runs it shows.
    pub fn runs(&self) -> &Snapshot {
        &self.runs
    }

    /// What it shows, to be shared with who reads for the same statement.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.runs)
    }

    /// The run whose tables a schema has; none of a schema that belongs to no run.
    ///
    /// Errors: it is missing or damaged.
    pub fn run_of(&self, schema: &str) -> Result<Option<Arc<Run>>> {
        match schema {
            INFO => Ok(None),
            PUBLIC => self
                .selected_run()
                .map(|run| self.runs.run(&run))
                .transpose(),
            name => self.runs.run(name).map(Some),
        }
    }

    fn selected_run(&self) -> Option<String> {
        let run = self.selected.as_ref()?.run()?;
        self.runs.has(&run).then_some(run)
    }

    /// Whether statements may only read a table: a run's own tables and views, and those of `info`.
    pub fn is_read_only(&self, schema: &str, table: &str) -> bool {
        let Some(tables) = self.schema(schema) else {
            return false;
        };
        if schema == INFO || self.added(schema).is_some() {
            return tables.table_exist(table);
        }
        let views = self.shared.views.as_ref();
        let is_view = views.is_some_and(|views| views.names().contains(&table));
        let of_run = self.runs.has(schema) || (schema == PUBLIC && self.selected_run().is_some());
        let is_own = get(&self.shared.user, table).is_some();
        of_run && (Table::canonical(table).is_some() || (is_view && !is_own))
    }

    /// What each column of a table means, where it is of a run, one of its views, or of `info`.
    pub fn meanings(
        &self,
        schema: &str,
        name: &str,
        table: &dyn TableProvider,
    ) -> Vec<Option<&'static str>> {
        if let Some(table) = table.downcast_ref::<RunTable>() {
            return table.meanings();
        }
        // What was added is another's, whatever its columns are called.
        let is_known = self.added(schema).is_none() && self.is_read_only(schema, name);
        let of = |column: &str| is_known.then(|| meaning(schema != INFO, name, column))?;
        let columns = table.schema();
        columns
            .fields()
            .iter()
            .map(|field| of(field.name()))
            .collect()
    }

    /// The whole name of a table of `info`.
    pub fn info_table(&self, table: &str) -> Option<String> {
        let known = self.schema(INFO)?.table_exist(table);
        known.then(|| format!("{INFO}.{table}"))
    }

    /// Adds a table to a statement, which gives way to every other of that name.
    pub fn add_file(&self, path: &str, table: Arc<dyn TableProvider>) {
        insert(&self.files, path.to_string(), table);
    }

    /// Adds a schema to the session, which statements only read.
    pub fn add_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) {
        let mut added = self.shared.added.write().unwrap_or_else(|e| e.into_inner());
        added.insert(name.to_string(), schema);
    }

    fn added(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let added = self.shared.added.read().unwrap_or_else(|e| e.into_inner());
        added.get(name).cloned()
    }

    /// Adds a table to the schema `info`, or replaces one added before.
    pub fn add_info_table(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        if INFO_TABLES.contains(&name) {
            return exec_err!("a new table of {INFO} is required, got '{name}'");
        }
        insert(&self.shared.info, name.to_string(), table);
        Ok(())
    }
}

impl CatalogProvider for StoreCatalog {
    fn schema_names(&self) -> Vec<String> {
        // The trait has no way to report an unreadable folder; opening a run does.
        let mut names = self.runs.names().unwrap_or_default();
        names.extend(self.runs.store().schemas().unwrap_or_default());
        names.extend([INFO.to_string(), PUBLIC.to_string()]);
        let added = self.shared.added.read().unwrap_or_else(|e| e.into_inner());
        names.extend(added.keys().cloned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let catalog = self.clone();
        match name {
            INFO => Some(Arc::new(InfoSchema { catalog })),
            _ if self.added(name).is_some() => self.added(name),
            PUBLIC => Some(Arc::new(UserSchema { run: None, catalog })),
            _ if self.runs.has(name) => {
                let run = Some(name.to_string());
                Some(Arc::new(UserSchema { run, catalog }))
            }
            _ => {
                let lasts = self.runs.store().has_schema(name);
                lasts.then(|| Arc::new(KeptSchema::new(self.snapshot(), name)) as _)
            }
        }
    }

    /// What `CREATE SCHEMA` means: tables in it last.
    fn register_schema(
        &self,
        name: &str,
        _: Arc<dyn SchemaProvider>,
    ) -> Result<Option<Arc<dyn SchemaProvider>>> {
        let policy = &self.shared.policy;
        policy.require("CREATE SCHEMA", Access::CreateTables)?;
        policy.require("CREATE SCHEMA", Access::RunJobs)?;
        self.runs.store().create_schema(name).map(|()| None)
    }

    fn deregister_schema(
        &self,
        name: &str,
        cascade: bool,
    ) -> Result<Option<Arc<dyn SchemaProvider>>> {
        // Whether one that is not there is an error, the statement says.
        let Some(schema) = self.schema(name) else {
            return Ok(None);
        };
        let policy = &self.shared.policy;
        policy.require("DROP SCHEMA", Access::RunJobs)?;
        drop_schema(self.runs.store(), name, cascade).map(|()| Some(schema))
    }
}

/// What `DROP SCHEMA` means: the run goes, with its autoencoders, or the tables that last.
fn drop_schema(store: &Store, name: &str, cascade: bool) -> Result<()> {
    if name == INFO || name == PUBLIC {
        return plan_err!("the schema of a run or of tables that last is required, got {name}");
    }
    if !store.has(name) && store.has_schema(name) {
        return store.drop_schema(name, cascade);
    }
    if store.has(name) && !cascade {
        let saes = match store.saes_of(name).as_slice() {
            [] => String::new(),
            saes => format!(" and its autoencoders {}", saes.join(", ")),
        };
        return plan_err!(
            "DROP SCHEMA {name} CASCADE is required, since it removes run '{name}'{saes} from {}, got no CASCADE",
            store.place()
        );
    }
    store.drop_run(name, true).map(|_| ())
}

/// The user's tables, under a run's own when there is one.
#[derive(Debug)]
struct UserSchema {
    run: Option<String>,
    catalog: StoreCatalog,
}

impl UserSchema {
    fn user(&self) -> &Tables {
        &self.catalog.shared.user
    }

    /// The run whose tables it has.
    fn run(&self) -> Option<String> {
        self.run.clone().or_else(|| self.catalog.selected_run())
    }

    fn views(&self) -> Vec<&'static str> {
        let views = self.catalog.shared.views.as_ref();
        views.map_or(vec![], |views| views.names())
    }

    fn require(&self, asked: &str) -> Result<()> {
        let policy = &self.catalog.shared.policy;
        policy.require(asked, Access::CreateTables)
    }
}

#[async_trait]
impl SchemaProvider for UserSchema {
    /// A run lists its own tables and views only: the user's are listed once, in `public`.
    fn table_names(&self) -> Vec<String> {
        match &self.run {
            None => names(self.user()),
            // An unreadable run stays out of listings, which would fail as a whole; naming its tables says why.
            Some(run) if self.catalog.runs.run(run).is_err() => vec![],
            Some(_) => {
                let views = self.views();
                let shown = views
                    .into_iter()
                    .filter(|view| get(self.user(), view).is_none());
                let tables = Table::CANONICAL.map(Table::name).into_iter();
                tables.chain(shown).map(str::to_string).collect()
            }
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let run = self.run();
        if let (Some(run), Some(table)) = (&run, Table::canonical(name)) {
            let run = self.catalog.runs.run(run)?;
            return Ok(Some(Arc::new(RunTable::new(run, table)?)));
        }
        if let Some(table) = get(self.user(), name) {
            return Ok(Some(table));
        }
        match (&run, &self.catalog.shared.views) {
            (Some(run), Some(views)) if views.names().contains(&name) => {
                let catalog = self.catalog.clone();
                views.plan(catalog, run, name).await.map(Some)
            }
            _ => Ok(get(&self.catalog.files, name)),
        }
    }

    /// Without planning a view.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        if self.run().is_some() && Table::canonical(name).is_some() {
            return Ok(Some(TableType::Base));
        }
        if let Some(table) = get(self.user(), name) {
            return Ok(Some(table.table_type()));
        }
        let is_view = self.run().is_some() && self.views().contains(&name);
        Ok(is_view.then_some(TableType::View))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        self.require("CREATE")?;
        if let (Some(run), Some(_)) = (self.run(), Table::canonical(&name)) {
            return exec_err!(
                "a name other than the tables of run '{run}' is required, got '{name}'"
            );
        }
        Ok(insert(self.user(), name, table))
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.require("DROP")?;
        if let (Some(run), Some(_)) = (self.run(), Table::canonical(name)) {
            return exec_err!("a table of your own is required, got '{name}' of run '{run}'");
        }
        let mut tables = self.user().write().unwrap_or_else(|e| e.into_inner());
        Ok(tables.remove(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        // Not the views: they give way to a table of that name.
        let canonical = self.run().is_some() && Table::canonical(name).is_some();
        canonical || get(self.user(), name).is_some()
    }
}

/// Tables over all runs.
#[derive(Debug)]
struct InfoSchema {
    catalog: StoreCatalog,
}

#[async_trait]
impl SchemaProvider for InfoSchema {
    fn table_names(&self) -> Vec<String> {
        let mut all = INFO_TABLES.map(str::to_string).to_vec();
        all.extend(names(&self.catalog.shared.info));
        all
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match InfoTable::new(&self.catalog.runs, name) {
            Some(table) => Ok(Some(Arc::new(table))),
            None => Ok(get(&self.catalog.shared.info, name)),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        INFO_TABLES.contains(&name) || get(&self.catalog.shared.info, name).is_some()
    }
}
