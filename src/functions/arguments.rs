//! What the engine's functions ask of their arguments alike.

use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::{Arguments, Parameter};

use crate::corpus::OptionDoc;

/// Text that has to be given.
pub fn required(arguments: &Arguments, name: &str) -> Result<String> {
    match arguments.text(name)? {
        Some(text) => Ok(text),
        None => plan_err!("{}: {name} must be text, got NULL", arguments.function()),
    }
}

/// The options given, as a parser of texts reads them, without those that the function reads itself.
pub fn texts<'a>(arguments: &'a Arguments, own: &[&str]) -> Vec<(&'a str, String)> {
    let given = arguments
        .options()
        .iter()
        .filter(|(name, value)| !value.is_null() && !own.contains(&name.as_str()));
    let text = |(name, value): &'a (String, datafusion::common::ScalarValue)| {
        let text = match value.try_as_str() {
            Some(Some(text)) => text.to_string(),
            _ => value.to_string(),
        };
        (name.as_str(), text)
    };
    given.map(text).collect()
}

/// An option as a function's documentation has it.
pub fn parameter(option: OptionDoc) -> Parameter {
    Parameter {
        name: option.name,
        kind: option.range,
        summary: option.meaning,
    }
}
