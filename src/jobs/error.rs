//! Whose words an error is. Lower floors say what is required and what came; the function's name is put in front here.

use std::sync::Arc;

use datafusion::error::DataFusionError;

/// What a lower floor says, in the name of the function that was called.
pub fn named(function: &str) -> impl Fn(DataFusionError) -> DataFusionError + '_ {
    move |error| match error {
        DataFusionError::Plan(message) => DataFusionError::Plan(format!("{function}: {message}")),
        DataFusionError::Execution(message) => {
            DataFusionError::Execution(format!("{function}: {message}"))
        }
        DataFusionError::ResourcesExhausted(message) => {
            DataFusionError::ResourcesExhausted(format!("{function}: {message}"))
        }
        other => other,
    }
}

/// What another statement or function says, in whose words it stays: [`named`] leaves it alone.
pub fn of_another(error: DataFusionError) -> DataFusionError {
    DataFusionError::Shared(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_put_in_front_of_our_own_words_only() {
        let own = DataFusionError::Plan("a layer is required, got none".into());
        let own = named("ingest")(own).strip_backtrace();
        assert_eq!(
            own,
            "Error during planning: ingest: a layer is required, got none"
        );
        let other = DataFusionError::Execution("activations: a hook is required, got none".into());
        let other = named("ingest")(of_another(other)).strip_backtrace();
        assert!(!other.contains("ingest"), "{other}");
    }
}
