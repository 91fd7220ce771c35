//! Signs of life on stderr: a quiet spinner for a slow query, a bar for work that reports its progress as rows.

use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use indicatif::{ProgressBar, ProgressStyle};

/// A query shorter than this shows nothing.
const QUIET: Duration = Duration::from_secs(1);

/// A kind of long work: the columns that tell how far it is, and what they count.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Work {
    done: &'static str,
    total: &'static str,
    read: &'static str,
    rate: &'static str,
    units: [&'static str; 2],
}

/// Sending documents through something, and training.
const WORKS: [Work; 2] = [
    Work {
        done: "documents",
        total: "total_documents",
        read: "tokens",
        rate: "tokens_per_second",
        units: ["documents", "tokens"],
    },
    Work {
        done: "step",
        total: "",
        read: "rows_seen",
        rate: "rows_per_second",
        units: ["steps", "rows"],
    },
];

/// The kind of long work whose progress a result is, if it is one.
fn work_of(schema: &Schema) -> Option<Work> {
    let has = |name: &str| schema.index_of(name).is_ok();
    let shared = has("elapsed_seconds") && has("message");
    let kind = WORKS
        .into_iter()
        .find(|work| has(work.done) && has(work.rate));
    kind.filter(|_| shared)
}

/// Whether a result is the progress of long work.
pub fn is_progress(schema: &Schema) -> bool {
    work_of(schema).is_some()
}

/// The last reported state of long work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobProgress {
    work: Option<Work>,
    phase: String,
    documents: u64,
    total_documents: Option<u64>,
    tokens: Option<u64>,
    tokens_per_second: f64,
    loss: Option<f64>,
    elapsed_seconds: f64,
    message: String,
}

impl JobProgress {
    /// Takes over the last row.
    pub fn update(&mut self, batch: &RecordBatch) {
        let Some(row) = batch.num_rows().checked_sub(1) else {
            return;
        };
        let text = |name: &str| {
            let column = cast(batch.column_by_name(name)?, &DataType::Utf8).ok()?;
            column
                .is_valid(row)
                .then(|| column.as_string::<i32>().value(row).to_string())
        };
        let count = |name: &str| {
            let column = cast(batch.column_by_name(name)?, &DataType::Int64).ok()?;
            let value = column
                .is_valid(row)
                .then(|| column.as_primitive::<Int64Type>().value(row))?;
            u64::try_from(value).ok()
        };
        let number = |name: &str| {
            let column = cast(batch.column_by_name(name)?, &DataType::Float64).ok()?;
            column
                .is_valid(row)
                .then(|| column.as_primitive::<Float64Type>().value(row))
        };
        let Some(work) = work_of(&batch.schema()) else {
            return;
        };
        *self = JobProgress {
            work: Some(work),
            phase: text("phase").unwrap_or_else(|| "train".to_string()),
            documents: count(work.done).unwrap_or(0),
            total_documents: count(work.total),
            tokens: count(work.read),
            tokens_per_second: number(work.rate).unwrap_or(0.0),
            loss: number("loss"),
            elapsed_seconds: number("elapsed_seconds").unwrap_or(0.0),
            message: text("message").unwrap_or_default(),
        };
    }

    fn units(&self) -> [&'static str; 2] {
        self.work.map_or(WORKS[0].units, |work| work.units)
    }

    /// How fast it goes and how well.
    fn rate(&self) -> String {
        let [_, read] = self.units();
        let rate = format!("{:.0} {read}/s", self.tokens_per_second);
        match self.loss {
            Some(loss) => format!("{rate}, loss {loss:.4}"),
            None => rate,
        }
    }

    /// The state in one line, for the end.
    pub fn summary(&self) -> String {
        let [done, read] = self.units();
        let mut parts = vec![format!("{} {done}", self.documents)];
        if let Some(tokens) = self.tokens {
            parts.push(format!("{tokens} {read}"));
        }
        parts.extend([self.rate(), format!("{:.1} s", self.elapsed_seconds)]);
        if !self.message.is_empty() {
            parts.push(self.message.clone());
        }
        format!("{}: {}", self.phase, parts.join(", "))
    }
}

/// What is drawn on stderr while a statement runs; nothing where stderr is no terminal.
#[derive(Debug)]
pub struct Progress {
    visible: bool,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Nothing is drawn yet.
    pub fn new(visible: bool) -> Self {
        Progress {
            visible,
            started: Instant::now(),
            bar: None,
        }
    }

    /// Shows the spinner when the statement has been quiet for long enough, and turns it.
    pub fn tick(&mut self) {
        if let Some(bar) = &self.bar {
            bar.tick();
        } else if self.visible && self.started.elapsed() >= QUIET {
            let bar = ProgressBar::new_spinner().with_elapsed(self.started.elapsed());
            bar.set_style(style("{spinner} {elapsed} (Ctrl-C to cancel)"));
            bar.tick();
            self.bar = Some(bar);
        }
    }

    /// Draws the state of long work.
    pub fn show_job(&mut self, job: &JobProgress) {
        if !self.visible {
            return;
        }
        let bar = self.bar.get_or_insert_with(ProgressBar::no_length);
        let [done, _] = job.units();
        match job.total_documents {
            Some(total) => {
                bar.set_length(total);
                // Before the first documents are done there is nothing to estimate from.
                bar.set_style(style(&match job.documents {
                    0 => format!("{{prefix}} {{wide_bar}} {{pos}}/{{len}} {done}"),
                    _ => format!(
                        "{{prefix}} {{wide_bar}} {{pos}}/{{len}} {done}, {{msg}}, {{eta}} left"
                    ),
                }));
            }
            None => bar.set_style(style(&format!(
                "{{spinner}} {{prefix}} {{pos}} {done}, {{msg}}, {{elapsed}}"
            ))),
        }
        bar.set_prefix(job.phase.clone());
        bar.set_message(job.rate());
        bar.set_position(job.documents);
    }

    /// Leaves the last state of long work as a line, where its drawing was.
    #[expect(
        clippy::print_stderr,
        reason = "the shell is a front end; progress belongs on stderr"
    )]
    pub fn close_job(&mut self, job: &JobProgress) {
        self.clear();
        if self.visible {
            eprintln!("{}", job.summary());
        }
    }

    /// Takes the drawing away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Writes something while the drawing is off the screen.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn the_last_row_counts_and_an_unknown_total_is_none() {
        let columns: [ArrayRef; 7] = [
            Arc::new(StringArray::from(vec!["forward", "commit"])),
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(Int64Array::from(vec![Some(9), None])),
            Arc::new(Int64Array::from(vec![10, 20])),
            Arc::new(Float64Array::from(vec![1.0, 2.4])),
            Arc::new(Float64Array::from(vec![1.0, 2.5])),
            Arc::new(StringArray::from(vec![None, Some("run 'a' is visible")])),
        ];
        let names = [
            "phase",
            "documents",
            "total_documents",
            "tokens",
            "tokens_per_second",
            "elapsed_seconds",
            "message",
        ];
        let batch =
            RecordBatch::try_from_iter(names.into_iter().zip(columns)).expect("equal lengths");
        assert!(is_progress(&batch.schema()));
        let mut job = JobProgress::default();
        job.update(&batch);
        assert_eq!(job.total_documents, None);
        assert_eq!(
            job.summary(),
            "commit: 2 documents, 20 tokens, 2 tokens/s, 2.5 s, run 'a' is visible"
        );
        job.update(&batch.slice(0, 0));
        assert_eq!(job.documents, 2);
    }

    #[test]
    fn training_counts_steps() {
        let columns: [(&str, ArrayRef); 6] = [
            ("step", Arc::new(Int64Array::from(vec![7]))),
            ("rows_seen", Arc::new(Int64Array::from(vec![896]))),
            ("loss", Arc::new(Float64Array::from(vec![0.25]))),
            (
                "rows_per_second",
                Arc::new(Float64Array::from(vec![1000.0])),
            ),
            ("elapsed_seconds", Arc::new(Float64Array::from(vec![0.9]))),
            ("message", Arc::new(StringArray::from(vec!["training s"]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("equal lengths");
        let mut job = JobProgress::default();
        job.update(&batch);
        assert_eq!(
            job.summary(),
            "train: 7 steps, 896 rows, 1000 rows/s, loss 0.2500, 0.9 s, training s"
        );
        assert!(!is_progress(
            &batch.project(&[0, 2]).expect("columns").schema()
        ));
    }
}
