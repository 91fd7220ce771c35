//! Errors of the connection to a worker, apart from those of the question.

use datafusion::error::DataFusionError;

/// Whether an error is the connection's or the worker's end, and not the question's: what a query fails with comes as the
/// engine's own error.
pub(super) fn is_lost(error: &DataFusionError) -> bool {
    status(error).is_some()
}

fn status(error: &DataFusionError) -> Option<&tonic::Status> {
    match error.find_root() {
        DataFusionError::External(error) => error.downcast_ref::<tonic::Status>(),
        _ => None,
    }
}

/// In a few words, why a worker was lost.
pub(super) fn cause(error: &DataFusionError) -> String {
    let Some(status) = status(error) else {
        return error.strip_backtrace();
    };
    let mut said = status.message().to_string();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let text = error.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        source = error.source();
    }
    said
}
