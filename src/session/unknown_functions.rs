//! Calls of table functions that do not exist. The plugin leaves them to the session; this one knows every name there is
//! and says which was meant.

use std::fmt;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::{Diagnostic, Span, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::TableFactor;
use polysema_udfs::calls::called;

/// Refuses names that are no table function of the session.
pub(super) struct UnknownFunctions {
    is_known: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Names shown; those of DataFusion are known, not shown.
    ours: Vec<&'static str>,
    /// Our functions that give one value.
    values: Vec<&'static str>,
}

impl UnknownFunctions {
    pub(super) fn new(
        context: &SessionContext,
        mut ours: Vec<&'static str>,
        values: Vec<&'static str>,
    ) -> Self {
        ours.sort_unstable();
        // The planner is a part of the state, which may have functions by then that are not registered yet.
        let state = context.state_weak_ref();
        let is_known = move |name: &str| {
            let state = state.upgrade();
            state.is_none_or(|state| state.read().table_functions().contains_key(name))
        };
        Self {
            is_known: Box::new(is_known),
            ours,
            values,
        }
    }

    fn unknown<T>(&self, name: &str) -> Result<T> {
        // A slip of the hand; beyond two letters another word is meant.
        let wanted = name.to_ascii_lowercase();
        if self.values.contains(&wanted.as_str()) {
            return plan_err!(
                "FROM: a function that gives rows is required, got {wanted}, which gives a value: SELECT {wanted}(...)"
            );
        }
        let near: Vec<_> = self
            .ours
            .iter()
            .filter(|known| levenshtein(known, &wanted) <= 2)
            .map(|known| format!("'{known}'"))
            .collect();
        let near = match near.is_empty() {
            true => String::new(),
            false => format!(" (is {} meant?)", near.join(" or ")),
        };
        plan_err!(
            "FROM: a table function is required, got '{name}'{near}; functions: {}",
            self.ours.join(", ")
        )
    }
}

impl fmt::Debug for UnknownFunctions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("UnknownFunctions")
            .field("ours", &self.ours)
            .finish_non_exhaustive()
    }
}

impl RelationPlanner for UnknownFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if let Some((name, before)) = called(&relation) {
            // The stock planner looks a call up as it is written.
            let written = [name.to_string(), context.normalize_ident(name.clone())];
            if !written.iter().any(|name| (self.is_known)(name)) {
                let place = Span::try_from_sqlparser_span(name.span);
                return self.unknown(&name.value).map_err(|error| {
                    error.with_diagnostic_fn(|error| {
                        Diagnostic::new_error(error.strip_backtrace(), place)
                    })
                });
            }
            // One that is not ours would have its first word taken for the function.
            if let Some(run) = before.first()
                && !self.ours.contains(&written[1].as_str())
            {
                return plan_err!(
                    "{name}: a call without a run is required, since it reads none, got {run}.{name}()"
                );
            }
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}
