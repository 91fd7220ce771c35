//! Queries: their answers, what they cost and what they may.

mod database;

#[path = "store/fixture.rs"]
mod fixture;

mod engine;
mod jobs;
mod joins;
mod options;
mod per_neuron;
mod policy;
mod similarity;
mod slt;
