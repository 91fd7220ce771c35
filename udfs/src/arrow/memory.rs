//! Memory that DataFusion's pool refuses, said so that a user knows what to change.

use std::fmt::Display;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;

/// The error for bytes that were refused: `needs` says which function needs how many for what, `error` what the pool
/// answered.
pub fn refused(needs: impl Display, error: DataFusionError) -> DataFusionError {
    let answer = match error {
        DataFusionError::ResourcesExhausted(answer) => answer,
        other => other.strip_backtrace(),
    };
    DataFusionError::ResourcesExhausted(format!("{needs}, got: {answer}"))
}

/// Makes a reservation so large before that is allocated; `of` says what it is for, and what would need fewer.
pub fn hold(memory: &MemoryReservation, bytes: usize, of: impl Display) -> Result<()> {
    let held = memory.try_resize(bytes);
    held.map_err(|error| refused(format!("{bytes} bytes are needed for {of}"), error))
}

/// The same where it is not that large yet; it never shrinks.
pub fn at_least(memory: &MemoryReservation, bytes: usize, of: impl Display) -> Result<()> {
    match bytes > memory.size() {
        true => hold(memory, bytes, of),
        false => Ok(()),
    }
}
