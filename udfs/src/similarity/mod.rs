//! What compares over neurons and tables: the search for the nearest vectors, and the clusters that share places.

pub mod central_examples;
pub mod coactivation;
pub mod members;
pub mod nearest;
