//! Functions that compare across neurons and tables: what is most like a vector, and vectors as points.
//!
//! A zero vector has no direction: it is like nothing and left out, and cannot be searched for.

mod central_examples;
mod coactivation;
mod nearest;
mod project;
mod similar_features;

use crate::calls::Function;

/// The chapter, in reading order.
pub fn functions() -> Vec<Function> {
    vec![
        nearest::function(),
        central_examples::function(),
        similar_features::function(),
        coactivation::function(),
        project::function(),
    ]
}
