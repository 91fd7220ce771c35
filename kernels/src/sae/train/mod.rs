//! Training: one step a batch, by gradients derived by hand.

mod adam;
mod dead;
mod forward;
mod gradient;
mod losses;
mod ne_loss;
mod options;
mod scratch;
mod select;
mod snapshot;
#[cfg(test)]
mod tests;
mod trainer;

pub use options::{
    DeadLatents, Decay, Diverged, InvalidOption, LossTerm, Reduction, StepLosses, TrainOptions,
};
pub use snapshot::{Named, Values, WrongState};
pub use trainer::{NamedGradients, Trainer};
