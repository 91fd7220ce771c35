//! What compares over neurons and tables: the search for the nearest vectors, and the clusters that share places.

mod best;
pub mod central_examples;
pub mod coactivation;
pub mod members;
pub mod nearest;

pub use best::{SIMILARITY, Search, orders_ties, with_similarity};
