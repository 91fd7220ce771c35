//! polysema: SQL for polysemantic neurons. The engine over `polysema-udfs`:
//!
//! ```text
//! files | settings < policy | options < store | models | jobs < corpus < classifiers | runs < saes < functions < session < shell      imports go down only
//! ```

// A panic must not reach a user, and only front ends print.
#![warn(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

pub mod classifiers;
pub mod corpus;
pub(crate) mod files;
pub mod functions;
pub mod jobs;
pub mod models;
pub mod options;
pub mod policy;
pub mod runs;
pub mod saes;
pub mod session;
pub mod settings;
#[cfg(feature = "shell")]
pub mod shell;
pub mod store;
