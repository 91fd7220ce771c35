//! polysema: SQL for polysemantic neurons. The engine over `polysema-udfs`:
//!
//! ```text
//! store < models < ingest < saes < jobs < functions < session < shell      imports go down only
//! ```

#![deny(missing_docs)]

pub mod functions;
pub mod ingest;
pub mod jobs;
pub mod models;
pub mod saes;
pub mod session;
pub mod shell;
pub mod store;
