//! The time that files state.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(test)]
thread_local! {
    /// Where a test puts this thread's clock.
    pub static STANDS: std::cell::Cell<Option<Duration>> = const { std::cell::Cell::new(None) };
}

/// Time since 1970, UTC; zero on a clock that stands before.
pub fn since_1970() -> Duration {
    #[cfg(test)]
    if let Some(stands) = STANDS.get() {
        return stands;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Whole seconds of it.
pub fn seconds() -> i64 {
    since_1970().as_secs() as i64
}
