//! The rows of a query on their way into a table that lasts: written on a blocking thread while the query runs, kept when
//! all of them have come.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{filter_record_batch, not};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::exec_err;
use datafusion::datasource::sink::DataSink;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};
use futures::StreamExt;
use tokio::sync::mpsc::{self, Receiver};

use super::name::KeptName;
use super::writer::{Change, KeptWriter};
use crate::store::Store;

/// Batches that wait for the disk.
const WAITING: usize = 2;

/// Changes a table.
#[derive(Debug)]
pub(super) struct KeptSink {
    store: Arc<Store>,
    name: KeptName,
    columns: SchemaRef,
    /// What comes: the columns, and a mark where there is one.
    rows: SchemaRef,
    change: Change,
}

impl KeptSink {
    pub fn new(store: &Arc<Store>, name: &KeptName, columns: &SchemaRef, change: Change) -> Self {
        let mut fields = columns.fields().to_vec();
        if change.is_marked() {
            fields.push(Arc::new(Field::new("changed", DataType::Boolean, false)));
        }
        Self {
            store: Arc::clone(store),
            name: name.clone(),
            columns: Arc::clone(columns),
            rows: Arc::new(Schema::new(fields)),
            change,
        }
    }
}

/// The work that blocks.
struct Writing {
    store: Arc<Store>,
    name: KeptName,
    columns: SchemaRef,
    change: Change,
    /// None is the end; without it the query has failed or nobody wants it any more.
    rows: Receiver<Option<RecordBatch>>,
}

impl Writing {
    /// The rows that were written or changed.
    fn run(mut self) -> Result<u64> {
        // A receiver alone cannot be asked and read from at once.
        let writer = {
            let wanted = || match self.rows.is_closed() {
                true => unwanted(),
                false => Ok(()),
            };
            KeptWriter::begin(
                &self.store,
                &self.name,
                &self.columns,
                &self.change,
                &wanted,
            )
        };
        let mut writer = writer?;
        let mut count = 0;
        loop {
            match self.rows.blocking_recv() {
                Some(Some(batch)) => count += self.write(&mut writer, &batch)?,
                Some(None) => break,
                None => return unwanted(),
            }
        }
        let wanted = || match self.rows.is_closed() {
            true => unwanted(),
            false => Ok(()),
        };
        writer.commit(&wanted)?;
        Ok(count)
    }

    fn write(&self, writer: &mut KeptWriter, batch: &RecordBatch) -> Result<u64> {
        if !self.change.is_marked() {
            writer.write(batch)?;
            return Ok(batch.num_rows() as u64);
        }
        let n = self.columns.fields().len();
        let (marks, values) = (batch.column(n).as_boolean(), (0..n).collect::<Vec<_>>());
        let mut values = batch.project(&values)?;
        if let Change::Delete(_) = self.change {
            values = filter_record_batch(&values, &not(marks)?)?;
        }
        writer.write(&values)?;
        Ok(marks.true_count() as u64)
    }
}

fn unwanted<T>() -> Result<T> {
    exec_err!("a statement that goes on is required, got one that has ended")
}

impl DisplayAs for KeptSink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptSink(table={})", self.name)
    }
}

#[async_trait]
impl DataSink for KeptSink {
    fn schema(&self) -> &SchemaRef {
        &self.rows
    }

    async fn write_all(
        &self,
        mut rows: SendableRecordBatchStream,
        _: &Arc<TaskContext>,
    ) -> Result<u64> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let work = Writing {
            store: Arc::clone(&self.store),
            name: self.name.clone(),
            columns: Arc::clone(&self.columns),
            change: self.change.clone(),
            rows: receiver,
        };
        let work = tokio::task::spawn_blocking(move || work.run());
        let mut failed = None;
        loop {
            let next = match rows.next().await {
                Some(Ok(batch)) => Some(batch),
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
                None => None,
            };
            let at_end = next.is_none();
            // Who does not take them any more has failed, and says so.
            if sender.send(next).await.is_err() || at_end {
                break;
            }
        }
        let sender = failed.is_none().then_some(sender);
        let written = work.await;
        drop(sender);
        match failed {
            Some(error) => Err(error),
            None => written.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?,
        }
    }
}
