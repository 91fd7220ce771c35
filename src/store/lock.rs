//! Who writes what, over all processes: a name is held for the work on it, the store for the moment of a commit.
//!
//! The locks are files of `locks/` that say who holds them; they are released when their process ends, however it ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use datafusion::common::exec_err;
use datafusion::error::Result;

use crate::files::{clock, disk, file_error};

/// Longest wait for another commit, which takes well below a second. Chosen, not tuned.
const WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// Who cleans up after killed writers holds a name for less. Chosen, not tuned.
const MOMENT: Duration = Duration::from_millis(500);

/// Called while a lock is waited for, with who holds it; ends the wait with its error.
pub type Waiting<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Held until dropped.
#[derive(Debug)]
pub struct WriteLock {
    _file: File,
}

/// What is locked: a run, an autoencoder, a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub kind: &'static str,
    pub name: &'a str,
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Tried {
    /// It is held now.
    Locked(WriteLock),
    /// With who holds it.
    Held(String),
}

/// The file that says of which store a folder has what was read.
pub(super) const OF_ELSEWHERE: &str = "of-elsewhere";

fn try_lock(store: &Path, name: &str, doing: &str) -> Result<Tried> {
    // Whatever changes a store locks something of it first.
    if let Ok(address) = disk::read(&store.join(OF_ELSEWHERE)) {
        return exec_err!(
            "a store on this machine is required to change it, got {}, which is read only",
            String::from_utf8_lossy(&address)
        );
    }
    let folder = store.join("locks");
    disk::create_folders(&folder).map_err(|e| file_error("create", &folder, e))?;
    disk::require_folder(&folder)?;
    let path = folder.join(name);
    let mut file = disk::open_lock(&path).map_err(|e| file_error("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => {
            let text = format!("{} {} {doing}", std::process::id(), clock::seconds());
            // Only for the message of others; they do without it.
            let _ = file
                .set_len(0)
                .and_then(|()| file.write_all(text.as_bytes()));
            Ok(Tried::Locked(WriteLock { _file: file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file
                .rewind()
                .and_then(|()| (&file).take(1 << 12).read_to_string(&mut text));
            Ok(Tried::Held(holder(&text)))
        }
        Err(TryLockError::Error(e)) => Err(file_error("lock", &path, e)),
    }
}

/// Process, second and act of a lock file, for people.
fn holder(text: &str) -> String {
    let mut words = text.splitn(3, ' ');
    let parts = (
        words.next(),
        words.next().and_then(|since| since.parse::<i64>().ok()),
        words.next(),
    );
    match parts {
        (Some(process), Some(since), Some(doing)) => {
            let seconds = (clock::seconds() - since).max(0);
            format!("process {process}, {doing} for {seconds} s")
        }
        _ => "another process".to_string(),
    }
}

/// Takes the lock of a name for as long as the work on it lasts.
///
/// Errors: someone else holds it and there is no `waiting`, or `waiting` ends the wait.
pub(super) fn acquire(
    store: &Path,
    of: Name<'_>,
    doing: &str,
    mut waiting: Option<Waiting<'_>>,
) -> Result<WriteLock> {
    let Name { kind, name } = of;
    let started = Instant::now();
    loop {
        let held = match attempt(store, of, doing)? {
            Tried::Locked(lock) => return Ok(lock),
            Tried::Held(by) => by,
        };
        match &mut waiting {
            Some(waiting) => waiting(&format!("waiting for {kind} '{name}', held by {held}"))?,
            None if started.elapsed() < MOMENT => {}
            None => {
                return exec_err!(
                    "a {kind} that nobody writes is required, got '{name}' of {}, which another writer holds \
                     ({held}): wait for it to end or stop it",
                    store.display()
                );
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Takes the lock of a name if nobody holds it.
pub(super) fn attempt(store: &Path, of: Name<'_>, doing: &str) -> Result<Tried> {
    try_lock(store, &format!("{}-{}", of.kind, of.name), doing)
}

/// Takes the lock of a name for a moment; nothing if someone else holds it.
pub(super) fn try_acquire(store: &Path, of: Name<'_>) -> Result<Option<WriteLock>> {
    match attempt(store, of, "cleaning it up")? {
        Tried::Locked(lock) => Ok(Some(lock)),
        Tried::Held(_) => Ok(None),
    }
}

/// Takes the store's lock for a commit, after those of others.
pub(super) fn store(root: &Path) -> Result<WriteLock> {
    let started = Instant::now();
    loop {
        match try_lock(root, "store", "committing")? {
            Tried::Locked(lock) => return Ok(lock),
            Tried::Held(by) if started.elapsed() > WAIT => {
                return exec_err!(
                    "commits of less than {} s are required, got {} locked ({by})",
                    WAIT.as_secs(),
                    root.display()
                );
            }
            Tried::Held(_) => std::thread::sleep(PAUSE),
        }
    }
}
