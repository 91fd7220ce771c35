//! Changes to the disk that fail when a test says so.

use std::cell::{Cell, RefCell};
use std::io;

/// What happens at one change to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused; what comes after it works.
    Refused,
    /// It is done, and reported as failed.
    Unconfirmed,
    /// It and everything after it does not happen.
    Killed,
}

impl Fault {
    pub(crate) const ALL: [Fault; 3] = [Fault::Refused, Fault::Unconfirmed, Fault::Killed];
}

struct Plan {
    fault: Fault,
    at: usize,
    seen: usize,
}

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
    /// Mappings before the one that fails.
    static MAPPINGS: Cell<Option<usize>> = const { Cell::new(None) };
    static WITHOUT_EXCHANGE: Cell<bool> = const { Cell::new(false) };
}

/// As where a process has no more mappings, or no address for one.
pub(super) fn mapping() -> io::Result<()> {
    let left = MAPPINGS.get();
    MAPPINGS.set(left.map(|left| left.wrapping_sub(1)));
    match left {
        Some(0) => Err(io::ErrorKind::OutOfMemory.into()),
        _ => Ok(()),
    }
}

/// Runs `work` while its `at`-th mapping of a file fails; `None` if it makes fewer.
pub(crate) fn without_mapping<T>(at: usize, work: impl FnOnce() -> T) -> Option<T> {
    MAPPINGS.set(Some(at));
    let done = work();
    let left = MAPPINGS.take();
    left.is_some_and(|left| left > at).then_some(done)
}

pub(super) fn without_exchange() -> bool {
    WITHOUT_EXCHANGE.get()
}

/// As on a disk that cannot exchange two folders.
pub(crate) fn no_exchange<T>(work: impl FnOnce() -> T) -> T {
    WITHOUT_EXCHANGE.set(true);
    let done = work();
    WITHOUT_EXCHANGE.set(false);
    done
}

/// Runs `work` on what `begin` makes, with every fault at every change to the disk, and `check` after it; the
/// number of changes.
pub(crate) fn each<S, T>(
    begin: impl Fn() -> S,
    work: impl Fn(&S) -> T,
    check: impl Fn(&S, T, &str),
) -> usize {
    let mut most = 0;
    for fault in Fault::ALL {
        for at in 0.. {
            let state = begin();
            let Some(done) = with_fault(fault, at, || work(&state)) else {
                most = most.max(at);
                break;
            };
            check(&state, done, &format!("{fault:?} at change {at}"));
        }
    }
    most
}

/// Runs `work` with a fault at its `at`-th change to the disk; `None` if it makes fewer.
pub(crate) fn with_fault<T>(fault: Fault, at: usize, work: impl FnOnce() -> T) -> Option<T> {
    PLAN.set(Some(Plan { fault, at, seen: 0 }));
    let done = work();
    let plan = PLAN.take().expect("the plan set above");
    (plan.seen > at).then_some(done)
}

pub(super) fn step<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let fault = PLAN.with_borrow_mut(|plan| {
        let plan = plan.as_mut()?;
        plan.seen += 1;
        let here = plan.seen == plan.at + 1;
        let dead = plan.fault == Fault::Killed && plan.seen > plan.at;
        (here || dead).then_some(plan.fault)
    });
    let refused = || io::Error::other("no space left on device");
    match fault {
        None => act(),
        Some(Fault::Unconfirmed) => act().and_then(|_| Err(refused())),
        Some(_) => Err(refused()),
    }
}
