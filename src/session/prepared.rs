//! What the statements mean that a session has prepared: the schema of unqualified names and the states of the runs, as
//! they were at PREPARE, so that the calls of one read the same as its tables.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, Statement};
use datafusion::prelude::SessionContext;

use super::catalogs::runs_of;
use crate::store::Run;

/// Statements by their names.
#[derive(Debug, Default)]
pub(super) struct Prepared(Mutex<HashMap<String, Stored>>);

/// What the names of a statement mean.
#[derive(Debug, Clone)]
pub(super) struct Meaning {
    /// Where unqualified names are looked up.
    pub schema: String,
    /// The runs whose tables it names.
    pub runs: Vec<Arc<Run>>,
}

/// A statement that was prepared.
#[derive(Debug)]
struct Stored {
    plan: Arc<LogicalPlan>,
    meaning: Meaning,
}

impl Prepared {
    /// Remembers a statement that is prepared in `context`, forgets one that is deallocated, and tells what one means that is
    /// executed.
    pub(super) fn follow(
        &self,
        plan: &LogicalPlan,
        context: &SessionContext,
    ) -> Result<Option<Meaning>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match plan {
            LogicalPlan::Statement(Statement::Prepare(prepare)) => {
                let state = context.state_ref();
                let meaning = Meaning {
                    schema: state.read().config_options().catalog.default_schema.clone(),
                    runs: runs_of(&prepare.input)?,
                };
                let plan = Arc::clone(&prepare.input);
                // A name that is taken is refused.
                let name = prepare.name.clone();
                known.entry(name).or_insert(Stored { plan, meaning });
                Ok(None)
            }
            LogicalPlan::Statement(Statement::Deallocate(deallocate)) => {
                known.remove(&deallocate.name);
                Ok(None)
            }
            LogicalPlan::Statement(Statement::Execute(execute)) => Ok(known
                .get(&execute.name)
                .map(|stored| stored.meaning.clone())),
            _ => Ok(None),
        }
    }

    /// The plan that EXECUTE runs; none of another statement, and none where nothing is prepared under its name.
    pub(super) fn executed(&self, plan: &LogicalPlan) -> Option<Arc<LogicalPlan>> {
        let LogicalPlan::Statement(Statement::Execute(execute)) = plan else {
            return None;
        };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = known.get(&execute.name)?;
        Some(Arc::clone(&stored.plan))
    }

    /// The names that are taken.
    pub(super) fn names(&self) -> Vec<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys().cloned().collect()
    }
}
