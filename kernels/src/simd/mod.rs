//! Vector units: loops compiled for several of them, sums in a fixed order, and the products of many rows.

mod block;
mod dispatch;
mod gram;
mod packed;
mod sums;
mod vector_unit;

pub(crate) use dispatch::{on_avx2, on_widest, wide, widest};
pub(crate) use gram::{Products, Weighted};
pub(crate) use sums::sums_in_lanes;
pub use sums::{LANES, SparseTerm, add_terms, dot, total};
pub(crate) use vector_unit::Isa;
