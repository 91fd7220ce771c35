//! Models and autoencoders against numbers made elsewhere.

mod database;
mod support;

mod architectures;
mod encoders;
mod gated;
mod golden;
mod image_encoders;
mod mnist;
mod models;
mod run_model;
mod sae;
