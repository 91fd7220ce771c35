//! Which panics are crashes: those of our own code, and those of others that nothing catches. What others' code panics with
//! and ours makes an error of is printed once a place.

use std::collections::HashSet;
use std::panic::{PanicHookInfo, set_hook};
use std::process::abort;
use std::sync::{LazyLock, Mutex, PoisonError};

static SEEN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Watches the panics of this process; to be called as a target begins.
pub fn watch() {
    // What waits in files of its own waits in memory.
    if std::path::Path::new("/dev/shm").is_dir() {
        // SAFETY: no other thread runs as a target begins.
        unsafe { std::env::set_var("TMPDIR", "/dev/shm") };
    }
    set_hook(Box::new(panicked));
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    // Sources of dependencies lie in the folder of the registry they are of.
    if !place.contains("/registry/src/") {
        eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
        abort();
    }
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.insert(place) {
        eprintln!("caught or not: {panic}");
    }
}
