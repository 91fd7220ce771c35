//! A run's table as DataFusion's provider: filters on layer and neuron become what is read.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::scan_by_plan;

use super::run::Run;
use super::scan::RunScan;
use super::selection::Selection;
use super::table::Table;

/// One canonical table of a run.
#[derive(Debug)]
pub struct RunTable {
    run: Arc<Run>,
    table: Table,
    schema: SchemaRef,
}

impl RunTable {
    /// The table of a run; reads the columns of `documents` from its file.
    pub fn new(run: Arc<Run>, table: Table) -> Result<Self> {
        let schema = run.schema(table)?;
        Ok(Self { run, table, schema })
    }

    /// The run it belongs to.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// What each of its columns means; none of the corpus's own.
    pub fn meanings(&self) -> Vec<Option<&'static str>> {
        let fields = self.schema.fields().iter();
        fields
            .map(|field| self.table.meaning(field.name()))
            .collect()
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut selection = Selection::all();
        for filter in filters {
            let one = Selection::of(filter).ok_or_else(|| {
                internal_datafusion_err!("a filter on layer or neuron is required, got {filter}")
            })?;
            selection = selection.intersect(&one);
        }
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let target = state.config().target_partitions();
        let scan = RunScan::try_new(
            &self.run,
            self.table,
            &self.schema,
            projection,
            selection,
            target,
        )?;
        Ok(Arc::new(scan.with_limit(limit)))
    }
}

impl TableProvider for RunTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let exact = |filter: &&Expr| self.table.by_neuron() && Selection::of(filter).is_some();
        Ok(filters
            .iter()
            .map(|filter| match exact(filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.run.rows(self.table) as usize;
        Some(Statistics::new_unknown(&self.schema).with_num_rows(Precision::Exact(rows)))
    }

    scan_by_plan!(RunTable);
}
