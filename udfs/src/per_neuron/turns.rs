//! Workers of every per-neuron operator over one memory pool take turns: a neuron that does not fit beside the others
//! waits until they have given back what they hold, and is refused only where nobody holds anything.
//!
//! No two wait for each other: who waits holds nothing, and who holds something computes without waiting. The first who
//! waits is served first, since nobody begins before it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryPool, MemoryReservation};

/// The turns of each pool that an operator uses now, by its place in memory.
static OF_POOLS: LazyLock<Mutex<HashMap<usize, Weak<Turns>>>> = LazyLock::new(Mutex::default);

/// Who holds memory of one pool, and who waits for it.
#[derive(Debug)]
pub(super) struct Turns {
    /// Keeps its place in memory from being another's.
    _pool: Arc<dyn MemoryPool>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Workers that hold something.
    holders: usize,
    /// Those who wait, in order.
    waiting: VecDeque<u64>,
    next: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turns {
    /// Those of a pool.
    pub(super) fn of(pool: &Arc<dyn MemoryPool>) -> Arc<Self> {
        let mut known = locked(&OF_POOLS);
        known.retain(|_, turns| turns.strong_count() > 0);
        let place = Arc::as_ptr(pool).cast::<()>() as usize;
        if let Some(turns) = known.get(&place).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Self {
            _pool: Arc::clone(pool),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        known.insert(place, Arc::downgrade(&turns));
        turns
    }

    /// Lets those who wait look whether they still have to.
    pub(super) fn wake(&self) {
        // Locked, so that nobody is between looking and waiting.
        let _state = locked(&self.state);
        self.changed.notify_all();
    }
}

/// What one worker holds.
#[derive(Debug)]
pub(super) struct Share {
    turns: Arc<Turns>,
    reservation: MemoryReservation,
    holds: bool,
}

impl Share {
    pub(super) fn new(turns: Arc<Turns>, reservation: MemoryReservation) -> Self {
        Self {
            turns,
            reservation,
            holds: false,
        }
    }

    /// Makes it at least so large, if that can be had at once beside what it holds; else it is left as it was.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        if !self.holds {
            return false;
        }
        bytes <= self.reservation.size() || self.reservation.try_resize(bytes).is_ok()
    }

    /// Gives back what it holds, waits its turn and takes so many bytes; false where `cancelled` says that nobody wants
    /// them any more.
    ///
    /// Errors: they do not fit though no other worker holds anything.
    pub(super) fn wait(&mut self, bytes: usize, cancelled: &AtomicBool) -> Result<bool> {
        self.give_back();
        let mut state = locked(&self.turns.state);
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        let taken = loop {
            if cancelled.load(Ordering::Relaxed) {
                break Ok(false);
            }
            if state.waiting.front() == Some(&ticket) {
                match self.reservation.try_resize(bytes) {
                    Ok(()) => {
                        state.holders += 1;
                        self.holds = true;
                        break Ok(true);
                    }
                    Err(error) if state.holders == 0 => break Err(error),
                    Err(_) => {}
                }
            }
            let woken = self.turns.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        };
        state.waiting.retain(|waiting| *waiting != ticket);
        // The next may fit, too.
        self.turns.changed.notify_all();
        taken
    }

    /// Gives back what it holds.
    pub(super) fn give_back(&mut self) {
        self.reservation.free();
        if std::mem::take(&mut self.holds) {
            locked(&self.turns.state).holders -= 1;
            self.turns.changed.notify_all();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer};

    use super::*;

    fn pool(bytes: usize) -> Arc<dyn MemoryPool> {
        Arc::new(GreedyMemoryPool::new(bytes))
    }

    fn share(pool: &Arc<dyn MemoryPool>) -> Share {
        let reservation = MemoryConsumer::new("worker").register(pool);
        Share::new(Turns::of(pool), reservation)
    }

    static GO_ON: AtomicBool = AtomicBool::new(false);

    #[test]
    fn each_waits_for_the_other_and_none_is_refused() {
        let pool = pool(100);
        let (first, second) = (share(&pool), share(&pool));
        thread::scope(|scope| {
            for (mut share, bytes) in [(first, 60), (second, 100)] {
                scope.spawn(move || {
                    for _ in 0..200 {
                        if !share.grow(bytes) {
                            assert!(share.wait(bytes, &GO_ON).expect("it fits alone"));
                        }
                        thread::yield_now();
                        share.give_back();
                    }
                });
            }
        });
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_does_not_fit_alone_is_refused_once_nobody_holds_anything() {
        let pool = pool(100);
        let mut holder = share(&pool);
        assert!(holder.wait(40, &GO_ON).expect("it fits"));
        let mut large = share(&pool);
        thread::scope(|scope| {
            let waits = scope.spawn(|| large.wait(101, &GO_ON));
            thread::sleep(Duration::from_millis(20));
            assert!(!waits.is_finished(), "the other may give back enough");
            drop(holder);
            assert!(waits.join().expect("no panic").is_err());
        });
        // What others than workers hold is not waited for.
        let other = MemoryConsumer::new("a join").register(&pool);
        other.try_grow(50).expect("it fits");
        assert!(share(&pool).wait(60, &GO_ON).is_err());
    }

    #[test]
    fn who_is_cancelled_waits_no_more() {
        let pool = pool(100);
        let mut holder = share(&pool);
        assert!(holder.wait(40, &GO_ON).expect("it fits"));
        let cancelled = AtomicBool::new(false);
        let mut waiting = share(&pool);
        thread::scope(|scope| {
            let waits = scope.spawn(|| waiting.wait(80, &cancelled));
            thread::sleep(Duration::from_millis(20));
            cancelled.store(true, Ordering::Relaxed);
            Turns::of(&pool).wake();
            assert!(!waits.join().expect("no panic").expect("no refusal"));
        });
    }
}
