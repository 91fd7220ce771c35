//! A call as names and values, which another process reads back: what is sent of a call to where it runs.

use std::str::FromStr;

use datafusion::common::{Result, plan_datafusion_err};

use super::bound::{BoundOptions, Value};
use super::function::{BoundCall, PerNeuron};
use super::options::{ClusterOptions, Cut, Embedding, Method};
use polysema_kernels::Linkage;

/// What the texts of a call name, as this program has it: names in it live as long as it does.
pub struct KnownNames<'a> {
    /// The names of functions and of their parameters.
    pub names: &'a dyn Fn(&str) -> Option<&'static str>,
    /// The functions whose rows a call may give.
    pub functions: &'a dyn Fn(&str) -> Option<&'static PerNeuron>,
}

impl BoundCall {
    /// All that its rows depend on beside the tables. Numbers are written so that the same ones are read.
    pub fn texts(&self) -> Vec<(String, String)> {
        let ClusterOptions {
            cut,
            method,
            linkage,
            embedding,
            strict,
        } = self.options.clustering;
        let cut = match cut {
            Cut::Threshold(threshold) => ("threshold", threshold.to_string()),
            Cut::AtMost(n_clusters) => ("n_clusters", n_clusters.to_string()),
        };
        let shared = [
            ("name", self.name.to_string()),
            ("function", self.function.name.to_string()),
            cut,
            ("method", method.name().to_string()),
            ("linkage", linkage.name().to_string()),
            ("embedding", embedding.name().to_string()),
            ("strict", strict.to_string()),
        ];
        let own = self.options.all_own().iter().map(|(name, value)| {
            let (kind, value) = match value {
                Value::Count(n) => ("count", n.to_string()),
                Value::Number(x) => ("number", x.to_string()),
                Value::Text(text) => ("text", text.clone()),
                Value::Flag(flag) => ("flag", flag.to_string()),
            };
            (format!("{kind} {name}"), value)
        });
        let shared = shared
            .into_iter()
            .map(|(name, value)| (name.to_string(), value));
        shared.chain(own).collect()
    }

    /// The call that these texts say.
    ///
    /// Errors: a function or an option that this program does not have.
    pub fn of_texts(texts: &[(String, String)], known: &KnownNames) -> Result<Self> {
        let text = |name: &str| {
            let mut texts = texts.iter();
            let found = texts.find(|(found, _)| found == name);
            found.map(|(_, value)| value.as_str())
        };
        let required = |name: &str| {
            text(name).ok_or_else(|| plan_datafusion_err!("a call requires {name}, got none"))
        };
        let cut = match text("n_clusters") {
            Some(n_clusters) => Cut::AtMost(parsed("n_clusters", n_clusters)?),
            None => Cut::Threshold(parsed("threshold", required("threshold")?)?),
        };
        let clustering = ClusterOptions {
            cut,
            method: named("method", required("method")?, Method::parse)?,
            linkage: named("linkage", required("linkage")?, Linkage::parse)?,
            embedding: named("embedding", required("embedding")?, Embedding::parse)?,
            strict: parsed("strict", required("strict")?)?,
        };
        let mut own = vec![];
        for (key, value) in texts {
            let Some((kind, name)) = key.split_once(' ') else {
                continue;
            };
            let value = match kind {
                "count" => Value::Count(parsed(name, value)?),
                "number" => Value::Number(parsed(name, value)?),
                "flag" => Value::Flag(parsed(name, value)?),
                _ => Value::Text(value.clone()),
            };
            own.push((named("option", name, known.names)?, value));
        }
        Ok(Self {
            name: named("function", required("name")?, known.names)?,
            function: named("function", required("function")?, known.functions)?,
            options: BoundOptions::of(clustering, own),
        })
    }
}

fn parsed<T: FromStr>(name: &str, value: &str) -> Result<T> {
    let refused = |_| plan_datafusion_err!("{name} has another form here, got '{value}'");
    value.parse().map_err(refused)
}

fn named<T>(what: &str, name: &str, known: impl Fn(&str) -> Option<T>) -> Result<T> {
    known(name).ok_or_else(|| plan_datafusion_err!("a known {what} is required, got '{name}'"))
}
