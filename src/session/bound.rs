//! Table functions look up the tables they read when they are scanned. In a plan that belongs to a run they must find
//! that run's, whatever the session has selected when the plan is executed; a call that names a run reads that one.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, TableScan, TableScanBuilder, TableType};
use polysema_udfs::calls::InSchema;

/// The plan with every call of a table function bound to the schema of a run, which is put before its name if the plan
/// is to stand in a statement of another run: DataFusion takes scans of one name for equal.
pub(super) fn bind(plan: LogicalPlan, schema: &str, rename: bool) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => bind_scan(scan, schema, rename),
        node => Ok(Transformed::no(node)),
    })
    .data()
}

fn bind_scan(scan: TableScan, schema: &str, rename: bool) -> Result<Transformed<LogicalPlan>> {
    let provider = source_as_provider(&scan.source)?;
    let is_call = provider.table_type() == TableType::Temporary;
    if !is_call || provider.downcast_ref::<InSchema>().is_some() {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    }
    // What stands above a call knows it by its alias, not by this name.
    let name = match rename {
        true => TableReference::partial(schema.to_string(), scan.table_name.table().to_string()),
        false => scan.table_name,
    };
    let source = provider_as_source(Arc::new(InSchema::of_plan(provider, schema)));
    let bound = TableScanBuilder::new(name, source)
        .with_projection(scan.projection)
        .with_filters(scan.filters)
        .with_fetch(scan.fetch)
        .build()?;
    Ok(Transformed::yes(LogicalPlan::TableScan(bound)))
}
