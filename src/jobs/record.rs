//! What is written down of one job.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::files::checksums::damaged;
use crate::files::{clock, disk, seal, words};

/// Letters and digits of an id.
const ID: usize = 8;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A living process works on it.
    Running,
    /// It came to its end.
    Done,
    /// It ended with an error.
    Failed,
    /// Someone ended it.
    Cancelled,
    /// Its process ended before it did.
    Lost,
}

impl State {
    /// As the table `jobs` has it.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Lost => "lost",
        }
    }
}

/// What is written down of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// By which it is known.
    pub id: String,
    /// The function that was called.
    pub function: String,
    /// What it is about.
    pub detail: String,
    /// Where it is.
    pub state: State,
    /// Share that is done, if that is known.
    pub progress: Option<f64>,
    /// Milliseconds since 1970.
    pub started_at: i64,
    /// The same, once it has ended.
    pub ended_at: Option<i64>,
    /// Number of the process that runs it.
    pub process: u32,
    /// Name of the machine.
    pub host: String,
    /// What it told last, or the error that ended it.
    pub message: String,
}

/// The record in a file, if it is one. Of one that is damaged its id is left, and what is wrong.
pub(super) fn read(path: &Path) -> Option<Record> {
    let (text, id) = (disk::read(path).ok()?, path.file_stem()?.to_str()?);
    if let Err(error) = seal::is_sealed(path, &text) {
        return Some(lost(id, words(&error)));
    }
    let record: Record = match serde_json::from_slice(&text) {
        Ok(record) => record,
        Err(error) if is_id(id) => return Some(lost(id, words(&damaged(path, error)))),
        Err(_) => return None,
    };
    // Its id becomes a path: it is the file's own name or it is not ours.
    (id == record.id).then_some(record)
}

fn lost(id: &str, message: String) -> Record {
    Record {
        id: id.to_string(),
        function: String::new(),
        detail: String::new(),
        state: State::Lost,
        progress: None,
        started_at: 0,
        ended_at: None,
        process: 0,
        host: String::new(),
        message,
    }
}

/// Whether a name may be one of [`new_id`].
fn is_id(name: &str) -> bool {
    name.len() == ID && name.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    clock::since_1970().as_millis() as i64
}

/// Eight letters and digits that no other job of the store is likely to have.
pub(super) fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let of = (
        host(),
        std::process::id(),
        clock::since_1970().as_nanos(),
        NEXT.fetch_add(1, Ordering::Relaxed),
    );
    let hash = blake3::hash(format!("{of:?}").as_bytes()).to_hex();
    hash[..ID].to_string()
}

/// The name of this machine, where it says one.
pub(super) fn host() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let file = files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    let variable = || {
        ["HOSTNAME", "COMPUTERNAME"]
            .iter()
            .find_map(|v| std::env::var(v).ok())
    };
    let name = file.or_else(variable).unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_string(),
        name => name.to_string(),
    }
}
