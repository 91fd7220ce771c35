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
pub(super) struct Prepared(Mutex<HashMap<String, Meaning>>);

/// What the names of a statement mean.
#[derive(Debug, Clone)]
pub(super) struct Meaning {
    /// Where unqualified names are looked up.
    pub schema: String,
    /// The runs whose tables it names.
    pub runs: Vec<Arc<Run>>,
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
                // A name that is taken is refused.
                known.entry(prepare.name.clone()).or_insert(meaning);
                Ok(None)
            }
            LogicalPlan::Statement(Statement::Deallocate(deallocate)) => {
                known.remove(&deallocate.name);
                Ok(None)
            }
            LogicalPlan::Statement(Statement::Execute(execute)) => {
                Ok(known.get(&execute.name).cloned())
            }
            _ => Ok(None),
        }
    }
}
