//! Why a page cannot be shown: a status, a sentence, and what there is instead.

use axum::http::StatusCode;
use datafusion::error::DataFusionError;

use crate::policy::Policy;
use crate::text::describe;

/// A request that has no page.
#[derive(Debug)]
pub struct Trouble {
    /// Its status.
    pub status: StatusCode,
    /// What is required, and what came.
    pub message: String,
    /// What there is: names, and where they are.
    pub known: Vec<(String, String)>,
}

impl Trouble {
    /// One that says what is required.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            known: vec![],
        }
    }

    /// A request that is written wrongly.
    pub fn asked(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A page of something that is not there, and of what is.
    pub fn missing(message: impl Into<String>, known: Vec<(String, String)>) -> Self {
        Self {
            known,
            ..Self::new(StatusCode::NOT_FOUND, message)
        }
    }

    /// Something of ours that has failed.
    pub fn failed() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "a page that can be shown is required, got one at which the explorer fails; it answers on",
        )
    }
}

impl From<DataFusionError> for Trouble {
    fn from(error: DataFusionError) -> Self {
        let status = match error.find_root() {
            DataFusionError::ResourcesExhausted(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ObjectStore(_) => StatusCode::SERVICE_UNAVAILABLE,
            DataFusionError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        // Where files lie is no reader's matter.
        Self::new(status, Policy::nothing().shown(describe(&error)))
    }
}
