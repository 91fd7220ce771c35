//! What is read from files and written to them: corpora, models' folders, arrays, stores, and what is left when that fails.
//!
//! The tests stand in a few programs, since each of them holds the whole engine.

mod database;
mod ingest_support;
mod random;
mod support;

#[path = "store/fixture.rs"]
mod fixture;

mod bad_input;
mod copy;
mod corpora;
mod damaged;
mod elsewhere;
mod exchange;
mod exchange_sae;
mod import_run;
mod ingest;
mod kept;
mod killed;
mod resume;
mod sharded;
mod store;
