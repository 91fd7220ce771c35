//! The relation a job reads, from inside its work: a batch at a time, and again from the start for every epoch.

use std::pin::pin;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use futures::future::{Either, select};
use tokio::runtime::Handle;

use super::cancel::Cancel;
use super::error::of_another;

/// The plan of a job's relation, for one partition, so that its rows have one order wherever it runs.
pub async fn plan(state: &dyn Session, relation: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(state) = state.as_any().downcast_ref::<SessionState>() else {
        return state.create_physical_plan(relation).await;
    };
    let mut state = state.clone();
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = 1;
    state.create_physical_plan(relation).await
}

/// The rows of a job's relation, for its work, which blocks while it waits for them.
pub struct Rows {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) context: Arc<TaskContext>,
    pub(super) runtime: Handle,
    pub(super) cancel: Cancel,
}

impl Rows {
    /// Their columns.
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// The batches from the first row on; every call begins anew. An error, once the job is cancelled.
    pub fn read(&self) -> Result<Batches<'_>> {
        Ok(Batches {
            plan: reset_plan_states(Arc::clone(&self.plan))?,
            rows: self,
            partition: 0,
            stream: None,
        })
    }
}

/// One reading of [`Rows`], partition after partition.
pub struct Batches<'a> {
    rows: &'a Rows,
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    stream: Option<SendableRecordBatchStream>,
}

impl Batches<'_> {
    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        let n_partitions = self.plan.output_partitioning().partition_count();
        while self.partition < n_partitions {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let context = Arc::clone(&self.rows.context);
                    let stream = self.plan.execute(self.partition, context);
                    let stream = stream.map_err(of_another)?;
                    self.stream.insert(stream)
                }
            };
            let (batch, cancelled) = (pin!(stream.next()), pin!(self.rows.cancel.cancelled()));
            match self.rows.runtime.block_on(select(batch, cancelled)) {
                Either::Left((Some(batch), _)) => return batch.map(Some).map_err(of_another),
                Either::Left((None, _)) => {
                    self.stream = None;
                    self.partition += 1;
                }
                Either::Right(_) => {
                    return exec_err!("an uncancelled job is required, got cancelled");
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::jobs::{Course, Job, JobContext};

    fn counts(n: i64) -> Result<RecordBatch> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let column = Arc::new(Int64Array::from(vec![n]));
        Ok(RecordBatch::try_new(schema, vec![column])?)
    }

    /// A job that sends the number of rows its relation has, twice.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_relation_is_read_from_the_start_each_time() -> Result<()> {
        let context = SessionContext::new();
        let relation = "SELECT v, count(*) FROM (VALUES (1), (2), (2)) AS a(v) JOIN (VALUES (1), (2)) AS b(w) ON v = w
                        GROUP BY v UNION ALL SELECT 7, 7";
        let relation = context.sql(relation).await?.into_unoptimized_plan();
        let work = |context: &JobContext| {
            for _ in 0..2 {
                let mut n = 0;
                for batch in context.rows().expect("a relation").read()? {
                    n += batch?.num_rows();
                }
                context.send(counts(n as i64));
            }
            Ok(())
        };
        context.register_table(
            "job",
            Arc::new(Job {
                function: "job",
                operator: "JobExec",
                detail: String::new(),
                schema: counts(0)?.schema(),
                needs: &[],
                course: Course::Answer,
                input: Some(Arc::new(relation)),
                makes: None,
                work: Arc::new(work),
            }),
        )?;
        let found = context.sql("SELECT n FROM job").await?.collect().await?;
        let found: Vec<i64> = found
            .iter()
            .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(found, [3, 3]);
        Ok(())
    }
}
