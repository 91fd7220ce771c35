//! The configuration file of a model, read by the architecture it names.

use std::path::PathBuf;

use datafusion::error::{DataFusionError, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::invalid;

/// A `config.json` with the path that messages name.
pub(super) struct Config {
    pub(super) path: PathBuf,
    pub(super) json: Value,
}

impl Config {
    /// The fields an architecture asks for.
    pub(super) fn fields<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.json).map_err(|e| self.invalid(format!("{e}")))
    }

    /// An error about this file.
    pub(super) fn invalid(&self, message: String) -> DataFusionError {
        invalid(format!("{}: {message}", self.path.display()))
    }
}
