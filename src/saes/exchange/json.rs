//! A configuration file: its fields are taken out one by one, each checked for its type; what is left stays as it was.

use std::path::{Path, PathBuf};

use datafusion::error::{DataFusionError, Result};
use serde_json::{Map, Value};

use super::invalid;
use crate::files::regular;

/// An object of a configuration file.
pub(super) struct JsonObject {
    path: PathBuf,
    pub(super) map: Map<String, Value>,
}

impl JsonObject {
    /// Reads a file that holds one object.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let refused = |message: String| invalid(format!("{}: {message}", path.display()));
        let text = regular::read_configuration(path)
            .map_err(|e| refused(format!("a readable file is required, got {e}")))?;
        match serde_json::from_slice(&text) {
            Ok(Value::Object(map)) => Ok(Self {
                path: path.to_path_buf(),
                map,
            }),
            Ok(_) => Err(refused(
                "a JSON object is required, got another value".into(),
            )),
            Err(e) => Err(refused(format!("JSON is required, got {e}"))),
        }
    }

    /// What a file that is not there says: nothing.
    pub(super) fn empty(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            map: Map::new(),
        }
    }

    /// Takes the object of this name out; an empty one if there is none.
    pub(super) fn take_object(&mut self, name: &str) -> Result<Self> {
        let map = match self.map.remove(name) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(self.wrong(name, "an object", &other)),
        };
        Ok(Self {
            path: self.path.clone(),
            map,
        })
    }

    /// Puts what is left of an object back, unless nothing is.
    pub(super) fn put_object(&mut self, name: &str, object: Self) {
        if !object.map.is_empty() {
            self.map.insert(name.to_string(), Value::Object(object.map));
        }
    }

    /// Takes a field out; null is as good as none.
    pub(super) fn take_text(&mut self, name: &str) -> Result<Option<String>> {
        self.take(name, "text", |v| v.as_str().map(str::to_string))
    }

    /// As [`Self::take_text`].
    pub(super) fn take_bool(&mut self, name: &str) -> Result<Option<bool>> {
        self.take(name, "true or false", Value::as_bool)
    }

    /// As [`Self::take_text`].
    pub(super) fn take_count(&mut self, name: &str) -> Result<Option<usize>> {
        self.take(name, "a count", |v| usize::try_from(v.as_u64()?).ok())
    }

    /// As [`Self::take_text`].
    pub(super) fn take_number(&mut self, name: &str) -> Result<Option<f64>> {
        self.take(name, "a number", Value::as_f64)
    }

    /// Refuses a switch that is on and that nobody took, but for some.
    pub(super) fn refuse_switches(&self, known: &[&str]) -> Result<()> {
        let on = self
            .map
            .iter()
            .find(|(name, value)| **value == Value::Bool(true) && !known.contains(&name.as_str()));
        match on {
            None => Ok(()),
            Some((name, _)) => Err(self.invalid(&format!("{name} false is required, got true"))),
        }
    }

    /// A field that must be there.
    pub(super) fn require<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.invalid(&format!("{name} is required, got none")))
    }

    /// An error about this file.
    pub(super) fn invalid(&self, message: &str) -> DataFusionError {
        invalid(format!("{}: {message}", self.path.display()))
    }

    fn take<T>(
        &mut self,
        name: &str,
        what: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(name, what, &value)),
            },
        }
    }

    fn wrong(&self, name: &str, what: &str, got: &Value) -> DataFusionError {
        self.invalid(&format!("{name}: {what} is required, got {got}"))
    }
}
