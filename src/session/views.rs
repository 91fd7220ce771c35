//! The views of `sql/views` over any run, planned when the catalog is asked for one.

use std::sync::Arc;

use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{MemoryCatalogProviderList, TableProvider};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::bound::bind;
use super::catalogs::StatementCatalogs;
use super::statement;
use crate::store::{StoreCatalog, Views};

/// Name and definition of every view.
const VIEWS: [(&str, &str); 5] = [
    (
        "cluster_sizes",
        include_str!("../../sql/views/cluster_sizes.sql"),
    ),
    (
        "dead_neurons",
        include_str!("../../sql/views/dead_neurons.sql"),
    ),
    (
        "layer_summary",
        include_str!("../../sql/views/layer_summary.sql"),
    ),
    (
        "monosemantic_neurons",
        include_str!("../../sql/views/monosemantic_neurons.sql"),
    ),
    (
        "polysemantic_neurons",
        include_str!("../../sql/views/polysemantic_neurons.sql"),
    ),
];

/// Plans views with the functions of a session.
pub(super) struct SqlViews {
    /// Has no catalogs: those of a view are given when it is planned.
    state: SessionState,
}

impl std::fmt::Debug for SqlViews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlViews")
    }
}

impl SqlViews {
    /// With the functions of this state, and not its catalogs: one of them owns the views, and neither would ever go.
    pub(super) fn new(mut state: SessionState) -> Self {
        state.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        Self { state }
    }

    async fn view(
        &self,
        catalog: StoreCatalog,
        run: &str,
        name: &str,
    ) -> Result<Arc<dyn TableProvider>> {
        let Some((_, sql)) = VIEWS.iter().find(|(known, _)| *known == name) else {
            return internal_err!("session: there is no view '{name}'");
        };
        let mut state = self.state.clone();
        state.register_catalog_list(Arc::new(StatementCatalogs::alone(catalog)));
        let options = state.config_mut().options_mut();
        options.catalog.default_schema = run.to_string();
        let statement = statement::parse(&state, sql)?;
        match state.statement_to_plan(statement).await? {
            LogicalPlan::Ddl(DdlStatement::CreateView(view)) => {
                let plan = bind(view.input.as_ref().clone(), run, true)?;
                Ok(Arc::new(ViewTable::new(plan, view.definition)))
            }
            _ => internal_err!("session: the definition of '{name}' is no view"),
        }
    }
}

impl Views for SqlViews {
    fn names(&self) -> Vec<&'static str> {
        VIEWS.map(|(name, _)| name).to_vec()
    }

    fn plan<'a>(
        &'a self,
        catalog: StoreCatalog,
        run: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>>> {
        self.view(catalog, run, name).boxed()
    }
}
