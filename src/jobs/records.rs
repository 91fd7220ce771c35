//! The jobs of a store, written down so that every session and process sees and ends them: a file `ID.json` a job,
//! replaced whole as the job goes on, `ID.alive`, which its process holds and the system releases however that ends,
//! and `ID.cancel`, which asks for its end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::common::{exec_err, plan_err};
use datafusion::error::{DataFusionError, Result};

use super::cancel::Cancel;
use super::record::{Record, State, host, new_id, now, read};
use crate::files::disk::{self, Held};
use crate::files::whole::write_file;
use crate::files::{file_error, seal, words};

/// Ended jobs that are kept written down; the oldest beyond are removed when another begins. Chosen, not tuned.
const KEPT: usize = 100;
/// Between two looks at whether someone asks for the end of a job.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two records of how far a job is.
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// The files of a job.
const EXTENSIONS: [&str; 3] = ["json", "alive", "cancel"];

/// The jobs of one store.
#[derive(Debug)]
pub struct Jobs {
    folder: PathBuf,
    /// Those that this process runs without a reader.
    detached: Mutex<Vec<(String, Cancel)>>,
}

impl Jobs {
    /// The jobs of the store in this folder.
    pub fn new(store: &Path) -> Self {
        Self {
            folder: store.join("jobs"),
            detached: Mutex::default(),
        }
    }

    fn path(&self, id: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }

    /// Every job, the oldest first.
    pub fn list(&self) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = disk::entries(&self.folder)?
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            // What another process removes meanwhile is not there, and what is no record is not ours.
            .filter_map(|path| read(path))
            .collect();
        for record in &mut records {
            if record.state == State::Running && !self.is_alive(&record.id) {
                // It may have ended since its record was read.
                match read(&self.path(&record.id, "json")) {
                    Some(ended) if ended.state != State::Running => *record = ended,
                    _ => record.state = State::Lost,
                }
            }
        }
        records.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        Ok(records)
    }

    /// The job of this id.
    ///
    /// Errors: there is none; those that run are listed.
    pub fn find(&self, id: &str) -> Result<Record> {
        let mut records = self.list()?;
        if let Some(at) = records.iter().position(|record| record.id == id) {
            return Ok(records.swap_remove(at));
        }
        let running: Vec<_> = (records.iter())
            .filter(|record| record.state == State::Running)
            .map(|record| record.id.as_str())
            .collect();
        let known = match running.as_slice() {
            [] => "none is running".to_string(),
            ids => format!("running: {}", ids.join(", ")),
        };
        plan_err!("a job of the store is required, got '{id}'; {known}")
    }

    /// Asks for the end of a running job of any process.
    pub fn cancel(&self, id: &str) -> Result<()> {
        let record = self.find(id)?;
        if record.state != State::Running {
            let state = record.state.name();
            return exec_err!("a running job is required, got '{id}', which is {state}");
        }
        write_file(&self.path(id, "cancel"), b"")
    }

    fn is_alive(&self, id: &str) -> bool {
        matches!(disk::hold(&self.path(id, "alive"), false), Ok(None))
    }

    /// Removes what is written down of the oldest jobs that have ended.
    fn sweep(&self) {
        let records = self.list().unwrap_or_default();
        let ended: Vec<_> = (records.iter())
            .filter(|record| record.state != State::Running)
            .collect();
        for record in ended.iter().take(ended.len().saturating_sub(KEPT)) {
            self.forget(&record.id, &EXTENSIONS);
        }
    }

    fn forget(&self, id: &str, extensions: &[&str]) {
        for extension in extensions {
            // What cannot be removed now is removed by a later sweep.
            let _ = disk::remove_file(&self.path(id, extension));
        }
    }

    /// Writes down that a job begins, which this process runs.
    pub(super) fn begin(
        self: &Arc<Self>,
        function: &str,
        detail: &str,
        cancel: Cancel,
    ) -> Result<Recorder> {
        disk::create_folders(&self.folder).map_err(|e| file_error("create", &self.folder, e))?;
        self.sweep();
        let (id, alive) = loop {
            let id = new_id();
            let path = self.path(&id, "alive");
            match disk::create_new(&path) {
                Ok(_) => {
                    let held = disk::hold(&path, true).map_err(|e| file_error("lock", &path, e))?;
                    break (id, held);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(file_error("create", &path, error)),
            }
        };
        let recorder = Recorder {
            record: Mutex::new(Record {
                id: id.clone(),
                function: function.to_string(),
                detail: detail.to_string(),
                state: State::Running,
                progress: None,
                started_at: now(),
                ended_at: None,
                process: std::process::id(),
                host: host(),
                message: String::new(),
            }),
            id,
            jobs: Arc::clone(self),
            cancel,
            _alive: alive,
        };
        recorder.write()?;
        Ok(recorder)
    }

    /// Notes a job of this process that has no reader.
    pub(super) fn detach(&self, recorder: &Recorder) {
        let mut detached = locked(&self.detached);
        detached.push((recorder.id.clone(), recorder.cancel.clone()));
    }

    /// The ids of the jobs that this process runs without a reader.
    pub fn detached(&self) -> Vec<String> {
        locked(&self.detached)
            .iter()
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Ends the jobs that this process runs without a reader.
    pub fn cancel_detached(&self) {
        for (_, cancel) in locked(&self.detached).iter() {
            cancel.cancel();
        }
    }
}

/// Writes down how one job goes; when it is dropped without an end, the job has failed.
pub(super) struct Recorder {
    id: String,
    jobs: Arc<Jobs>,
    record: Mutex<Record>,
    cancel: Cancel,
    /// Held as long as the job lives.
    _alive: Option<Held>,
}

impl Recorder {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What the job tells of itself.
    pub(super) fn tell(&self, progress: Option<f64>, message: Option<String>) {
        let mut record = locked(&self.record);
        record.progress = progress.map(|share| share.clamp(0.0, 1.0));
        if let Some(message) = message {
            record.message = message;
        }
    }

    /// Looks, until the job has ended, whether someone asks for its end, and writes down how far it is.
    pub(super) fn watch(&self, ended: &AtomicBool) {
        let asked = self.jobs.path(&self.id, "cancel");
        let (mut written, mut last) = (Instant::now(), None);
        while !ended.load(Ordering::Acquire) {
            if asked.exists() {
                self.cancel.cancel();
            }
            let told = {
                let record = locked(&self.record);
                (record.progress, record.message.clone())
            };
            if written.elapsed() >= RECORD_EVERY && last.as_ref() != Some(&told) {
                // A job goes on where it cannot be written down; its end tries again.
                let _ = self.write();
                (written, last) = (Instant::now(), Some(told));
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Writes down how the job ended.
    pub(super) fn end(&self, result: &Result<()>) {
        let mut record = locked(&self.record);
        record.ended_at = Some(now());
        record.state = match result {
            Ok(()) => State::Done,
            Err(_) if self.cancel.is_cancelled() => State::Cancelled,
            Err(_) => State::Failed,
        };
        match result {
            Ok(()) => record.progress = Some(1.0),
            Err(error) => record.message = words(error),
        }
    }

    fn write(&self) -> Result<()> {
        let record = locked(&self.record).clone();
        let text = serde_json::to_vec_pretty(&record);
        let text = text.map_err(|e| DataFusionError::External(Box::new(e)))?;
        write_file(&self.jobs.path(&self.id, "json"), &seal::seal(&text))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        {
            let mut record = locked(&self.record);
            if record.state == State::Running {
                record.state = State::Failed;
                record.ended_at = Some(now());
                record.message = "the work ended without a result".to_string();
            }
        }
        let _ = self.write();
        self.jobs.forget(&self.id, &["alive", "cancel"]);
        locked(&self.jobs.detached).retain(|(id, _)| *id != self.id);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::clock;

    fn begin(jobs: &Arc<Jobs>) -> Recorder {
        let recorder = jobs.begin("ingest", "run=r", Cancel::default());
        recorder.expect("a writable folder")
    }

    #[test]
    fn a_job_is_seen_by_others_until_the_oldest_are_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mine, other) = (Arc::new(Jobs::new(folder.path())), Jobs::new(folder.path()));
        let running = begin(&mine);
        running.tell(Some(0.25), Some("reading".to_string()));
        let seen = other.find(running.id()).expect("the job");
        assert_eq!(
            (seen.state, seen.process),
            (State::Running, std::process::id())
        );
        for _ in 0..KEPT + 2 {
            begin(&mine).end(&Ok(()));
        }
        let records = other.list().expect("records");
        // The last that began swept before its own end.
        assert_eq!(records.len(), KEPT + 2);
        assert_eq!(records[0].id, running.id(), "what runs is not swept");
        assert!(
            records[1..]
                .iter()
                .all(|record| record.state == State::Done)
        );
        let files = std::fs::read_dir(folder.path().join("jobs")).expect("a folder");
        assert_eq!(
            files.count(),
            KEPT + 2 + 1,
            "a record each, and what tells that one lives"
        );
    }

    #[test]
    fn a_job_ends_as_it_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = Arc::new(Jobs::new(folder.path()));
        let error = || DataFusionError::Execution("ingest: a corpus is required, got none".into());
        let failed = begin(&jobs);
        failed.end(&Err(error()));
        let cancelled = begin(&jobs);
        cancelled.cancel.cancel();
        cancelled.end(&Err(error()));
        let (panicked, lost) = (begin(&jobs), begin(&jobs));
        let ids = [&failed, &cancelled, &panicked, &lost].map(|job| job.id().to_string());
        // Its process is killed: the lock goes and nothing is written.
        std::fs::remove_file(jobs.path(lost.id(), "alive")).expect("a file");
        std::mem::forget(lost);
        drop((failed, cancelled, panicked));
        let states = ids.map(|id| jobs.find(&id).expect("the job").state);
        let expected = [State::Failed, State::Cancelled, State::Failed, State::Lost];
        assert_eq!(states, expected);
        let unknown = jobs.cancel("../x").expect_err("no job").strip_backtrace();
        assert!(unknown.contains("got '../x'; none is running"), "{unknown}");
    }

    #[test]
    fn a_clock_that_jumps_confuses_no_jobs() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = Arc::new(Jobs::new(folder.path()));
        let stand = |seconds| clock::STANDS.set(Some(Duration::from_secs(seconds)));
        stand(4_000_000_000);
        let first = begin(&jobs);
        // Back to before 1970, where it stands: ids are of other things, too.
        stand(0);
        let (second, third) = (begin(&jobs), begin(&jobs));
        first.end(&Ok(()));
        let ids = [&first, &second, &third].map(|job| job.id().to_string());
        drop(first);
        let ended = jobs.find(&ids[0]).expect("the job");
        assert_eq!((ended.state, ended.ended_at), (State::Done, Some(0)));
        for id in &ids[1..] {
            assert_eq!(jobs.find(id).expect("the job").state, State::Running);
        }
        assert_eq!(jobs.list().expect("records").len(), 3);
        clock::STANDS.set(None);
    }

    #[test]
    fn records_of_other_names_are_not_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = Arc::new(Jobs::new(folder.path()));
        let id = begin(&jobs).id().to_string();
        let outside = Record {
            id: "../../outside".to_string(),
            ..jobs.find(&id).expect("the job")
        };
        let text = serde_json::to_vec(&outside).expect("JSON");
        std::fs::write(jobs.path("hostile", "json"), seal::seal(&text)).expect("written");
        std::fs::write(jobs.path("broken", "json"), "{").expect("written");
        let ids: Vec<_> = jobs
            .list()
            .expect("records")
            .into_iter()
            .map(|r| r.id)
            .collect();
        assert_eq!(ids, [id]);
    }

    #[test]
    fn a_damaged_record_is_listed_as_such() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = Arc::new(Jobs::new(folder.path()));
        let id = begin(&jobs).id().to_string();
        let path = jobs.path(&id, "json");
        let mut text = std::fs::read(&path).expect("a record");
        let at = text.len() / 2;
        text[at] ^= 1;
        std::fs::write(&path, text).expect("written");
        let found = jobs.find(&id).expect("listed");
        let named = found.message.contains(&format!("{id}.json damaged"));
        assert!(named && found.state == State::Lost, "{}", found.message);
    }
}
