//! What was read from files and is kept in memory: models, autoencoders. Each is read once, however many ask for it at
//! once; those used longest ago go when the bound is reached or when queries need their memory.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};
use polysema_udfs::arrow::memory::hold;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Bytes that stay in memory unless another bound is given.
pub const DEFAULT_BOUND: usize = 1 << 30;

/// A value with the memory it holds, which is given back when the last user is done.
pub struct Resident<T> {
    value: T,
    _memory: MemoryReservation,
}

impl<T> Deref for Resident<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Resident<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// Held while one value is read, so that others who want it wait for this one only.
type Reading = Arc<Mutex<()>>;

struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    /// When it was asked for last, counted in calls.
    used: u64,
}

#[derive(Default)]
struct Entries {
    entries: HashMap<String, Entry>,
    reading: HashMap<String, Reading>,
    bytes: usize,
    calls: u64,
}

/// The values in memory.
pub struct Loaded {
    bound: usize,
    pool: Arc<dyn MemoryPool>,
    state: Mutex<Entries>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl Default for Loaded {
    fn default() -> Self {
        Self::new(DEFAULT_BOUND, Arc::new(UnboundedMemoryPool::default()))
    }
}

impl Loaded {
    /// Nothing yet; at most `bound` bytes stay when nobody uses them, all of them reserved in `pool`.
    pub fn new(bound: usize, pool: Arc<dyn MemoryPool>) -> Self {
        Self {
            bound,
            pool,
            state: Mutex::default(),
        }
    }

    /// The value called `key`, read by `read` if it is not in memory, which gives it with its size in bytes; those it
    /// takes while it is read, `expected`, are reserved before. `what` it is called where they are refused.
    ///
    /// Errors: it cannot be read, or the memory limit leaves no room for it.
    pub fn get<T: Send + Sync + 'static>(
        &self,
        key: &str,
        what: &str,
        expected: impl FnOnce() -> usize,
        read: impl FnOnce() -> Result<(T, usize)>,
    ) -> Result<Arc<Resident<T>>> {
        match self.find(key) {
            Some(found) => Ok(found),
            None => off_the_workers(|| self.read(key, what, expected, read)),
        }
    }

    fn read<T: Send + Sync + 'static>(
        &self,
        key: &str,
        what: &str,
        expected: impl FnOnce() -> usize,
        read: impl FnOnce() -> Result<(T, usize)>,
    ) -> Result<Arc<Resident<T>>> {
        let reading = Arc::clone(self.state().reading.entry(key.to_string()).or_default());
        let alone = reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have read it meanwhile.
        if let Some(found) = self.find(key) {
            return Ok(found);
        }
        let memory = MemoryConsumer::new(what).register(&self.pool);
        let read = self.reserve(&memory, expected(), what).and_then(|()| {
            let (value, bytes) = read()?;
            self.reserve(&memory, bytes, what)?;
            Ok((value, bytes))
        });
        let mut state = self.state();
        state.reading.remove(key);
        let (value, bytes) = read?;
        let held = Arc::new(Resident {
            value,
            _memory: memory,
        });
        if bytes <= self.bound {
            state.make_room(self.bound - bytes);
            state.bytes += bytes;
            let used = state.calls;
            let value = Arc::clone(&held) as _;
            state
                .entries
                .insert(key.to_string(), Entry { value, bytes, used });
        }
        drop((state, alone));
        Ok(held)
    }

    /// Makes a reservation this large; values that nobody uses give way.
    fn reserve(&self, memory: &MemoryReservation, bytes: usize, what: &str) -> Result<()> {
        loop {
            match hold(memory, bytes, what) {
                Ok(()) => return Ok(()),
                Err(error) if self.forget_one() == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn find<T: Send + Sync + 'static>(&self, key: &str) -> Option<Arc<Resident<T>>> {
        let mut state = self.state();
        state.calls += 1;
        let used = state.calls;
        let entry = state.entries.get_mut(key)?;
        entry.used = used;
        Arc::clone(&entry.value).downcast().ok()
    }

    /// Bytes that stay though nobody may be using them.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Forgets the value that was used longest ago among those that nobody uses now; its bytes, 0 if there is none.
    pub fn forget_one(&self) -> usize {
        self.state().forget_one(true)
    }

    fn state(&self) -> MutexGuard<'_, Entries> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn make_room(&mut self, bytes: usize) {
        while self.bytes > bytes && self.forget_one(false) > 0 {}
    }

    fn forget_one(&mut self, idle: bool) -> usize {
        let candidates = self.entries.iter();
        let oldest = candidates
            .filter(|(_, entry)| !idle || Arc::strong_count(&entry.value) == 1)
            .min_by_key(|(_, entry)| entry.used)
            .map(|(key, _)| key.clone());
        match oldest.and_then(|key| self.entries.remove(&key)) {
            Some(entry) => {
                self.bytes -= entry.bytes;
                entry.bytes
            }
            None => 0,
        }
    }
}

/// Runs what blocks so that the other tasks of a query's thread go on elsewhere.
pub fn off_the_workers<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// What changes when a file is written anew: its absolute path, size and time of change.
pub fn identity(path: &Path) -> io::Result<String> {
    let data = fs::metadata(path)?;
    let changed = data.modified()?.duration_since(UNIX_EPOCH);
    let path = path.canonicalize()?;
    Ok(format!(
        "{} {} {}",
        path.display(),
        data.len(),
        changed.unwrap_or_default().as_nanos()
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use datafusion::common::exec_err;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    fn number(loaded: &Loaded, key: &str, bytes: usize) -> Result<Arc<Resident<usize>>> {
        loaded.get(key, key, || bytes, || Ok((bytes, bytes)))
    }

    #[test]
    fn each_is_read_once_however_many_ask() {
        let loaded = Loaded::default();
        let reads = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let read = || {
                        thread::sleep(Duration::from_millis(20));
                        Ok((reads.fetch_add(1, Ordering::SeqCst), 1))
                    };
                    let found = loaded.get("a", "a", || 1, read).expect("a value");
                    assert_eq!(**found, 0);
                });
            }
        });
        assert_eq!(reads.into_inner(), 1);
    }

    #[test]
    fn one_that_takes_long_keeps_no_other_waiting() {
        let loaded = Loaded::default();
        let slow = || {
            let other = thread::scope(|scope| {
                let other = scope.spawn(|| number(&loaded, "b", 7).expect("a value"));
                other.join().expect("no panic")
            });
            Ok((**other, 1))
        };
        assert_eq!(**loaded.get("a", "a", || 1, slow).expect("a value"), 7);
    }

    #[test]
    fn those_used_longest_ago_go_first() -> Result<()> {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1000));
        let loaded = Loaded::new(100, Arc::clone(&pool));
        for key in ["a", "b", "c"] {
            number(&loaded, key, 30)?;
        }
        number(&loaded, "a", 30)?;
        number(&loaded, "d", 30)?;
        let unread = |_: &str| -> Result<(usize, usize)> { exec_err!("read again") };
        assert!(loaded.get("a", "a", || 0, || unread("a")).is_ok());
        assert!(loaded.get("b", "b", || 0, || unread("b")).is_err());
        assert_eq!((loaded.bytes(), pool.reserved()), (90, 90));
        // Larger than the bound: used, and not kept.
        let large = number(&loaded, "e", 200)?;
        assert_eq!((loaded.bytes(), pool.reserved()), (90, 290));
        drop(large);
        assert_eq!(pool.reserved(), 90);
        Ok(())
    }

    #[test]
    fn the_memory_limit_holds_for_them() -> Result<()> {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
        let loaded = Loaded::new(100, Arc::clone(&pool));
        let in_use = number(&loaded, "a", 60)?;
        assert!(number(&loaded, "b", 60).is_err());
        drop(in_use);
        // Nobody uses it any more, so that it gives way.
        assert_eq!(**number(&loaded, "b", 60)?, 60);
        assert_eq!(pool.reserved(), 60);
        Ok(())
    }
}
