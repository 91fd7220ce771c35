//! What the engine's functions ask of their arguments alike.

use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::Arguments;

/// Text that has to be given.
pub fn required(arguments: &Arguments, name: &str) -> Result<String> {
    match arguments.text(name)? {
        Some(text) => Ok(text),
        None => plan_err!("{}: {name} must be text, got NULL", arguments.function()),
    }
}
