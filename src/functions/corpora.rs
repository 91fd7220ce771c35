//! A corpus as it is given to a function: files, a name of the hub, or the rows of a table or a query.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use polysema_udfs::arrow::tables::table_by_reference;
use polysema_udfs::calls::{Arguments, Relation};

use crate::corpus::is_there;
use crate::hub::is_hub_name;

/// A corpus as it was written.
#[derive(Debug, Clone)]
pub enum GivenCorpus {
    /// A query or a table of the statement.
    Relation(Relation),
    /// What is a table's name where there is nothing of this name on the disk.
    Name(String),
}

impl GivenCorpus {
    /// The argument or option called `name`; none if it was left out.
    pub fn of(arguments: &Arguments, name: &str) -> Result<Option<Self>> {
        match arguments.relation(name) {
            Some(relation) => Ok(Some(Self::Relation(relation.clone()))),
            None => Ok(arguments.text(name)?.map(Self::Name)),
        }
    }

    /// The argument called `name`, which has to be given.
    pub fn required(arguments: &Arguments, name: &str) -> Result<Self> {
        match Self::of(arguments, name)? {
            Some(corpus) => Ok(corpus),
            None => plan_err!("{}: {name} must be text, got NULL", arguments.function()),
        }
    }

    /// What it means now.
    pub async fn resolve(&self, function: &str, state: &dyn Session) -> Result<ResolvedCorpus> {
        let name = match self {
            Self::Relation(relation) => return Ok(ResolvedCorpus::of(relation.clone())),
            Self::Name(name) => name,
        };
        let files = ResolvedCorpus {
            written: name.clone(),
            rows: None,
        };
        if is_there(Path::new(name)) || is_hub_name(Path::new(name)) {
            return Ok(files);
        }
        let Ok(table) = table_by_reference(state, function, name).await else {
            return Ok(files);
        };
        let name = TableReference::from(name.as_str());
        let written = name.to_quoted_string();
        let plan = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.build()?;
        Ok(ResolvedCorpus {
            written,
            rows: Some(Arc::new(plan)),
        })
    }
}

/// What a corpus means in a session.
#[derive(Debug, Clone)]
pub struct ResolvedCorpus {
    /// Files or a name of the hub; of rows, how they were written.
    pub written: String,
    /// The relation whose rows it is.
    pub rows: Option<Arc<LogicalPlan>>,
}

impl ResolvedCorpus {
    fn of(relation: Relation) -> Self {
        Self {
            written: relation.written,
            rows: Some(relation.plan),
        }
    }

    /// Where its files are; of rows, how they were written.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.written)
    }
}
