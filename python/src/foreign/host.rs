//! The tables of the session that asks for a plan. They are scanned with that session and not with the one of this library
//! that plans the rest: a view, for one, is planned by the session that knows its tables.

use std::fmt;
use std::mem::transmute;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, SchemaProvider, Session, TableProvider,
};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::drive::{Chores, driven};

/// A session for as long as it waits for an answer.
pub struct Lent {
    session: &'static dyn Session,
    chores: Arc<Chores>,
}

impl Lent {
    /// Lends the session to what holds the other end of this: the guard must be dropped before the session is.
    ///
    /// # Safety
    ///
    /// The caller drops the guard before it returns, in the future that borrows the session or in the call.
    pub unsafe fn new(session: &dyn Session) -> Arc<Self> {
        // SAFETY: nothing else holds the guard for longer than one poll of the future that owns it.
        let session = unsafe { transmute::<&dyn Session, &'static dyn Session>(session) };
        let chores = Arc::default();
        Arc::new(Self { session, chores })
    }

    /// What the reader of the answer is to do.
    pub fn chores(&self) -> &Arc<Chores> {
        &self.chores
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.session.session_id())
    }
}

/// What is the host's, to be scanned with its session.
#[derive(Debug)]
pub struct Of<T: ?Sized> {
    host: Arc<T>,
    session: Weak<Lent>,
}

impl<T: ?Sized> Of<T> {
    pub fn new(host: Arc<T>, session: &Arc<Lent>) -> Arc<Self> {
        let session = Arc::downgrade(session);
        Arc::new(Self { host, session })
    }

    fn of<U: ?Sized>(&self, host: Arc<U>) -> Arc<Of<U>> {
        let session = Weak::clone(&self.session);
        Arc::new(Of { host, session })
    }
}

impl CatalogProviderList for Of<dyn CatalogProviderList> {
    fn register_catalog(
        &self,
        name: String,
        catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        self.host.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.host.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        Some(self.of(self.host.catalog(name)?))
    }
}

impl CatalogProvider for Of<dyn CatalogProvider> {
    fn schema_names(&self) -> Vec<String> {
        self.host.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(self.of(self.host.schema(name)?))
    }
}

#[async_trait]
impl SchemaProvider for Of<dyn SchemaProvider> {
    fn table_names(&self) -> Vec<String> {
        self.host.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let table = self.host.table(name).await?;
        Ok(table.map(|table| self.of(table) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.host.table_exist(name)
    }
}

#[async_trait]
impl TableProvider for Of<dyn TableProvider> {
    fn schema(&self) -> SchemaRef {
        self.host.schema()
    }

    fn table_type(&self) -> TableType {
        self.host.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.host.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(session) = self.session.upgrade() else {
            return internal_err!("a table is scanned while its session waits for the plan");
        };
        let lent = session.session;
        let plan = self.host.scan(lent, projection, filters, limit).await?;
        driven(&plan, &session.chores)
    }
}
