//! What compares over neurons and tables: the search for the nearest vectors, the clusters that share places, and
//! principal components.

pub mod central_examples;
pub mod coactivation;
pub mod members;
pub mod nearest;
pub mod projection;
mod rows;
