//! The settings `polysema.*`: session-wide defaults that a function's options override.

use std::any::Any;
use std::str::FromStr;

use datafusion::common::config::{
    ConfigEntry, ConfigExtension, ConfigOptions, DATAFUSION_FFI_CONFIG_NAMESPACE, ExtensionOptions,
};
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
    /// Settings of whoever embeds the plugin.
    pub host: Vec<HostSetting>,
}

/// A setting of whoever embeds the plugin, in the same namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSetting {
    /// Name after `polysema.`.
    pub name: &'static str,
    /// What it means.
    pub summary: &'static str,
    /// Its value, to begin with the default.
    pub value: String,
    /// Whether values are true and false, else any text.
    pub is_boolean: bool,
}

/// What there is to know of a setting.
struct Setting {
    name: &'static str,
    summary: &'static str,
    get: fn(&PolysemaOptions) -> String,
    set: fn(&mut PolysemaOptions, key: &str, value: &str) -> Result<()>,
}

const SETTINGS: [Setting; 5] = [
    Setting {
        name: "threshold",
        summary: "Largest merge height inside a feature cluster, in [0, 2].",
        get: |options| options.threshold.to_string(),
        set: |options, key, value| {
            parse(key, value, "a number").map(|value| options.threshold = value)
        },
    },
    Setting {
        name: "method",
        summary: "How clusters are found: hac (hierarchical) or scc (sub-cluster components, without the matrix of distances).",
        get: |options| options.method.clone(),
        set: |options, _, value| {
            options.method = value.to_string();
            Ok(())
        },
    },
    Setting {
        name: "linkage",
        summary: "How clusters are joined: average, single, complete, weighted, ward, centroid or median.",
        get: |options| options.linkage.clone(),
        set: |options, _, value| {
            options.linkage = value.to_string();
            Ok(())
        },
    },
    Setting {
        name: "embedding",
        summary: "What is clustered: neuron (the neuron embedding), pre_mlp (the received vector alone) or weighted (the neuron embedding over several tokens).",
        get: |options| options.embedding.clone(),
        set: |options, _, value| {
            options.embedding = value.to_string();
            Ok(())
        },
    },
    Setting {
        name: "strict",
        summary: "Join only below the threshold, as scikit-learn does, not at it.",
        get: |options| options.strict.to_string(),
        set: |options, key, value| parse(key, value, BOOLEAN).map(|value| options.strict = value),
    },
];

const BOOLEAN: &str = "true or false";

impl Default for PolysemaOptions {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            method: "hac".to_string(),
            linkage: "average".to_string(),
            embedding: "neuron".to_string(),
            strict: false,
            host: Vec::new(),
        }
    }
}

impl ConfigExtension for PolysemaOptions {
    const PREFIX: &'static str = "polysema";
}

impl PolysemaOptions {
    /// The defaults with settings of the host.
    pub fn with_host(host: Vec<HostSetting>) -> Self {
        Self {
            host,
            ..Self::default()
        }
    }

    /// The session's settings, or the defaults where the extension was never registered.
    ///
    /// Errors (planning): a value that came over a foreign function interface, which takes any, and is none.
    pub fn of(options: &ConfigOptions) -> Result<Self> {
        if let Some(own) = options.extensions.get::<Self>() {
            return Ok(own.clone());
        }
        let mut settings = Self::default();
        let mut foreign = options.extensions.iter();
        let foreign = foreign.find(|(prefix, _)| *prefix == DATAFUSION_FFI_CONFIG_NAMESPACE);
        let Some((_, foreign)) = foreign else {
            return Ok(settings);
        };
        // Across datafusion-ffi all extensions are one, whose keys have each extension's prefix before the entries' keys,
        // which have it here already. What SET wrote has it once, and comes last.
        let entries = foreign.entries();
        for prefix in ["polysema.polysema.", "polysema."] {
            for entry in &entries {
                if let Some(key) = entry.key.strip_prefix(prefix)
                    && !key.starts_with("polysema.")
                    && let Some(value) = &entry.value
                {
                    settings.set(key, value)?;
                }
            }
        }
        Ok(settings)
    }

    /// The value of a setting of the host.
    pub fn host(&self, name: &str) -> Option<&str> {
        let setting = self.host.iter().find(|setting| setting.name == name)?;
        Some(&setting.value)
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
        let key = key.strip_prefix("polysema.").unwrap_or(key);
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) {
            return (setting.set)(self, key, value);
        }
        if let Some(setting) = self.host.iter_mut().find(|setting| setting.name == key) {
            setting.value = match setting.is_boolean {
                true => parse::<bool>(key, value, BOOLEAN)?.to_string(),
                false => value.to_string(),
            };
            return Ok(());
        }
        let known: Vec<_> = self.entries().into_iter().map(|entry| entry.key).collect();
        plan_err!(
            "SET: settings are {}, got 'polysema.{key}'",
            known.join(", ")
        )
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let own = SETTINGS
            .iter()
            .map(|setting| (setting.name, (setting.get)(self), setting.summary));
        let host = self
            .host
            .iter()
            .map(|setting| (setting.name, setting.value.clone(), setting.summary));
        let entry = |(name, value, description)| ConfigEntry {
            key: format!("polysema.{name}"),
            value: Some(value),
            description,
        };
        own.chain(host).map(entry).collect()
    }
}

fn parse<T: FromStr>(key: &str, value: &str, required: &str) -> Result<T> {
    let plain = value.trim().to_ascii_lowercase();
    plain
        .parse()
        .map_err(|_| plan_datafusion_err!("SET: polysema.{key} must be {required}, got '{value}'"))
}
