//! The one row of what removes something from the store.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::FunctionDoc;

use crate::jobs::{Course, Job, JobContext};
use crate::policy::Access;

/// Its columns, for the documents of functions.
pub(super) const REMOVED_COLUMNS: &str = "removed (what, by its name), autoencoders (those that went with it), \
              size_bytes (what it took on disk); one row";

/// What was removed.
pub(super) struct Removed {
    /// With its name.
    pub(super) what: String,
    /// Names of the autoencoders that went with it.
    pub(super) saes: Vec<String>,
    pub(super) size_bytes: u64,
}

pub(super) fn removed_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("removed", DataType::Utf8, false),
        Field::new("autoencoders", DataType::Utf8, true),
        Field::new("size_bytes", DataType::Int64, false),
    ]))
}

fn row(removed: &Removed) -> Result<RecordBatch> {
    let saes = (!removed.saes.is_empty()).then(|| removed.saes.join(", "));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![removed.what.as_str()])),
        Arc::new(StringArray::from(vec![saes])),
        Arc::new(Int64Array::from(vec![removed.size_bytes as i64])),
    ];
    Ok(RecordBatch::try_new(removed_schema(), columns)?)
}

/// The job of such a function.
pub(super) fn removal(
    doc: &'static FunctionDoc,
    operator: &'static str,
    name: &str,
    remove: impl Fn(&JobContext) -> Result<Removed> + Send + Sync + 'static,
) -> Arc<dyn TableProvider> {
    let work = move |context: &JobContext| {
        context.send(row(&remove(context)?));
        Ok(())
    };
    Arc::new(Job {
        function: doc.name,
        operator,
        detail: format!("name={name}"),
        schema: removed_schema(),
        needs: &[Access::RunJobs],
        course: Course::Attached,
        input: None,
        makes: None,
        work: Arc::new(work),
    })
}
