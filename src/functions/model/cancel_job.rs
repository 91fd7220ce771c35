//! `cancel_job(id)`: the end of a job of the store, whoever runs it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::required;
use crate::jobs::{Course, Job, JobContext, Jobs, State};
use crate::policy::Access;
use crate::store::Store;

/// Between two looks at whether the job has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "cancel_job",
    chapter: "model",
    summary: "Ends a job of the store, also one of another process, and waits until it has ended.",
    arguments: &[Parameter {
        name: "id",
        kind: "text",
        summary: "the job's id in polysema.info.jobs",
    }],
    required: 1,
    options: &[],
    returns: "id (the job's), function (that it runs), state (cancelled; done, failed or lost if it ended by itself \
              meanwhile), message (its last); one row",
    example: "EXPLAIN SELECT state FROM cancel_job('1b9d6bcd')",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: &Store) -> Function {
    let jobs = Arc::new(Jobs::new(store.root()));
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(CancelJob { jobs })),
    }
}

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("id"),
        text("function"),
        text("state"),
        text("message"),
    ]))
}

#[derive(Debug)]
struct CancelJob {
    jobs: Arc<Jobs>,
}

impl TableFunction for CancelJob {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let id = required(&arguments, "id")?;
        let detail = format!("id={id}");
        let jobs = Arc::clone(&self.jobs);
        let work = move |context: &JobContext| {
            jobs.cancel(&id)?;
            let ended = loop {
                let record = jobs.find(&id)?;
                if record.state != State::Running {
                    break record;
                }
                context.tick()?;
                std::thread::sleep(LOOK_EVERY);
            };
            let text = |text: &str| Arc::new(StringArray::from(vec![text])) as _;
            let columns = vec![
                text(&ended.id),
                text(&ended.function),
                text(ended.state.name()),
                text(&ended.message),
            ];
            context.send(Ok(RecordBatch::try_new(schema(), columns)?));
            Ok(())
        };
        Ok(Arc::new(Job {
            function: DOC.name,
            operator: "CancelJobExec",
            detail,
            schema: schema(),
            course: Course::Answer,
            needs: &[Access::RunJobs],
            input: None,
            makes: None,
            work: Arc::new(work),
        }))
    }
}
