//! Names of what a store holds, which are folders' names on disk and words in SQL.

use datafusion::common::plan_err;
use datafusion::error::Result;

/// Names a run cannot have: the catalog's other schemas.
const RESERVED: [&str; 3] = ["public", "info", "information_schema"];

/// A run is a schema's name in SQL, and everything a folder's name on disk.
pub(super) fn check_name(kind: &str, name: &str) -> Result<()> {
    let word = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !word {
        return plan_err!(
            "a {kind} name of letters, digits, '_' and '-' is required, got '{name}'"
        );
    }
    if kind != "model" && RESERVED.iter().any(|r| r.eq_ignore_ascii_case(name)) {
        return plan_err!(
            "a {kind} name other than {} is required, got '{name}'",
            RESERVED.join(", ")
        );
    }
    Ok(())
}
