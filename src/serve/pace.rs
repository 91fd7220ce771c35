//! How fast a client must send what it has begun: who sends a byte now and then would hold memory and a connection for ever.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Time before anything must have come. These numbers are chosen, not tuned.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes a second, after that.
const RATE: usize = 64 << 10;

/// When a message or a request began to come.
#[derive(Debug)]
pub(super) struct Pace(Instant);

impl Pace {
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Waits for the next part of what has begun.
    ///
    /// Errors: what is required of whom sends too slowly.
    pub(super) async fn within<T>(
        &mut self,
        came: usize,
        next: impl Future<Output = T>,
    ) -> Result<T, String> {
        let until = self.0 + GRACE + Duration::from_secs((came / RATE) as u64);
        timeout_at(until, next).await.map_err(|_| {
            format!(
                "{} KiB a second are required after {} seconds, got {came} bytes by then",
                RATE >> 10,
                GRACE.as_secs()
            )
        })
    }
}
