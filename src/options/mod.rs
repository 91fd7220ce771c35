//! Options of calls: a line of a table says what each is, one reader checks what is given, and documents, completion
//! and messages are made from the same line.
//!
//! An option is a [`Key`] (`CONTEXT`) whose [`Spec`] stands in the table of every function that takes it; its value
//! is [`Options::get`], whether it was given [`Options::given`].

mod candidate;
mod key;
mod spec;
#[cfg(test)]
mod tests;
mod values;

pub use key::{Key, Typed, Word};
pub use spec::{Instead, Kind, MOST, OtherWord, Rule, Spec, Usual, Value, markdown, parameters};
pub use values::Options;
