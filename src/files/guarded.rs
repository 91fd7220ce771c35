//! Other people's decoders assert some of what they read: of a broken file that is an error like any other.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a decoder gives; none where it panics. What it worked on is not to be used after that.
pub fn guarded<T>(decode: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(decode)).ok()
}
