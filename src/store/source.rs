//! Where something came from: files of which more is kept than a name, and the versions of what wrote.

use std::path::Path;

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use crate::hub::HubPlace;

/// Version of the files' layout; a store of another version is refused.
pub const FORMAT: u32 = 4;

/// A file or folder the run was made from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Where it was; of the hub, its name with the commit.
    pub path: String,
    /// Hash of its content.
    pub hash: String,
    /// Of the hub, the name as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
}

impl Source {
    /// A relation, by how it was written. It is no path from the root, as those of files are.
    pub fn of_relation(written: &str) -> Self {
        Self {
            path: written.to_string(),
            ..Self::default()
        }
    }

    /// What a name of the hub meant, which its commit fixes.
    pub fn of_hub(found: &HubPlace) -> Self {
        Self {
            path: found.pinned.clone(),
            written: Some(found.written.clone()),
            ..Self::default()
        }
    }

    /// Whether it is of the hub.
    pub fn is_of_hub(&self) -> bool {
        self.written.is_some()
    }

    /// Whether it is a relation, which cannot be read again.
    pub fn is_relation(&self) -> bool {
        !Path::new(&self.path).is_absolute() && !self.is_of_hub()
    }

    /// Where something is, from whatever folder it is looked for later.
    ///
    /// Errors: the path is no text.
    pub fn of(path: &Path, hash: &str) -> Result<Self> {
        let absolute = std::path::absolute(path)
            .map_err(|e| exec_datafusion_err!("find {}: {e}", path.display()))?;
        match absolute.to_str() {
            Some(path) => Ok(Self {
                path: path.to_string(),
                hash: hash.to_string(),
                written: None,
            }),
            None => exec_err!(
                "a path of UTF-8 text is required, got {}",
                absolute.display()
            ),
        }
    }
}

/// What wrote the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    /// Of this crate.
    pub polysema: String,
    /// Of the query engine.
    pub datafusion: String,
    /// Of the files' layout.
    pub store: u32,
}

impl Default for Versions {
    /// The versions of this build.
    fn default() -> Self {
        Self {
            polysema: env!("CARGO_PKG_VERSION").to_string(),
            datafusion: datafusion::DATAFUSION_VERSION.to_string(),
            store: FORMAT,
        }
    }
}
