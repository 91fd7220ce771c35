//! What operators over the rows of any table share: a row's name in a message, and long work on the blocking pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::physical_plan::metrics::Time;

/// The row by its first columns, for messages.
pub fn row_name(batch: &RecordBatch, row: usize) -> String {
    const MOST: usize = 4;
    let schema = batch.schema();
    let named = |kind: &DataType| kind.is_integer() || kind.is_string();
    let shown: Vec<_> = (schema.fields().iter().zip(batch.columns()))
        .filter(|(field, _)| named(field.data_type()))
        .take(MOST)
        .filter_map(|(field, column)| {
            let value = array_value_to_string(column, row).ok()?;
            Some(format!("{} {value}", field.name()))
        })
        .collect();
    match shown.is_empty() {
        true => "a row".to_string(),
        false => shown.join(", "),
    }
}

/// Tells the blocking pool that the reader is gone.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The result of work on the blocking pool, whose flag is set when nobody waits for it any more.
pub async fn on_blocking_pool<T: Send + 'static>(
    operator: &'static str,
    time: Time,
    work: impl FnOnce(Arc<AtomicBool>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let _guard = CancelOnDrop(Arc::clone(&cancelled));
    let run = move || {
        let _timer = time.timer();
        work(cancelled)
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => internal_err!("{operator}: the computation panicked"),
        Err(e) => Err(DataFusionError::ExecutionJoin(Box::new(e))),
    }
}
