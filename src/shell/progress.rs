//! Signs of life on stderr: a quiet spinner for a slow query, a bar for work that reports its progress as rows.

use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use indicatif::{ProgressBar, ProgressStyle};

use crate::jobs::Part;

/// A query shorter than this shows nothing.
const QUIET: Duration = Duration::from_secs(1);

/// The last reported state of long work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobProgress {
    phase: String,
    done: u64,
    total: Option<u64>,
    read: Option<u64>,
    rate: f64,
    /// What is done and what is read.
    units: [String; 2],
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
        let schema = batch.schema();
        let count = |part: Part| part.number(batch, row).map(|n| n as u64);
        let unit = |part: Part| part.unit(&schema).unwrap_or_default().to_string();
        *self = JobProgress {
            phase: Part::Phase
                .text(batch, row)
                .unwrap_or_else(|| "train".to_string()),
            done: count(Part::Done).unwrap_or(0),
            total: count(Part::Total),
            read: count(Part::Read),
            rate: Part::Rate.number(batch, row).unwrap_or(0.0),
            units: [unit(Part::Done), unit(Part::Rate)],
            loss: Part::Loss.number(batch, row),
            elapsed_seconds: Part::Seconds.number(batch, row).unwrap_or(0.0),
            message: Part::Message.text(batch, row).unwrap_or_default(),
        };
    }

    /// How fast it goes and how well.
    fn rate(&self) -> String {
        let rate = format!("{:.0} {}/s", self.rate, self.units[1]);
        match self.loss {
            Some(loss) => format!("{rate}, loss {loss:.4}"),
            None => rate,
        }
    }

    /// The state in one line, for the end.
    pub fn summary(&self) -> String {
        let [done, read] = &self.units;
        let mut parts = vec![format!("{} {done}", self.done)];
        if let Some(n) = self.read {
            parts.push(format!("{n} {read}"));
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
pub struct ProgressLine {
    visible: bool,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl ProgressLine {
    /// Nothing is drawn yet.
    pub fn new(visible: bool) -> Self {
        ProgressLine {
            visible,
            started: Instant::now(),
            bar: None,
        }
    }

    /// Shows the spinner when the statement has been quiet for long enough, with what its work is at, and turns it.
    pub fn tick(&mut self, doing: &str) {
        if let Some(bar) = &self.bar {
            if !doing.is_empty() {
                bar.set_message(format!("{doing} "));
            }
            bar.tick();
        } else if self.visible && self.started.elapsed() >= QUIET {
            let bar = ProgressBar::new_spinner().with_elapsed(self.started.elapsed());
            bar.set_style(style("{spinner} {elapsed} {msg}(Ctrl-C to cancel)"));
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
        let [done, _] = &job.units;
        match job.total {
            // Nothing is counted yet: a download, say.
            None if job.done == 0 => bar.set_style(style("{spinner} {prefix}: {msg}, {elapsed}")),
            Some(total) => {
                bar.set_length(total);
                // Before the first documents are done there is nothing to estimate from.
                bar.set_style(style(&match job.done {
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
        bar.set_message(match (job.done, job.total) {
            (0, None) => job.message.clone(),
            _ => job.rate(),
        });
        bar.set_position(job.done);
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

impl Drop for ProgressLine {
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
    use crate::jobs::is_progress;
    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    /// Columns, each with what it tells and counts.
    fn rows(columns: Vec<(Part, &str, ArrayRef)>) -> RecordBatch {
        let field = |(part, unit, column): &(Part, &str, ArrayRef)| {
            part.counting(unit, Field::new("c", column.data_type().clone(), true))
        };
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let columns = columns.into_iter().map(|(_, _, column)| column).collect();
        RecordBatch::try_new(Arc::new(schema), columns).expect("equal lengths")
    }

    fn numbers(values: Vec<f64>) -> ArrayRef {
        Arc::new(Float64Array::from(values))
    }

    #[test]
    fn the_last_row_counts_and_an_unknown_total_is_none() {
        let phases = StringArray::from(vec!["forward", "commit"]);
        let messages = StringArray::from(vec![None, Some("run 'a' is visible")]);
        let batch = rows(vec![
            (Part::Phase, "", Arc::new(phases)),
            (
                Part::Done,
                "documents",
                Arc::new(Int64Array::from(vec![1, 2])),
            ),
            (
                Part::Total,
                "",
                Arc::new(Int64Array::from(vec![Some(9), None])),
            ),
            (
                Part::Read,
                "tokens",
                Arc::new(Int64Array::from(vec![10, 20])),
            ),
            (Part::Rate, "tokens", numbers(vec![1.0, 2.4])),
            (Part::Seconds, "", numbers(vec![1.0, 2.5])),
            (Part::Message, "", Arc::new(messages)),
        ]);
        assert!(is_progress(&batch.schema()));
        let mut job = JobProgress::default();
        job.update(&batch);
        assert_eq!(job.total, None);
        assert_eq!(
            job.summary(),
            "commit: 2 documents, 20 tokens, 2 tokens/s, 2.5 s, run 'a' is visible"
        );
        job.update(&batch.slice(0, 0));
        assert_eq!(job.done, 2);
    }

    #[test]
    fn training_counts_steps() {
        let batch = rows(vec![
            (Part::Done, "steps", Arc::new(Int64Array::from(vec![7]))),
            (Part::Read, "rows", Arc::new(Int64Array::from(vec![896]))),
            (Part::Loss, "", numbers(vec![0.25])),
            (Part::Rate, "rows", numbers(vec![1000.0])),
            (Part::Seconds, "", numbers(vec![0.9])),
            (
                Part::Message,
                "",
                Arc::new(StringArray::from(vec!["training s"])),
            ),
        ]);
        let mut job = JobProgress::default();
        job.update(&batch);
        assert_eq!(
            job.summary(),
            "train: 7 steps, 896 rows, 1000 rows/s, loss 0.2500, 0.9 s, training s"
        );
        let few = batch.project(&[0, 2]).expect("columns");
        assert!(!is_progress(&few.schema()));
    }

    #[test]
    fn columns_of_the_same_names_are_no_progress() {
        let names = ["step", "rows_per_second", "elapsed_seconds", "message"];
        let fields = names.map(|name| Field::new(name, DataType::Int64, false));
        assert!(!is_progress(&Schema::new(fields.to_vec())));
    }
}
