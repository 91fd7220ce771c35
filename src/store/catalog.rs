//! The catalog `polysema`: a schema per run, `info` over all runs, and the user's own tables in every schema.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;

use super::info::{INFO_TABLES, InfoTable};
use super::{RunTable, Store, Table};

/// Schema of the user's tables when no run is current.
const PUBLIC: &str = "public";
/// Schema of tables over all runs.
const INFO: &str = "info";

type Tables = RwLock<BTreeMap<String, Arc<dyn TableProvider>>>;
/// By schema and name.
type Views = RwLock<BTreeMap<(String, String), Arc<dyn TableProvider>>>;

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

/// The runs of a store as schemas, read from disk at each call, so that a new run appears at once.
#[derive(Debug)]
pub struct StoreCatalog {
    store: Arc<Store>,
    user: Arc<Tables>,
    views: Arc<Views>,
    info: Arc<InfoSchema>,
}

impl StoreCatalog {
    /// The catalog of a store.
    pub fn new(store: Arc<Store>) -> Self {
        let info = Arc::new(InfoSchema {
            store: Arc::clone(&store),
            extra: Tables::default(),
        });
        Self {
            store,
            user: Arc::default(),
            views: Arc::default(),
            info,
        }
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Shows a view in one schema, or replaces the one shown there; tables of the same name come before it.
    pub fn set_view(&self, schema: &str, name: &str, view: Arc<dyn TableProvider>) {
        let mut views = self.views.write().unwrap_or_else(|e| e.into_inner());
        views.insert((schema.to_string(), name.to_string()), view);
    }

    /// Shows a view no more.
    pub fn remove_view(&self, schema: &str, name: &str) {
        let mut views = self.views.write().unwrap_or_else(|e| e.into_inner());
        views.remove(&(schema.to_string(), name.to_string()));
    }

    /// Adds a table to the schema `info`, or replaces one added before.
    pub fn add_info_table(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        if INFO_TABLES.contains(&name) {
            return exec_err!("a new table of {INFO} is required, got '{name}'");
        }
        insert(&self.info.extra, name.to_string(), table);
        Ok(())
    }
}

impl CatalogProvider for StoreCatalog {
    fn schema_names(&self) -> Vec<String> {
        // The trait has no way to report an unreadable folder; opening a run does.
        let mut names = self.store.runs().unwrap_or_default();
        names.extend([INFO.to_string(), PUBLIC.to_string()]);
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            INFO => Some(Arc::clone(&self.info) as _),
            PUBLIC => Some(Arc::new(UserSchema {
                run: None,
                store: Arc::clone(&self.store),
                user: Arc::clone(&self.user),
                views: Arc::clone(&self.views),
            })),
            _ => self.store.has(name).then(|| {
                Arc::new(UserSchema {
                    run: Some(name.to_string()),
                    store: Arc::clone(&self.store),
                    user: Arc::clone(&self.user),
                    views: Arc::clone(&self.views),
                }) as _
            }),
        }
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
        drop_schema(&self.store, name, cascade).map(|()| Some(schema))
    }
}

/// What `DROP SCHEMA` means: the run goes, with its autoencoders.
fn drop_schema(store: &Store, name: &str, cascade: bool) -> Result<()> {
    if name == INFO || name == PUBLIC {
        return plan_err!("the schema of a run is required, got {name}");
    }
    if store.has(name) && !cascade {
        let saes = match store.saes_of(name).as_slice() {
            [] => String::new(),
            saes => format!(" and its autoencoders {}", saes.join(", ")),
        };
        return plan_err!(
            "DROP SCHEMA {name} CASCADE is required, since it removes run '{name}'{saes} from {}, got no CASCADE",
            store.root().display()
        );
    }
    store.drop_run(name, true).map(|_| ())
}

/// The user's tables, under a run's own when there is one.
#[derive(Debug)]
struct UserSchema {
    run: Option<String>,
    store: Arc<Store>,
    user: Arc<Tables>,
    views: Arc<Views>,
}

impl UserSchema {
    fn schema_name(&self) -> &str {
        self.run.as_deref().unwrap_or(PUBLIC)
    }

    fn view(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let views = self.views.read().unwrap_or_else(|e| e.into_inner());
        views
            .get(&(self.schema_name().to_string(), name.to_string()))
            .cloned()
    }

    fn view_names(&self) -> Vec<String> {
        let views = self.views.read().unwrap_or_else(|e| e.into_inner());
        let own = views
            .keys()
            .filter(|(schema, _)| schema == self.schema_name());
        own.map(|(_, name)| name.clone()).collect()
    }

    fn canonical(&self, name: &str) -> Option<(&str, Table)> {
        Some((self.run.as_deref()?, Table::canonical(name)?))
    }
}

#[async_trait]
impl SchemaProvider for UserSchema {
    /// A run lists its own tables only: the user's are listed once, in `public`.
    fn table_names(&self) -> Vec<String> {
        let mut listed = match &self.run {
            None => names(&self.user),
            // An unreadable run stays out of listings, which would fail as a whole; naming its tables says why.
            Some(run) if self.store.run(run).is_err() => return vec![],
            Some(_) => Table::CANONICAL.map(|t| t.name().to_string()).to_vec(),
        };
        let views = self.view_names();
        listed.extend(
            views
                .into_iter()
                .filter(|view| get(&self.user, view).is_none()),
        );
        listed
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.canonical(name) {
            Some((run, table)) => {
                let run = self.store.run(run)?;
                Ok(Some(Arc::new(RunTable::new(run, table)?)))
            }
            None => Ok(get(&self.user, name).or_else(|| self.view(name))),
        }
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some((run, _)) = self.canonical(&name) {
            return exec_err!(
                "a name other than the tables of run '{run}' is required, got '{name}'"
            );
        }
        Ok(insert(&self.user, name, table))
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some((run, _)) = self.canonical(name) {
            return exec_err!("a table of your own is required, got '{name}' of run '{run}'");
        }
        let mut tables = self.user.write().unwrap_or_else(|e| e.into_inner());
        Ok(tables.remove(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        // Not the views: they give way to a table of that name.
        self.canonical(name).is_some() || get(&self.user, name).is_some()
    }
}

/// Tables over all runs.
#[derive(Debug)]
struct InfoSchema {
    store: Arc<Store>,
    extra: Tables,
}

#[async_trait]
impl SchemaProvider for InfoSchema {
    fn table_names(&self) -> Vec<String> {
        let mut all = INFO_TABLES.map(str::to_string).to_vec();
        all.extend(names(&self.extra));
        all
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match InfoTable::new(&self.store, name) {
            Some(table) => Ok(Some(Arc::new(table))),
            None => Ok(get(&self.extra, name)),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        INFO_TABLES.contains(&name) || get(&self.extra, name).is_some()
    }
}
