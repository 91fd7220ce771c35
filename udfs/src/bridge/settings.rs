//! The settings `polysema.*`: session-wide defaults that a function's options override.

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;

extensions_options! {
    /// Settings of the namespace `polysema`, changed with `SET polysema.name = value`.
    pub struct PolysemaOptions {
        /// Largest merge height inside a feature cluster, in [0, 2].
        pub threshold: f64, default = 0.5

        /// How clusters are joined: average, single, complete, weighted, ward, centroid or median.
        pub linkage: String, default = "average".to_string()

        /// What is clustered: neuron (the neuron embedding) or pre_mlp (the received vector alone).
        pub embedding: String, default = "neuron".to_string()

        /// Join only below the threshold, as scikit-learn does, not at it.
        pub strict: bool, default = false

        /// The run whose tables unqualified names mean; empty is the only run of the store.
        pub run: String, default = String::new()

        /// Whether long work that writes (ingest) may run.
        pub allow_jobs: bool, default = true
    }
}

impl ConfigExtension for PolysemaOptions {
    const PREFIX: &'static str = "polysema";
}

impl PolysemaOptions {
    /// The session's settings, or the defaults where the extension was never registered.
    pub fn of(options: &ConfigOptions) -> PolysemaOptions {
        options
            .extensions
            .get::<PolysemaOptions>()
            .cloned()
            .unwrap_or_default()
    }
}
