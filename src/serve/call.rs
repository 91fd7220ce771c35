//! One call of a function that asks about the server, a session or its objects.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;

use super::objects::SessionView;

/// What a function answers a row with.
pub(super) type CallAnswer = fn(&FunctionCall<'_>) -> Result<ScalarValue>;

/// One call: the values of its arguments, who asks, and the settings of the statement.
pub(super) struct FunctionCall<'a> {
    pub(super) name: &'static str,
    pub(super) seen: &'a SessionView,
    pub(super) config: &'a ConfigOptions,
    pub(super) values: &'a [ScalarValue],
}

impl FunctionCall<'_> {
    pub(super) fn text(&self, at: usize) -> Option<String> {
        let value = self.values.get(at)?;
        match value.try_as_str() {
            Some(text) => text.map(str::to_string),
            None => (!value.is_null()).then(|| value.to_string()),
        }
    }

    /// The schema of unqualified names.
    pub(super) fn schema(&self) -> &str {
        &self.config.catalog.default_schema
    }
}

/// An answer that is text.
pub(super) fn text(text: &str) -> Result<ScalarValue> {
    Ok(ScalarValue::from(text))
}

/// The number of an argument that is one, or has one's digits.
pub(super) fn number(value: Option<&ScalarValue>) -> Option<i32> {
    let value = value?;
    match value.try_as_str() {
        Some(text) => text?.parse().ok(),
        None => value
            .cast_to(&DataType::Int32)
            .ok()
            .and_then(|value| match value {
                ScalarValue::Int32(number) => number,
                _ => None,
            }),
    }
}
