//! Long work as a relation: its rows are its progress, or what it finds while it runs.
//!
//! Nothing happens at planning or EXPLAIN. The work runs on the blocking pool and waits where its rows are not read,
//! unless they are its progress, of which a slow reader then sees the newest. Dropping the stream cancels it, unless it
//! was detached, and a cancelled or failed job leaves nothing behind. Work that writes is written down among the store's
//! jobs, and refused where the session's policy, or its setting `polysema.allow_jobs`, says so.

mod cancel;
mod context;
mod doing;
mod error;
mod exec;
mod job;
mod left;
mod newest;
mod progress;
mod provider;
mod query;
mod record;
mod records;
mod rows;
mod table;

pub use context::JobContext;
pub use doing::Doing;
pub use error::{named, of_another};
pub use exec::WAITING;
pub use job::{Course, Job, Work};
pub use left::{Left, LeftJob, to_the_end};
pub use progress::{Part, is_progress, not_progress};
pub use provider::Effects;
pub use query::{Query, QueryTable};
pub use record::{Record, State};
pub use records::Jobs;
pub use rows::{Batches, Rows, plan};
pub use table::JobsTable;
