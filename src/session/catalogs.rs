//! The catalogs of one statement: the session's, with one state of every run in place of what is on disk at each call.

use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;

use crate::store::{Run, RunTable, StoreCatalog};

/// The one catalog.
pub const CATALOG: &str = "polysema";

/// A session's catalogs, with the store's as one statement sees it.
#[derive(Debug)]
pub(super) struct StatementCatalogs {
    session: Arc<dyn CatalogProviderList>,
    store: Arc<StoreCatalog>,
}

impl StatementCatalogs {
    pub(super) fn new(session: Arc<dyn CatalogProviderList>, store: StoreCatalog) -> Self {
        Self {
            session,
            store: Arc::new(store),
        }
    }

    /// The store's catalog alone.
    pub(super) fn alone(store: StoreCatalog) -> Self {
        Self::new(Arc::new(MemoryCatalogProviderList::new()), store)
    }
}

impl CatalogProviderList for StatementCatalogs {
    fn register_catalog(
        &self,
        name: String,
        catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        self.session.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        let mut names = self.session.catalog_names();
        if !names.iter().any(|name| name == CATALOG) {
            names.push(CATALOG.to_string());
        }
        names
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        match name {
            CATALOG => Some(Arc::clone(&self.store) as _),
            _ => self.session.catalog(name),
        }
    }
}

/// The runs whose tables a plan reads, each in the state it was planned with.
pub(super) fn runs_of(plan: &LogicalPlan) -> Result<Vec<Arc<Run>>> {
    let mut runs: Vec<Arc<Run>> = vec![];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<RunTable>()
            && !runs.iter().any(|run| run.name() == table.run().name())
        {
            runs.push(Arc::clone(table.run()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(runs)
}
