//! Vector units: loops compiled for several of them, sums in a fixed order, and the products of many rows.

#[cfg(target_arch = "aarch64")]
mod arm;
mod block;
mod dispatch;
mod gram;
mod packed;
mod sums;
mod vector_unit;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use dispatch::{Task, wide};
pub(crate) use gram::{Products, Weighted};
pub(crate) use sums::sums_in_lanes;
pub use sums::{LANES, SparseTerm, add_terms, dot, total};
pub(crate) use vector_unit::Isa;
