//! A schema whose tables last, as DataFusion's catalog asks for it. What makes and drops its tables are statements of a
//! session: the catalog's own methods have no rows to wait for.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;

use super::name::KeptName;
use super::provider::KeptProvider;
use crate::store::Snapshot;

/// The tables of one schema.
#[derive(Debug)]
pub struct KeptSchema {
    seen: Arc<Snapshot>,
    name: String,
}

impl KeptSchema {
    /// As a statement sees it.
    pub fn new(seen: Arc<Snapshot>, name: &str) -> Self {
        let name = name.to_string();
        Self { seen, name }
    }
}

#[async_trait]
impl SchemaProvider for KeptSchema {
    /// A damaged table stays out of listings, which would fail as a whole; naming it says why.
    fn table_names(&self) -> Vec<String> {
        let mut names = self.seen.store().kept_tables(&self.name);
        if let Ok(names) = &mut names {
            names.retain(|table| {
                let table = self.seen.kept(&KeptName::new(&self.name, table));
                table.is_ok_and(|table| table.is_some())
            });
        }
        names.unwrap_or_default()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (seen, name) = (Arc::clone(&self.seen), KeptName::new(&self.name, name));
        let opened = tokio::task::spawn_blocking(move || seen.kept(&name)).await;
        let opened = opened.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?;
        let store = Arc::clone(self.seen.store());
        Ok(opened?.map(|table| Arc::new(KeptProvider::new(store, table)) as _))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        match table.table_type() {
            TableType::View => plan_err!(
                "CREATE VIEW: a schema of the session is required (public), got '{}', whose tables last",
                self.name
            ),
            _ => plan_err!(
                "a table of rows made by a session's CREATE TABLE is required in '{}', whose tables last, got \
                 another kind for '{name}'",
                self.name
            ),
        }
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        plan_err!(
            "a session's DROP TABLE is required for '{}.{name}', which lasts, got another statement",
            self.name
        )
    }

    fn table_exist(&self, name: &str) -> bool {
        let store = self.seen.store();
        store.has_kept(&KeptName::new(&self.name, name))
    }
}
