//! polysema: SQL for polysemantic neurons. The engine: store, models, ingest, session and shell over `polysema-udfs`.

pub mod ingest;
pub mod models;
pub mod store;
