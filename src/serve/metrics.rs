//! What the server counts, as Prometheus reads it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Failed,
    Cancelled,
    TimedOut,
}

impl Ending {
    const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Cancelled, Self::TimedOut];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// The counts of one server.
#[derive(Debug)]
pub(super) struct ServerMetrics {
    started: Instant,
    pub(super) connections_total: AtomicU64,
    refused_total: AtomicU64,
    panics_total: AtomicU64,
    rows_total: AtomicU64,
    statements: [AtomicU64; 4],
    microseconds: AtomicU64,
}

impl Default for ServerMetrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            connections_total: AtomicU64::default(),
            refused_total: AtomicU64::default(),
            panics_total: AtomicU64::default(),
            rows_total: AtomicU64::default(),
            statements: Default::default(),
            microseconds: AtomicU64::default(),
        }
    }
}

impl ServerMetrics {
    /// Counts a statement that has ended.
    pub(super) fn statement(&self, outcome: Ending, took: Duration) {
        self.statements[outcome as usize].fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(took, Ordering::Relaxed);
    }

    /// Counts a client who was refused.
    pub(super) fn refused(&self) {
        self.refused_total.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts work for a client that has panicked.
    pub(super) fn panicked(&self) {
        self.panics_total.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts rows that are sent.
    pub(super) fn rows(&self, rows: usize) {
        self.rows_total.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// All of it, with the connections that are open, the bytes that operators have reserved, and the detached jobs.
    pub(super) fn text(&self, connections: usize, reserved: usize, detached: usize) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "# HELP polysema_{name} {help}\n# TYPE polysema_{name} {kind}"
            );
            for (labels, value) in values {
                let _ = writeln!(text, "polysema_{name}{labels} {value}");
            }
        };
        let one = |value: f64| vec![(String::new(), value)];
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        metric(
            "up_seconds",
            "gauge",
            "Seconds since the server began.",
            &one(self.started.elapsed().as_secs_f64()),
        );
        metric(
            "connections",
            "gauge",
            "Connections that are open.",
            &one(connections as f64),
        );
        metric(
            "connections_total",
            "counter",
            "Connections that were accepted.",
            &one(count(&self.connections_total)),
        );
        metric(
            "connections_refused_total",
            "counter",
            "Connections that were refused: too many, or a user who did not prove who they are.",
            &one(count(&self.refused_total)),
        );
        metric(
            "panics_total",
            "counter",
            "Statements and connections that ended by a fault of the server.",
            &one(count(&self.panics_total)),
        );
        let outcomes = Ending::ALL.map(|outcome| {
            let label = format!("{{outcome=\"{}\"}}", outcome.name());
            (label, count(&self.statements[outcome as usize]))
        });
        metric(
            "statements_total",
            "counter",
            "Statements that have ended.",
            &outcomes,
        );
        metric(
            "statement_seconds_total",
            "counter",
            "Seconds that statements took.",
            &one(count(&self.microseconds) / 1e6),
        );
        metric(
            "rows_total",
            "counter",
            "Rows that were sent.",
            &one(count(&self.rows_total)),
        );
        metric(
            "memory_reserved_bytes",
            "gauge",
            "Bytes that operators and what was loaded have reserved.",
            &one(reserved as f64),
        );
        metric(
            "detached_jobs",
            "gauge",
            "Jobs that go on without a reader.",
            &one(detached as f64),
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_one_that_prometheus_reads() {
        let metrics = ServerMetrics::default();
        metrics.statement(Ending::TimedOut, Duration::from_millis(1500));
        let text = metrics.text(0, 4096, 2);
        for line in text.lines() {
            let ok = line.starts_with("# HELP polysema_")
                || line.starts_with("# TYPE polysema_")
                || line
                    .rsplit_once(' ')
                    .is_some_and(|(_, value)| value.parse::<f64>().is_ok());
            assert!(ok, "{line}");
        }
        assert!(text.contains("polysema_statements_total{outcome=\"timed_out\"} 1\n"));
        assert!(text.contains("polysema_statement_seconds_total 1.5\n"));
        assert!(text.contains("polysema_memory_reserved_bytes 4096\n"));
    }
}
