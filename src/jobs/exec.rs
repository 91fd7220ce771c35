//! A job while it runs: its work on the blocking pool, the way of its rows to the reader, and what is written down of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{exec_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::Stream;
use tokio::runtime::Handle;

use super::cancel::Cancel;
use super::context::JobContext;
use super::doing::Doing;
use super::error::named;
use super::job::{Course, Job};
use super::left::{End, Left};
use super::newest::{Newest, WAITING_PROGRESS};
use super::progress::{Part, is_progress};
use super::records::{Jobs, Recorder};
use super::rows::Rows;

/// Batches that wait for a slow reader. Few, since they may be large.
pub const WAITING: usize = 2;

#[derive(Debug)]
pub(super) struct JobExec {
    job: Job,
    projection: Option<Vec<usize>>,
    /// Reads the job's relation. Not a child: the optimizer has nothing to add to it.
    input: Option<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl JobExec {
    /// `schema` is that of the projected rows.
    pub(super) fn new(
        job: Job,
        projection: Option<Vec<usize>>,
        schema: SchemaRef,
        input: Option<Arc<dyn ExecutionPlan>>,
    ) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            job,
            projection,
            input,
            properties,
        }
    }

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    fn row_schema(&self) -> SchemaRef {
        Arc::clone(self.properties.equivalence_properties().schema())
    }

    /// What the work is given; where its rows go is put in afterwards.
    fn context(&self, context: Arc<TaskContext>, cancel: &Cancel) -> JobContext {
        let memory = Arc::clone(context.memory_pool());
        let task = Some((Arc::clone(&context), Handle::current()));
        let doing = context.session_config().get_extension::<Doing>();
        let rows = self.input.clone().map(|plan| Rows {
            plan,
            context,
            runtime: Handle::current(),
            cancel: cancel.clone(),
        });
        JobContext {
            rows,
            task,
            cancel: cancel.clone(),
            memory,
            doing,
            ..JobContext::default()
        }
    }

    /// Starts the job and gives its id; nobody reads its rows.
    fn detach(&self, jobs: &Arc<Jobs>, context: Arc<TaskContext>) -> Result<RecordBatch> {
        let cancel = Cancel::default();
        let (job, function) = (self.job.clone(), self.job.function);
        let recorder = jobs.begin(function, &job.detail, cancel.clone());
        let recorder = Arc::new(recorder.map_err(named(function))?);
        jobs.detach(&recorder);
        let id = recorder.id().to_string();
        let mut context = self.context(context, &cancel);
        let told = Arc::clone(&recorder);
        context.send = Box::new(move |batch| {
            if let Ok(batch) = &batch {
                tell(&told, batch);
            }
            true
        });
        // Its end is written down; nobody waits for it here.
        tokio::task::spawn_blocking(move || work(&job, &context, Some(&recorder)));
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as _;
        let columns = vec![text(&id), text(function)];
        let schema = self.job.course.schema(Arc::clone(&self.job.schema));
        project(
            RecordBatch::try_new(schema, columns)?,
            self.projection.as_deref(),
        )
    }

    /// Starts the job, which ends with the reader of the stream.
    fn attach(
        &self,
        recorder: Option<Recorder>,
        cancel: &Cancel,
        end: &Arc<End>,
        context: Arc<TaskContext>,
    ) -> SendableRecordBatchStream {
        let progress = is_progress(&self.job.schema);
        let waiting = if progress { WAITING_PROGRESS } else { WAITING };
        let mut builder = RecordBatchReceiverStream::builder(self.row_schema(), waiting);
        let (tx, projection) = (builder.tx(), self.projection.clone());
        let (job, function) = (self.job.clone(), self.job.function);
        let (recorder, end) = (recorder.map(Arc::new), Arc::clone(end));
        let mut context = self.context(context, cancel);
        let newest = Arc::new(Newest::default());
        let (told, shown, to) = (recorder.clone(), Arc::clone(&newest), tx.clone());
        context.send = Box::new(move |batch| {
            if let (Some(recorder), Ok(batch)) = (&told, &batch) {
                tell(recorder, batch);
            }
            let batch = batch.and_then(|batch| project(batch, projection.as_deref()));
            match batch {
                Ok(batch) if progress => shown.send(&to, batch),
                batch => to.blocking_send(batch.map_err(named(function))).is_ok(),
            }
        });
        builder.spawn(async move {
            let run = move || {
                let result = work(&job, &context, recorder.as_deref());
                context.say(String::new());
                end.tell(state(&result, &context));
                result
            };
            let result = match tokio::task::spawn_blocking(run).await {
                Ok(result) => result,
                Err(error) => {
                    internal_err!("{function}: the work ended without a result ({error})")
                }
            };
            if let Some(last) = newest.take() {
                // A reader that is gone needs it no more.
                let _ = tx.send(Ok(last)).await;
            }
            result
        });
        builder.build()
    }
}

/// How work ended, in a few words.
fn state(result: &Result<()>, context: &JobContext) -> String {
    match (result, context.given_up()) {
        (Ok(()), _) => "done by then".to_string(),
        (Err(_), Some(state)) => state,
        (Err(_), None) if context.is_cancelled() => "cancelled".to_string(),
        (Err(DataFusionError::Execution(message)), None) => format!("not done: {message}"),
        (Err(error), None) => format!("not done: {}", error.strip_backtrace()),
    }
}

/// Does the work, with what is written down of it.
fn work(job: &Job, context: &JobContext, recorder: Option<&Recorder>) -> Result<()> {
    let work = || (job.work)(context).map_err(named(job.function));
    let Some(recorder) = recorder else {
        return work();
    };
    let ended = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| recorder.watch(&ended));
        // Set when the work panics, too, or the watcher would never end.
        let _end = OnDrop(|| {
            ended.store(true, Ordering::Release);
            watcher.thread().unpark();
        });
        work()
    });
    recorder.end(&result);
    result
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn project(batch: RecordBatch, projection: Option<&[usize]>) -> Result<RecordBatch> {
    match projection {
        Some(projection) => Ok(batch.project(projection)?),
        None => Ok(batch),
    }
}

/// Writes down what the last row of progress says.
fn tell(recorder: &Recorder, batch: &RecordBatch) {
    let Some(row) = batch.num_rows().checked_sub(1) else {
        return;
    };
    if !is_progress(&batch.schema()) {
        return;
    }
    let (done, total) = (
        Part::Done.number(batch, row),
        Part::Total.number(batch, row),
    );
    let share = done.zip(total).filter(|(_, total)| *total > 0.0);
    recorder.tell(
        share.map(|(done, total)| done / total),
        Part::Message.text(batch, row),
    );
}

/// The rows of a job with a reader: when it is dropped before the work has ended, the job is cancelled.
struct WithReader {
    rows: SendableRecordBatchStream,
    cancel: Cancel,
    end: Arc<End>,
    /// Who is told of a reader that left before the end of a job that changes something.
    left: Option<Arc<Left>>,
    function: &'static str,
}

impl Stream for WithReader {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rows.as_mut().poll_next(cx)
    }
}

impl RecordBatchStream for WithReader {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

impl Drop for WithReader {
    fn drop(&mut self) {
        if self.end.is_told() {
            return;
        }
        self.cancel.cancel();
        if let Some(left) = &self.left {
            left.tell(self.end.left(self.function));
        }
    }
}

impl DisplayAs for JobExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:?}", self.job)
    }
}

impl ExecutionPlan for JobExec {
    fn name(&self) -> &str {
        self.job.operator
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let function = self.job.function;
        let jobs = context.session_config().get_extension::<Jobs>();
        if self.job.course == Course::Detached {
            let Some(jobs) = jobs else {
                return exec_err!(
                    "{function}: a session of a store is required to detach a job, got another"
                );
            };
            let row = self.detach(&jobs, context);
            let rows = futures::stream::once(async { row });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(
                self.row_schema(),
                rows,
            )));
        }
        let (cancel, end) = (Cancel::default(), Arc::<End>::default());
        let recorder = match (self.job.course, jobs) {
            // A store that cannot be written refuses the work itself, if that is what it is about.
            (Course::Attached, Some(jobs)) => {
                jobs.begin(function, &self.job.detail, cancel.clone()).ok()
            }
            _ => None,
        };
        let left = context.session_config().get_extension::<Left>();
        let rows = self.attach(recorder, &cancel, &end, context);
        Ok(Box::pin(WithReader {
            rows,
            cancel,
            end,
            left: left.filter(|_| self.job.course == Course::Attached),
            function,
        }))
    }
}
