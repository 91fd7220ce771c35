//! Work that blocks, away from the threads that queries run on.

use datafusion::error::{DataFusionError, Result};

/// Runs it on the blocking pool; a panic in it is an error.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))
}
