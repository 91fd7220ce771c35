//! The settings `polysema.*`: session-wide defaults that a function's options override.

use std::any::Any;
use std::str::FromStr;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{Result, plan_datafusion_err, plan_err};

/// Settings of the namespace `polysema`, changed with `SET polysema.name = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct PolysemaOptions {
    /// Largest merge height inside a feature cluster, in [0, 2].
    pub threshold: f64,
    /// How clusters are found.
    pub method: String,
    /// How clusters are joined.
    pub linkage: String,
    /// What is clustered.
    pub embedding: String,
    /// Join only below the threshold, not at it.
    pub strict: bool,
    /// The run whose tables unqualified names mean, or `public`; empty is the only run of the store.
    pub run: String,
    /// Whether long work that writes (ingest) may run.
    pub allow_jobs: bool,
}

impl Default for PolysemaOptions {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            method: "hac".to_string(),
            linkage: "average".to_string(),
            embedding: "neuron".to_string(),
            strict: false,
            run: String::new(),
            allow_jobs: true,
        }
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

// By hand and not by DataFusion's macro: its entries lack the prefix, so that SHOW does not find them, and its
// errors do not say what a value must be.
impl ExtensionOptions for PolysemaOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "threshold" => self.threshold = parse(key, value, "a number")?,
            "method" => self.method = value.to_string(),
            "linkage" => self.linkage = value.to_string(),
            "embedding" => self.embedding = value.to_string(),
            "strict" => self.strict = parse(key, value, "true or false")?,
            "run" => self.run = value.to_string(),
            "allow_jobs" => self.allow_jobs = parse(key, value, "true or false")?,
            _ => {
                let known: Vec<_> = self.entries().into_iter().map(|entry| entry.key).collect();
                return plan_err!(
                    "SET: settings are {}, got 'polysema.{key}'",
                    known.join(", ")
                );
            }
        }
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        [
            (
                "polysema.threshold",
                self.threshold.to_string(),
                "Largest merge height inside a feature cluster, in [0, 2].",
            ),
            (
                "polysema.method",
                self.method.clone(),
                "How clusters are found: hac (hierarchical) or scc (sub-cluster components, without the matrix of distances).",
            ),
            (
                "polysema.linkage",
                self.linkage.clone(),
                "How clusters are joined: average, single, complete, weighted, ward, centroid or median.",
            ),
            (
                "polysema.embedding",
                self.embedding.clone(),
                "What is clustered: neuron (the neuron embedding), pre_mlp (the received vector alone) or weighted (the neuron embedding over several tokens).",
            ),
            (
                "polysema.strict",
                self.strict.to_string(),
                "Join only below the threshold, as scikit-learn does, not at it.",
            ),
            (
                "polysema.run",
                self.run.clone(),
                "The run whose tables unqualified names mean, or public, your own tables; empty is the only run of the store.",
            ),
            (
                "polysema.allow_jobs",
                self.allow_jobs.to_string(),
                "Whether long work that writes (ingest) may run.",
            ),
        ]
        .map(|(key, value, description)| ConfigEntry {
            key: key.to_string(),
            value: Some(value),
            description,
        })
        .to_vec()
    }
}

fn parse<T: FromStr>(key: &str, value: &str, required: &str) -> Result<T> {
    value
        .trim()
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| plan_datafusion_err!("SET: polysema.{key} must be {required}, got '{value}'"))
}
