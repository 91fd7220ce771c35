//! A table that lasts as DataFusion reads and changes it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, exec_err, internal_err, plan_err};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::name::KeptName;
use super::scan::KeptScan;
use super::sink::KeptSink;
use super::table::KeptTable;
use super::writer::Change;
use crate::policy::{self, Access};
use crate::store::{Snapshot, Store};

/// A table, which each statement reads as it is then.
#[derive(Debug)]
pub struct KeptProvider {
    store: Arc<Store>,
    table: Arc<KeptTable>,
}

impl KeptProvider {
    /// A table that was opened.
    pub fn new(store: Arc<Store>, table: Arc<KeptTable>) -> Self {
        Self { store, table }
    }

    /// The state it was opened in.
    pub fn table(&self) -> &Arc<KeptTable> {
        &self.table
    }
}

/// Refuses changes that the session may not make.
fn require(state: &dyn Session, statement: &str) -> Result<()> {
    policy::require(state, statement, &[Access::CreateTables, Access::RunJobs])
}

fn writing(
    input: Arc<dyn ExecutionPlan>,
    store: &Arc<Store>,
    name: &KeptName,
    columns: &SchemaRef,
    change: Change,
) -> Arc<dyn ExecutionPlan> {
    let sink = KeptSink::new(store, name, columns, change);
    let order = input.properties().output_ordering().cloned();
    let order = order.map(Into::into);
    Arc::new(DataSinkExec::new(input, Arc::new(sink), order))
}

#[async_trait]
impl TableProvider for KeptProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.table.columns())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let statement = state.config().get_extension::<Snapshot>();
        let (store, name) = (Arc::clone(&self.store), self.table.name().clone());
        let opened = tokio::task::spawn_blocking(move || match statement {
            Some(statement) => statement.kept(&name),
            None => store.kept(&name),
        });
        let opened = opened.await;
        let opened = opened.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?;
        let name = self.table.name();
        let Some(table) = opened? else {
            return plan_err!("{name}: a table that stays is required, got one that was dropped");
        };
        if table.columns() != self.table.columns() {
            return exec_err!(
                "{name}: a table whose columns stay is required, got one that was replaced: prepare the statement again"
            );
        }
        Ok(Arc::new(KeptScan::try_new(table, projection, limit)?))
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = Precision::Exact(self.table.rows() as usize);
        Some(Statistics::new_unknown(self.table.columns()).with_num_rows(rows))
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        require(state, "INSERT")?;
        let change = match op {
            InsertOp::Append => Change::Append,
            InsertOp::Overwrite => Change::Overwrite,
            InsertOp::Replace => {
                return plan_err!("INSERT: INTO or OVERWRITE is required, got REPLACE");
            }
        };
        let (name, columns) = (self.table.name(), self.table.columns());
        Ok(writing(input, &self.store, name, columns, change))
    }
}

/// What a statement makes of a table, as the target of the rows that it writes.
#[derive(Debug)]
pub struct KeptTarget {
    /// Where it is kept.
    pub store: Arc<Store>,
    /// The table.
    pub name: KeptName,
    /// Its columns.
    pub columns: SchemaRef,
    /// What becomes of it.
    pub change: Change,
    /// The statement, for messages.
    pub statement: &'static str,
}

#[async_trait]
impl TableProvider for KeptTarget {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!(
            "{}: a table to read is required, got one to write",
            self.name
        )
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        require(state, self.statement)?;
        let change = self.change.clone();
        Ok(writing(
            input,
            &self.store,
            &self.name,
            &self.columns,
            change,
        ))
    }
}
