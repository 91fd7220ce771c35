//! Queries: their answers, what they cost and what they may.

mod database;
mod random;

#[path = "store/fixture.rs"]
#[allow(unused_imports, reason = "the store's own tests ask for more")]
mod fixture;

mod asked_twice;
mod engine;
mod jobs;
mod joins;
mod options;
mod per_neuron;
mod policy;
mod similarity;
mod slt;
