//! The inputs that a plan gives an operator of ours in place of its own.

use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::ExecutionPlan;

/// The input of an operator that has one.
///
/// Errors (internal): none, or more of them.
pub fn only_input(
    operator: &str,
    mut inputs: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    match (inputs.pop(), inputs.pop()) {
        (Some(input), None) => Ok(input),
        _ => internal_err!("{operator} has one child"),
    }
}
