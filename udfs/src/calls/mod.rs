//! From text to a call: documents, arguments by position and by name, settings, the planner of calls in FROM, parameters of
//! prepared statements, columns of outer tables.
//!
//! DataFusion's own path, which knows positions only, stays open beside the planner.

pub mod aggregate;
mod arguments;
mod binding;
mod call;
mod callable;
mod deferred;
mod document;
mod function;
mod hints;
mod in_schema;
mod lookup;
mod planner;
pub mod scalar;
pub mod settings;
mod udtf;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::context::SessionContext;

pub use arguments::{Arguments, Relation, Values, shown};
pub use binding::{did_you_mean, unknown_option};
pub use call::called;
pub use callable::Callable;
pub use document::{FunctionDoc, Parameter, RELATION, RUN, TEXT_OR_RELATION};
pub use function::{Function, Implementation, TableFunction};
pub use in_schema::InSchema;

/// Gives a session these functions, by position and by name.
pub fn register(ctx: &SessionContext, functions: Vec<Callable>) -> Result<()> {
    for function in &functions {
        let udtf = udtf::Udtf(function.clone());
        ctx.register_udtf(function.doc.name, Arc::new(udtf));
    }
    ctx.register_udtf(lookup::NAME, Arc::new(lookup::Lookup));
    ctx.add_analyzer_rule(Arc::new(deferred::PlanDeferred));
    ctx.register_relation_planner(Arc::new(planner::CallPlanner::new(functions)))
}
