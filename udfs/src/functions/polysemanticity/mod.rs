//! How many things a neuron does, in numbers. An undefined metric is NULL.

use crate::calls::Function;

mod neuron_polysemanticity;
mod neuron_profile;
#[expect(
    clippy::module_inception,
    reason = "the file has the name of its function, as every other"
)]
mod polysemanticity;

/// The chapter's functions in reading order.
pub fn functions() -> Vec<Function> {
    vec![
        neuron_polysemanticity::function(),
        neuron_profile::function(),
        polysemanticity::function(),
    ]
}
