//! What a training is asked for and what it tells while it runs.

use polysema_kernels::sae::StepLosses;

use super::recipe::SaeOptions;

/// What to train.
#[derive(Debug, Clone)]
pub struct TrainSaeRequest {
    /// Name of the autoencoder.
    pub name: String,
    /// How.
    pub options: SaeOptions,
}

/// One row of progress. Losses are those of the last step; none before the first and in phases without steps.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSaeProgress {
    /// `train`, `observe` (the latents' dataset examples are found), `write` or, in the last row, `done`.
    pub phase: &'static str,
    /// Steps done.
    pub step: u64,
    /// Rows seen.
    pub rows_seen: u64,
    /// The last step's losses.
    pub losses: Option<StepLosses>,
    /// Number of latents, of which `losses.n_dead` are dead.
    pub d_sae: usize,
    /// Rows over seconds of this phase.
    pub rows_per_second: f64,
    /// Seconds since the beginning.
    pub elapsed_seconds: f64,
    /// A sentence for people.
    pub message: String,
}
