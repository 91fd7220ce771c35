//! `polysema.info.jobs`: what is written down of a store's jobs when it is scanned.

use std::mem::take;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::scan_by_plan;

use super::record::Record;
use super::records::Jobs;
use crate::policy::Policy;

/// The table of a store's jobs.
#[derive(Debug)]
pub struct JobsTable {
    jobs: Arc<Jobs>,
}

impl JobsTable {
    /// That of these jobs.
    pub fn new(jobs: Arc<Jobs>) -> Self {
        Self { jobs }
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (mut records, policy) = (self.jobs.list()?, Policy::of(state));
        for record in &mut records {
            record.detail = policy.shown(take(&mut record.detail));
            record.message = policy.shown(take(&mut record.message));
        }
        let rows = rows(&records)?;
        let plan = MemorySourceConfig::try_new_exec(&[vec![rows]], schema(), projection.cloned())?;
        Ok(plan)
    }
}

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let time = |name, nullable| {
        Field::new(
            name,
            DataType::Timestamp(TimeUnit::Millisecond, None),
            nullable,
        )
    };
    Arc::new(Schema::new(vec![
        text("id"),
        text("function"),
        text("detail"),
        text("state"),
        Field::new("progress", DataType::Float64, true),
        time("started_at", false),
        time("ended_at", true),
        text("owner"),
        text("message"),
    ]))
}

fn rows(records: &[Record]) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Record) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(records.iter().map(of)))
    };
    let time = |of: fn(&Record) -> Option<i64>| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter(records.iter().map(of)))
    };
    let progress = records.iter().map(|record| record.progress);
    let columns = vec![
        text(&|record| record.id.clone()),
        text(&|record| record.function.clone()),
        text(&|record| record.detail.clone()),
        text(&|record| record.state.name().to_string()),
        Arc::new(Float64Array::from_iter(progress)),
        time(|record| Some(record.started_at)),
        time(|record| record.ended_at),
        text(&|record| format!("{}@{}", record.process, record.host)),
        text(&|record| record.message.clone()),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

impl TableProvider for JobsTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    scan_by_plan!(JobsTable);
}
