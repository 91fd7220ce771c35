//! A plan as one operator without inputs, whose rows say what they are the rows of.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown,
};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::Column;
use futures::{Stream, StreamExt, stream};

use super::drive::{Chores, Driver, of_parts};

/// What tells the rows of two calls apart. DataFusion takes scans of one name, schema and filters for equal, and names a call
/// after its function alone: two subqueries with other arguments would be answered as one.
const CALL: &str = "polysema.call";

/// The schema of the rows of a call.
pub fn of_call(schema: &Schema, call: &str) -> SchemaRef {
    let mut metadata: HashMap<_, _> = schema.metadata().clone();
    metadata.insert(CALL.to_string(), call.to_string());
    Arc::new(schema.clone().with_metadata(metadata))
}

/// The rows that a scan asks for.
pub fn asked(
    plan: LogicalPlan,
    projection: Option<&Vec<usize>>,
    filters: &[Expr],
    limit: Option<usize>,
) -> Result<LogicalPlan> {
    let mut rows = LogicalPlanBuilder::from(plan);
    for filter in filters {
        // The host knows the columns by a name that it has given the table.
        rows = rows.filter(unnormalize_col(filter.clone()))?;
    }
    if let Some(projection) = projection {
        let schema = Arc::clone(rows.schema());
        let column = |i: &usize| Expr::Column(Column::from(schema.qualified_field(*i)));
        rows = rows.project(projection.iter().map(column))?;
    }
    if let Some(limit) = limit {
        rows = rows.limit(0, Some(limit))?;
    }
    rows.build()
}

/// Every filter is applied to all rows.
pub fn all_exact(filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
    vec![TableProviderFilterPushDown::Exact; filters.len()]
}

/// The rows of a plan as one stream, whose reader does the chores.
pub fn leaf(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    chores: &Arc<Chores>,
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let order = plan.output_ordering().cloned();
    let plan: Arc<dyn ExecutionPlan> = match (plan.output_partitioning().partition_count(), &order)
    {
        (1, _) => plan,
        (_, None) => Arc::new(CoalescePartitionsExec::new(plan)),
        (_, Some(order)) => Arc::new(SortPreservingMergeExec::new(order.clone(), plan)),
    };
    let rows = Whole {
        plan,
        context,
        chores: Arc::clone(chores),
        schema: Arc::clone(&schema),
    };
    of_parts(schema, vec![Arc::new(rows)], order)
}

/// The rows under a schema of the same columns.
pub fn under(
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    let named = Arc::clone(&schema);
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&named),
            columns,
            &options,
        )?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

#[derive(Debug)]
struct Whole {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    chores: Arc<Chores>,
    schema: SchemaRef,
}

impl PartitionStream for Whole {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        match self.plan.execute(0, Arc::clone(&self.context)) {
            Ok(rows) => under(schema, Driver::new(rows, Arc::clone(&self.chores))),
            Err(error) => under(schema, stream::iter([Err(error)])),
        }
    }
}
