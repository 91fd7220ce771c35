//! One statement from text to printed rows. The work runs on a task of its own, so that the shell can give it up
//! within a moment even when it is inside a kernel, and so that its panic is an error of the statement. Above 400 lines,
//! with its tests.

use std::future::Future;
use std::io::{BufWriter, IsTerminal, Write};
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::failure::{Failure, internal_error};
use super::format::{Format, Layout};
use super::interrupt::Interrupts;
use super::output::ResultSink;
use super::progress::{JobProgress, ProgressLine};
use crate::jobs::{Doing, is_progress};
use crate::session::Reply;

/// How often the shell looks at the clock while it waits.
const TICK: Duration = Duration::from_millis(100);

/// How long a statement that Ctrl-C ends may take to notice.
const GRACE: Duration = Duration::from_millis(500);

/// What a statement gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Rows were written, this many.
    Rows(usize),
    /// The statement has no result columns.
    NoRows,
    /// The statement of that name has written so many rows, of which it gives the number.
    Wrote(&'static str, u64),
    /// The rows were shown as progress, whose last line says that the work is done.
    Progress,
}

/// What a statement is waited for with.
#[derive(Debug, Clone, Copy)]
pub struct StatementWait<'a> {
    /// Ctrl-C.
    pub interrupts: &'a Interrupts,
    /// What its work is at.
    pub doing: &'a Doing,
    /// Whether nothing is drawn meanwhile.
    pub quiet: bool,
}

/// Rows to write.
pub struct ResultRows {
    rows: SendableRecordBatchStream,
    /// The statement that counts the rows it wrote.
    counts: Option<&'static str>,
}

impl From<SendableRecordBatchStream> for ResultRows {
    fn from(rows: SendableRecordBatchStream) -> Self {
        Self { rows, counts: None }
    }
}

impl From<Reply> for ResultRows {
    fn from(reply: Reply) -> Self {
        Self {
            rows: reply.rows,
            counts: reply.counts,
        }
    }
}

/// Runs a query and writes its rows to `out`; ends early when Ctrl-C is pressed.
pub async fn run<Q>(
    query: Q,
    layout: Layout,
    waiting: StatementWait<'_>,
    out: &mut dyn ResultSink,
) -> Result<Outcome, Failure>
where
    Q: Future<Output = Result<ResultRows>> + Send + 'static,
{
    let mut running = Running::start(query);
    let outcome = print_all(&mut running, layout, waiting, out).await;
    match outcome {
        Err(Failure::Closed) => running.stop().await,
        // A job hears of it at once; what is inside a kernel is not waited for.
        Err(Failure::Interrupted(_)) => {
            let _ = tokio::time::timeout(GRACE, running.stop()).await;
        }
        _ => {}
    }
    outcome
}

async fn print_all(
    running: &mut Running,
    layout: Layout,
    waiting: StatementWait<'_>,
    out: &mut dyn ResultSink,
) -> Result<Outcome, Failure> {
    let mut printer = Printer::new(layout, waiting.quiet, out);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            () = waiting.interrupts.pressed() => return Err(Failure::interrupted()),
            event = running.next() => match event? {
                Some(event) => printer.print(event)?,
                None => return printer.finish(),
            },
            _ = ticks.tick() => printer.progress.tick(&waiting.doing.text()),
        }
    }
}

enum Event {
    Schema(SchemaRef, Option<&'static str>),
    Rows(RecordBatch),
}

struct Running {
    events: mpsc::Receiver<Result<Event>>,
    task: Option<JoinHandle<()>>,
}

impl Running {
    fn start<Q>(query: Q) -> Running
    where
        Q: Future<Output = Result<ResultRows>> + Send + 'static,
    {
        // One batch waits while another is printed; a slow reader slows the query down, memory stays bounded.
        let (sender, events) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            if let Err(error) = send_all(query, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Running {
            events,
            task: Some(task),
        }
    }

    async fn next(&mut self) -> Result<Option<Event>, Failure> {
        if let Some(event) = self.events.recv().await {
            return Ok(Some(event?));
        }
        // The channel closes when the task ends, so this does not wait.
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
            && let Ok(panic) = error.try_into_panic()
        {
            return Err(Failure::Error(internal_error(panic.as_ref())));
        }
        Ok(None)
    }

    /// Gives the statement up, and waits until its stream is gone.
    async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // How it ended tells nothing more.
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn send_all<Q>(query: Q, sender: &mpsc::Sender<Result<Event>>) -> Result<()>
where
    Q: Future<Output = Result<ResultRows>>,
{
    let ResultRows {
        rows: mut stream,
        counts,
    } = query.await?;
    let schema = Event::Schema(stream.schema(), counts);
    let mut open = sender.send(Ok(schema)).await.is_ok();
    while open {
        let Some(batch) = stream.next().await else {
            break;
        };
        open = sender.send(Ok(Event::Rows(batch?))).await.is_ok();
    }
    Ok(())
}

struct Printer<'a> {
    layout: Layout,
    out: BufWriter<&'a mut dyn ResultSink>,
    writer: Option<Box<dyn super::format::ResultWriter>>,
    progress: ProgressLine,
    rows: usize,
    /// The statement that counts the rows it wrote, and how many.
    wrote: Option<(&'static str, u64)>,
    /// The result is the progress of long work and is shown as a bar.
    job: Option<JobProgress>,
    /// The rows that are written of a result that is progress.
    job_rows: JobRows,
}

/// What is written of the progress of long work.
#[derive(Debug, Clone, PartialEq)]
enum JobRows {
    /// Nothing: a bar is seen while it runs, and a line at its end.
    None,
    /// The last row, kept until the end: in a table for people the others tell nothing any more.
    Last(Option<RecordBatch>),
    /// Every row, as for any other result: a program reads them.
    All,
}

impl<'a> Printer<'a> {
    fn new(layout: Layout, quiet: bool, out: &'a mut dyn ResultSink) -> Self {
        let bar_is_seen = std::io::stderr().is_terminal() && !quiet;
        Printer {
            layout,
            out: BufWriter::new(out),
            writer: None,
            progress: ProgressLine::new(bar_is_seen),
            rows: 0,
            wrote: None,
            job: None,
            job_rows: match layout.format {
                Format::Table if layout.width.is_some() && bar_is_seen => JobRows::None,
                Format::Table => JobRows::Last(None),
                _ => JobRows::All,
            },
        }
    }

    fn print(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Schema(schema, _) if schema.fields().is_empty() => {}
            Event::Schema(_, Some(statement)) => self.wrote = Some((statement, 0)),
            Event::Schema(schema, None) => {
                self.out.get_mut().begin(self.layout.format)?;
                self.writer = Some(self.layout.writer(&schema)?);
                if is_progress(&schema) {
                    self.job = Some(JobProgress::default());
                }
            }
            Event::Rows(batch) => self.print_rows(&batch)?,
        }
        Ok(())
    }

    fn print_rows(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        if let Some(job) = &mut self.job {
            job.update(batch);
            self.progress.show_job(job);
            match &mut self.job_rows {
                JobRows::None => return Ok(()),
                JobRows::Last(last) => {
                    let before = batch.num_rows().saturating_sub(1);
                    *last = Some(batch.slice(before, batch.num_rows() - before));
                    return Ok(());
                }
                JobRows::All => {}
            }
        }
        self.write_rows(batch)
    }

    fn write_rows(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.rows += batch.num_rows();
        if let Some((_, rows)) = &mut self.wrote {
            let counts = batch.column(0).as_primitive_opt::<UInt64Type>();
            *rows += counts.map_or(0, |counts| counts.values().iter().sum());
            return Ok(());
        }
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let out = &mut self.out;
        self.progress.suspend(|| {
            writer.write(batch, out)?;
            out.flush().map_err(super::format::WriteError::from)
        })?;
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome, Failure> {
        self.progress.clear();
        if let Some(job) = &self.job {
            self.progress.close_job(job);
            match std::mem::replace(&mut self.job_rows, JobRows::All) {
                JobRows::None => return Ok(Outcome::Progress),
                JobRows::Last(Some(last)) => self.write_rows(&last)?,
                JobRows::Last(None) | JobRows::All => {}
            }
        }
        if let Some((statement, rows)) = self.wrote {
            return Ok(Outcome::Wrote(statement, rows));
        }
        let Some(writer) = self.writer else {
            return Ok(Outcome::NoRows);
        };
        writer.finish(&mut self.out)?;
        self.out.flush()?;
        Ok(Outcome::Rows(self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::error::DataFusionError;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use std::sync::{Arc, LazyLock};

    impl ResultSink for Vec<u8> {
        fn begin(&mut self, _: Format) -> Result<(), Failure> {
            Ok(())
        }
    }

    static NOTHING: LazyLock<Doing> = LazyLock::new(Doing::default);

    fn waiting(interrupts: &Interrupts) -> StatementWait<'_> {
        StatementWait {
            interrupts,
            doing: &NOTHING,
            quiet: true,
        }
    }

    fn numbers(count: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
        RecordBatch::try_from_iter([("n", column)]).expect("one column")
    }

    fn stream(batches: Vec<Result<RecordBatch>>) -> ResultRows {
        let schema = numbers(1).schema();
        let rows = futures::stream::iter(batches);
        let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        rows.into()
    }

    #[tokio::test]
    async fn rows_are_written_and_counted() {
        let mut out = Vec::new();
        let query = async { Ok(stream(vec![Ok(numbers(2)), Ok(numbers(1))])) };
        let outcome = run(
            query,
            Layout::plain(Format::Csv),
            waiting(&Interrupts::none()),
            &mut out,
        )
        .await;
        assert!(matches!(outcome, Ok(Outcome::Rows(3))));
        assert_eq!(String::from_utf8_lossy(&out), "n\n0\n1\n0\n");
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let query = async {
            let batches = futures::stream::iter([7]).map(|row| panic!("row {row} is odd"));
            let batches = batches.map(|batch: RecordBatch| Ok(batch));
            let adapter = RecordBatchStreamAdapter::new(numbers(1).schema(), batches);
            let rows: SendableRecordBatchStream = Box::pin(adapter);
            Ok(rows.into())
        };
        let outcome = run(
            query,
            Layout::plain(Format::Csv),
            waiting(&Interrupts::none()),
            &mut Vec::new(),
        )
        .await;
        let Err(Failure::Error(message)) = outcome else {
            panic!("a panic is an error")
        };
        assert!(
            message.starts_with("internal error: row 7 is odd"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn an_error_in_the_stream_ends_it() {
        let failed = Err(DataFusionError::Execution(
            "f: a row is required, got none".into(),
        ));
        let query = async { Ok(stream(vec![Ok(numbers(1)), failed, Ok(numbers(1))])) };
        let mut out = Vec::new();
        let outcome = run(
            query,
            Layout::plain(Format::Csv),
            waiting(&Interrupts::none()),
            &mut out,
        )
        .await;
        assert!(
            matches!(outcome, Err(Failure::Error(message)) if message == "f: a row is required, got none")
        );
        assert_eq!(String::from_utf8_lossy(&out), "n\n0\n");
    }

    #[tokio::test]
    async fn an_interrupt_ends_a_query_that_never_ends() {
        let query = std::future::pending();
        let outcome = run(
            query,
            Layout::plain(Format::Csv),
            waiting(&Interrupts::pressed_now()),
            &mut Vec::new(),
        )
        .await;
        assert!(matches!(outcome, Err(Failure::Interrupted(_))));
    }

    #[tokio::test]
    async fn a_closed_output_is_not_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        impl ResultSink for Closed {
            fn begin(&mut self, _: Format) -> Result<(), Failure> {
                Ok(())
            }
        }
        let query = async { Ok(stream(vec![Ok(numbers(1))])) };
        let outcome = run(
            query,
            Layout::plain(Format::Csv),
            waiting(&Interrupts::none()),
            &mut Closed,
        )
        .await;
        assert!(matches!(outcome, Err(Failure::Closed)));
    }
}
