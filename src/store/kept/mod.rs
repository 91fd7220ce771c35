//! Tables that last: `tables/SCHEMA/TABLE/table.json` names the generation whose parts, Arrow IPC files, hold the rows.
//! A change writes a new generation, which takes over by a second name what it leaves as it is.

mod manifest;
mod name;
mod provider;
mod scan;
mod schema;
mod sink;
mod table;
mod writer;

pub use name::KeptName;
pub use provider::{KeptProvider, KeptTarget};
pub use scan::KeptScan;
pub use schema::KeptSchema;
pub use table::KeptTable;
pub use writer::{Change, KeptWriter, stored_columns};
