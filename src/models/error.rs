//! Errors of this room in the engine's type.

use std::fmt::Display;

use datafusion::error::DataFusionError;

/// Bad input: a file, a tensor, a token id.
pub(super) fn invalid(message: String) -> DataFusionError {
    DataFusionError::Execution(message)
}

/// What candle says, with the place it was said about.
pub(super) fn from_candle(place: impl Display, error: candle_core::Error) -> DataFusionError {
    DataFusionError::Execution(format!("{place}: {error}"))
}
