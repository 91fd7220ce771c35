//! Memory that DataFusion's pool refuses, said so that a user knows what to change.

use std::fmt::Display;

use datafusion::common::DataFusionError;

/// The error for bytes that were refused: `needs` says which function needs how many for what, `error` what the pool
/// answered.
pub fn refused(needs: impl Display, error: DataFusionError) -> DataFusionError {
    let answer = match error {
        DataFusionError::ResourcesExhausted(answer) => answer,
        other => other.strip_backtrace(),
    };
    DataFusionError::ResourcesExhausted(format!("{needs}, got: {answer}"))
}
