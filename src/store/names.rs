//! Names of what a store holds, which are folders' names on disk and words in SQL.

use datafusion::common::plan_err;
use datafusion::error::Result;

/// Names a run cannot have: the catalog's other schemas.
const RESERVED: [&str; 3] = ["public", "info", "information_schema"];

/// The one catalog. An older store may have a run of its name.
const CATALOG: &str = "polysema";

/// The file that says of which version a store is.
pub(super) const STORE: &str = "store.json";

/// The folder of the runs.
pub(super) const RUNS: &str = "runs";

/// The folder of what unfinished ingests have kept.
pub(super) const UNFINISHED: &str = "ingests";

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
    // A model and a table are no schema's name.
    if kind == "schema" && name.eq_ignore_ascii_case(CATALOG) {
        return plan_err!("a schema name other than the catalog's is required, got '{name}'");
    }
    if !matches!(kind, "model" | "table") && RESERVED.iter().any(|r| r.eq_ignore_ascii_case(name)) {
        return plan_err!(
            "a {kind} name other than {} is required, got '{name}'",
            RESERVED.join(", ")
        );
    }
    Ok(())
}
