//! What lies near a vector, and which neurons are active together.

pub mod coactivation;
pub mod search;
