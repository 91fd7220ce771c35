//! The one memory pool of an engine: all its sessions' operators share a limit, and what is loaded from files gives way
//! to them.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::files::loaded::Loaded;

/// A pool whose values loaded from files, where nobody uses them, are forgotten before a query is refused.
#[derive(Debug)]
pub(super) struct SharedPool {
    inner: Arc<dyn MemoryPool>,
    loaded: Arc<Loaded>,
}

impl SharedPool {
    /// `loaded` reserves in `inner` itself.
    pub(super) fn new(inner: Arc<dyn MemoryPool>, loaded: Arc<Loaded>) -> Self {
        Self { inner, loaded }
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        loop {
            match self.inner.try_grow(reservation, additional) {
                Err(error) if self.loaded.forget_one() == 0 => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}
