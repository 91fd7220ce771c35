//! The one memory pool of an engine: all its sessions' operators share a limit, what is loaded from files gives way to
//! them, and a user may have a limit of their own within it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::config::MaxRowGroupBytes;
use datafusion::common::{human_readable_size, resources_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use datafusion::prelude::SessionConfig;

use crate::files::loaded::Loaded;

/// Bytes of the memory limit for each row of a batch. A row of examples with its vector takes some thousand, and a plan
/// holds some ten batches at once. Chosen, not tuned.
const LIMIT_OF_ROW: usize = 128 << 10;
/// Rows of a batch at most, DataFusion's own number, and at least.
const ROWS: usize = 8192;
const FEWEST_ROWS: usize = 256;

/// A row group of Parquet that is written has at most this part of the limit, and no more than is good to read. Chosen, not tuned.
const PART_OF_ROW_GROUP: usize = 8;
const LARGEST_ROW_GROUP: usize = 512 << 20;

/// Settings for work under a memory limit: what DataFusion counts in rows is measured for rows of some hundred bytes, and
/// those of vectors have thousands.
pub(super) fn within(config: SessionConfig, limit: MemoryLimit) -> SessionConfig {
    let MemoryLimit::Finite(bytes) = limit else {
        return config;
    };
    let mut config = config.with_batch_size((bytes / LIMIT_OF_ROW).clamp(FEWEST_ROWS, ROWS));
    let parquet = &mut config.options_mut().execution.parquet;
    let row_group = (bytes / PART_OF_ROW_GROUP).min(LARGEST_ROW_GROUP);
    parquet.max_row_group_bytes = MaxRowGroupBytes::try_new(row_group).ok();
    // Columns that are written side by side know no bound in bytes.
    parquet.allow_single_file_parallelism = false;
    config
}

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

/// What several sessions of one user may hold together of the engine's memory.
#[derive(Debug)]
pub struct Account {
    pool: Arc<dyn MemoryPool>,
    limit: usize,
    used: AtomicUsize,
}

impl Account {
    pub(super) fn new(pool: Arc<dyn MemoryPool>, limit: usize) -> Self {
        Self {
            pool,
            limit,
            used: AtomicUsize::new(0),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl MemoryPool for Account {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.pool.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let within = |used: usize| {
            used.checked_add(additional)
                .filter(|used| *used <= self.limit)
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.used.fetch_update(set, fetch, within).map_err(|used| {
            resources_datafusion_err!(
                "memory: at most {} for the statements of a user is required, got {} more for {} beside {}",
                human_readable_size(self.limit),
                human_readable_size(additional),
                reservation.consumer().name(),
                human_readable_size(used)
            )
        })?;
        let grown = self.pool.try_grow(reservation, additional);
        if grown.is_err() {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}
