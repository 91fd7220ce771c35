//! What the compiler looks into once.

use std::ops::Deref;

/// A value that may be sent and shared, which is asked where it is wrapped and nowhere else. The handlers of pgwire are generic,
/// and for each the compiler would walk anew through all that a connection holds, an engine with its plans, expressions and
/// syntax: 2 to 4 seconds each, three times.
#[derive(Debug)]
pub(super) struct Opaque<T>(T);

// SAFETY: only `new` makes one, and it asks for a value that may be sent.
unsafe impl<T> Send for Opaque<T> {}
// SAFETY: only `new` makes one, and it asks for a value that may be shared.
unsafe impl<T> Sync for Opaque<T> {}

impl<T: Send + Sync> Opaque<T> {
    pub(super) fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Opaque<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
