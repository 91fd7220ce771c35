//! The settings `polysema.*` of an engine's session: those of the plugin and the engine's own beside them.

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use polysema_udfs::calls::settings::{HostSetting, PolysemaOptions};

const RUN: &str = "run";
const ALLOW_JOBS: &str = "allow_jobs";

/// All settings with their defaults.
pub fn defaults() -> PolysemaOptions {
    PolysemaOptions::with_host(vec![
        HostSetting {
            name: RUN,
            summary: "The run whose tables unqualified names mean, or public, your own tables; empty is the only run of the store.",
            value: String::new(),
            is_boolean: false,
        },
        HostSetting {
            name: ALLOW_JOBS,
            summary: "Whether long work that writes (ingest) may run.",
            value: true.to_string(),
            is_boolean: true,
        },
    ])
}

/// The run whose tables unqualified names mean, or `public`; empty is the only run of the store.
pub fn run(settings: &PolysemaOptions) -> &str {
    settings.host(RUN).unwrap_or_default()
}

/// Whether long work that writes may run.
pub fn allow_jobs(options: &ConfigOptions) -> Result<bool> {
    let settings = PolysemaOptions::of(options)?;
    Ok(settings.host(ALLOW_JOBS) != Some("false"))
}
