//! CREATE EXTERNAL TABLE over files as a session reads them. What DataFusion makes of UNBOUNDED opens its file by itself: past
//! the policy, past what makes files whole or not there, and a pipe as well.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::plan_err;
use datafusion::datasource::listing_table_factory::ListingTableFactory;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::CreateExternalTable;

use crate::policy::{Access, Policy};

/// Puts ours in the place of DataFusion's, whatever the format.
pub(super) fn register(state: &mut SessionState) {
    for factory in state.table_factories_mut().values_mut() {
        *factory = Arc::new(ExternalTables::default());
    }
}

#[derive(Debug, Default)]
struct ExternalTables(ListingTableFactory);

#[async_trait]
impl TableProviderFactory for ExternalTables {
    async fn create(
        &self,
        state: &dyn Session,
        command: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        Policy::of(state).require("CREATE EXTERNAL TABLE", Access::ReadFiles)?;
        match command.unbounded {
            true => plan_err!(
                "CREATE EXTERNAL TABLE: files that end are required, got an UNBOUNDED table"
            ),
            false => self.0.create(state, command).await,
        }
    }
}
