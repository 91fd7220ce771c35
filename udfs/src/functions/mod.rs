//! One folder a chapter of the manual, one file a SQL function.

pub mod cluster;
pub mod examples;
pub mod neuron;
pub mod polysemanticity;
pub mod similarity;
pub mod vector;
