//! What the targets share: what counts as a crash, and folders of the project's test data in which an input replaces one
//! file.

pub mod panics;
pub mod stores;

mod folders;
mod memory;

pub use folders::{Folders, all_of, overlay, scratch, seed, seeds, test_data};

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

/// Where questions are asked.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime")
});

/// The first line of an input and what follows it.
pub fn named(input: &[u8]) -> Option<(&str, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let name = std::str::from_utf8(&input[..end]).ok()?;
    Some((name, &input[end + 1..]))
}
