//! Queries over worker processes. What of a plan works on ranges of neurons is done by workers that have the same store,
//! range by range; all else is done by who asks. A plan is sent as what it reads and computes, never as data.
//!
//! A range is asked of another worker where one is lost, as long as none of its rows was handed on.

mod address;
mod codec;
mod exec;
mod fetch;
mod headers;
mod loss;
mod nodes;
mod payload;
mod pool;
mod scatter;
mod server;
mod told;

pub use address::TlsFiles;
pub use codec::PlanCodec;
pub use pool::Workers;
pub use scatter::Scatter;
pub use server::{Listener, Template};

/// What a worker says of itself, and is required to: a plan is read by the program that wrote it only.
fn version() -> String {
    format!(
        "polysema {}, plans of version {}",
        env!("CARGO_PKG_VERSION"),
        payload::VERSION
    )
}
