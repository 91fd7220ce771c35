//! Errors of reading and writing files.

use std::path::Path;

use datafusion::common::exec_datafusion_err;
use datafusion::error::DataFusionError;

/// What the system says of an act on a file.
pub fn file_error(act: &str, path: &Path, error: impl std::fmt::Display) -> DataFusionError {
    exec_datafusion_err!("{act} {}: {error}", path.display())
}

/// Bad input: a file, a tensor, a number.
pub fn invalid(message: String) -> DataFusionError {
    DataFusionError::Execution(message)
}

/// What an error says, without what says where in the engine it arose.
pub fn words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Plan(message)
        | DataFusionError::Execution(message)
        | DataFusionError::ResourcesExhausted(message) => message.clone(),
        DataFusionError::Shared(inner) => words(inner),
        DataFusionError::Context(_, inner) => words(inner),
        other => other.strip_backtrace(),
    }
}
