//! Pictures as SVG from numbers and texts, for functions, pages and reports.
//!
//! A mark has a class, by which a page's [`STYLE`] sets its colour in light and dark, and presentation attributes, by which
//! a picture alone is what it is. None has a style attribute, which a strict content security policy refuses, and nothing
//! refers to another place.

mod axis;
mod bars;
mod curve;
mod dendrogram;
mod heat_map;
mod palette;
mod picture;
mod scatter;
mod text;

pub use axis::{Axis, number};
pub use bars::{Bar, bars};
pub use curve::{Shape, curve};
pub use dendrogram::{Dendrogram, KeyInContext, dendrogram};
pub use heat_map::{HeatMap, heat, heat_map};
pub use palette::{Ink, STYLE};
pub use picture::{About, Anchor, Picture};
pub use scatter::{Point, scatter};
pub use text::{columns, escaped, first_columns, is_hidden, last_columns, visible};
