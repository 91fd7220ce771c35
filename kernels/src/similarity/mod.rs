//! What lies near a vector, which neurons are active together, and vectors as points of a plane.

pub mod coactivation;
pub mod projection;
pub mod search;
