//! polysema: SQL for polysemantic neurons. The engine: store, models, ingest, session and shell over `polysema-udfs`.

pub mod models;
pub mod session;
pub mod shell;
pub mod store;
