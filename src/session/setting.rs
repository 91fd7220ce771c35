//! SET and RESET: what a setting is called, and which values it takes.

use datafusion::common::config::{ConfigOptions, ExtensionOptions};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::SetVariable;
use polysema_udfs::calls::settings::PolysemaOptions;
use polysema_udfs::per_neuron::ClusterOptions;

use crate::settings;
use crate::store::{PUBLIC, Store};

/// Refuses a value of `polysema.*` when it is set, not when it is first used.
pub(super) fn check(options: &ConfigOptions, store: &Store, set: &SetVariable) -> Result<()> {
    let Some(name) = set.variable.strip_prefix("polysema.") else {
        return Ok(());
    };
    let mut options = PolysemaOptions::of(options)?;
    options.set(name, &set.value)?;
    ClusterOptions::from_settings("SET", &options)?;
    // Beside the runs there is the schema of the user's own tables.
    let run = settings::run(&options);
    let schema = run.is_empty() || run == PUBLIC;
    if name == "run" && !schema && !store.has(run) {
        let runs = store.runs()?;
        let known = match runs.is_empty() {
            true => "a run of the store, which has none yet".to_string(),
            false => format!("one of {}", runs.join(", ")),
        };
        return plan_err!("SET: polysema.run must be {known}, got '{run}'");
    }
    Ok(())
}

/// A setting's name with its namespace, which may be left out of ours.
pub(super) fn whole_name(variable: String) -> String {
    let whole = format!("polysema.{variable}");
    let ours = settings::defaults().entries();
    match ours.iter().any(|entry| entry.key == whole) {
        true => whole,
        false => variable,
    }
}

/// RESET of a setting `polysema.*` as the SET it means; DataFusion resets its own settings only.
pub(super) fn to_default(variable: &str) -> Option<SetVariable> {
    let defaults = settings::defaults().entries();
    let entry = defaults.into_iter().find(|entry| entry.key == variable)?;
    Some(SetVariable {
        variable: entry.key,
        value: entry.value.unwrap_or_default(),
    })
}
