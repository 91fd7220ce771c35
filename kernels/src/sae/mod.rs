//! Sparse autoencoders: a vector as a sparse sum of learned directions.
//!
//! ```text
//! z = W_enc (x - b_dec) + b_enc     [d_sae]   (without the subtraction where `centered` is false)
//! a = activation(z)                 [d_sae]
//! y = a W_dec + b_dec               [d_out]
//! ```
//!
//! Files from elsewhere may say more: a norm that is taken off `x` first and put back on `y`, and `W_skip x`, which is added
//! to `y`. A transcoder's `y` stands for what a model gives at another place than `x` is from; an autoencoder's for `x`.
//!
//! Both matrices hold a row a latent, so that a latent's input and output direction are each one slice.
//! Source: Foote 2024, section 3.3.2; variants: Gao et al. 2024 (top-k), Bussmann et al. 2024 (batch top-k),
//! Rajamanoharan et al. 2024 (gated; jump ReLU).

mod encode;
pub mod evaluation;
mod init;
mod model;
mod spread;
mod train;

pub use init::Init;
pub use model::{InputNorm, Sae, Variant};
pub use spread::Spread;
pub use train::{
    DeadLatents, Decay, Diverged, InvalidOption, LossTerm, Named, NamedGradients, Reduction,
    StepLosses, TrainOptions, Trainer, Values, WrongState,
};
