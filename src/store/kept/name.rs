//! The name of a table that lasts, and where it lies.

use std::fmt;

use datafusion::error::Result;

use crate::files::generations::Generations;
use crate::store::Store;
use crate::store::names::check_name;

use super::manifest::POINTER;

/// Folder of the schemas.
pub(super) const TABLES: &str = "tables";
/// What makes a folder a schema.
pub(super) const MARKER: &str = "schema.json";

/// Schema and table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeptName {
    /// A schema that is no run's.
    pub schema: String,
    /// The table in it.
    pub table: String,
}

impl fmt::Display for KeptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl KeptName {
    /// A table of a schema.
    pub fn new(schema: &str, table: &str) -> Self {
        Self {
            schema: schema.to_string(),
            table: table.to_string(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_name("schema", &self.schema)?;
        check_name("table", &self.table)
    }

    pub(in crate::store) fn place(&self, store: &Store) -> Generations {
        let folder = store.root().join(TABLES).join(&self.schema);
        Generations::new(folder.join(&self.table), POINTER)
    }
}
