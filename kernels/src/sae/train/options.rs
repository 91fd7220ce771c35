//! What a training is told and what a step tells.

use std::fmt;

/// How an autoencoder is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Adam's step size once warm.
    pub learning_rate: f32,
    /// Steps over which the learning rate rises linearly; 0 starts at the full one.
    pub warmup_steps: u64,
    /// Adam's decay of the mean gradient.
    pub beta1: f32,
    /// Adam's decay of the mean squared gradient.
    pub beta2: f32,
    /// Adam's term below the fraction.
    pub epsilon: f32,
    /// Pull of every parameter but thresholds towards 0.
    pub weight_decay: f32,
    /// How the pull acts.
    pub decay: Decay,
    /// Largest norm of the gradient of all parameters together; a larger one is scaled down to it.
    pub clip_norm: Option<f32>,
    /// Weight of the sparsity term: the sum of the activations, of a gated one's open gates, the number of active
    /// latents of a jump ReLU.
    pub l1: f32,
    /// Weight of the neuron embedding loss; without it no averages are kept.
    pub ne_loss: f32,
    /// Weight of the old average, in [0, 1).
    pub ne_momentum: f32,
    /// First step, from 0, with the neuron embedding loss; the averages are kept from step 0.
    pub ne_start_step: u64,
    /// Whether embeddings are of `x - b_dec` rather than of `x`.
    pub ne_centered: bool,
    /// Whether the sparsity and neuron embedding terms are sums over a batch or means over its rows.
    pub reduction: Reduction,
    /// Whether the rows of the decoder are held at norm 1.
    pub unit_norm_decoder: bool,
    /// Width of the kernel that estimates the gradient of jump ReLU thresholds.
    pub bandwidth: f32,
    /// Weight of the old estimate of batch top-k's threshold, in [0, 1).
    pub threshold_momentum: f32,
    /// What is done for dead latents.
    pub dead: DeadLatents,
    /// A latent is dead when it has not been active for so many steps.
    pub dead_after_steps: u64,
    /// Seed of what resampling draws.
    pub seed: u64,
}

/// How weight decay acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// Added to the gradient (L2), as in torch's `Adam`.
    Coupled,
    /// Taken off the parameter beside the step, as in `AdamW`.
    Decoupled,
}

/// What becomes of a sum over the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// It stays one, so that its weight depends on the batch size.
    Sum,
    /// It is divided by the number of rows.
    Mean,
}

/// What is done for latents that are never active.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DeadLatents {
    /// Nothing.
    Leave,
    /// The `k` dead latents of highest pre-activation a row, if above 0, reconstruct what the others leave (Gao et al.
    /// 2024, A.2).
    Auxiliary {
        /// Dead latents a row.
        k: usize,
        /// Weight of that reconstruction's error over the variance of what the others leave.
        coefficient: f32,
    },
    /// Every so many steps a dead latent starts anew from a badly reconstructed row (Bricken et al. 2023).
    Resample {
        /// Steps between.
        every: u64,
    },
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            warmup_steps: 0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decay: Decay::Coupled,
            clip_norm: None,
            l1: 2e-4,
            ne_loss: 0.0,
            ne_momentum: 0.9,
            ne_start_step: 200,
            ne_centered: false,
            reduction: Reduction::Sum,
            unit_norm_decoder: false,
            // Rajamanoharan et al. 2024, section 4.
            bandwidth: 1e-3,
            // Chosen, not tuned.
            threshold_momentum: 0.99,
            dead: DeadLatents::Leave,
            dead_after_steps: 1000,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// The settings of Foote 2024, section 4.2; those not stated there are reconstructed.
    pub fn foote_mnist() -> Self {
        Self {
            weight_decay: 1e-2,
            ne_loss: 5e-3,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidOption> {
        let require = |name, met: bool, required, got: f64| match met {
            true => Ok(()),
            false => Err(InvalidOption {
                name,
                required,
                got,
            }),
        };
        let positive = |name, x: f32| {
            let met = x.is_finite() && x > 0.0;
            require(name, met, "a number above 0", f64::from(x))
        };
        let weight = |name, x: f32| {
            let met = x.is_finite() && x >= 0.0;
            require(name, met, "a number not below 0", f64::from(x))
        };
        let share = |name, x: f32| {
            let met = (0.0..1.0).contains(&x);
            require(name, met, "a number in [0, 1)", f64::from(x))
        };
        positive("learning_rate", self.learning_rate)?;
        share("beta1", self.beta1)?;
        share("beta2", self.beta2)?;
        positive("epsilon", self.epsilon)?;
        weight("weight_decay", self.weight_decay)?;
        positive("clip_norm", self.clip_norm.unwrap_or(1.0))?;
        weight("l1", self.l1)?;
        weight("ne_loss", self.ne_loss)?;
        share("ne_momentum", self.ne_momentum)?;
        positive("bandwidth", self.bandwidth)?;
        share("threshold_momentum", self.threshold_momentum)?;
        let counts = match self.dead {
            DeadLatents::Leave => 1,
            DeadLatents::Auxiliary { k, coefficient } => {
                weight("aux_coefficient", coefficient)?;
                require("aux_k", k > 0, "a number of latents above 0", k as f64)?;
                self.dead_after_steps
            }
            DeadLatents::Resample { every } => {
                let required = "a number of steps above 0";
                require("resample_every", every > 0, required, every as f64)?;
                self.dead_after_steps
            }
        };
        let required = "a number of steps above 0";
        require("dead_after_steps", counts > 0, required, counts as f64)
    }
}

/// An option out of its range.
#[derive(Debug, Clone, PartialEq)]
pub struct InvalidOption {
    /// Its name.
    pub name: &'static str,
    /// What it has to be.
    pub required: &'static str,
    /// What it is.
    pub got: f64,
}

impl fmt::Display for InvalidOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} must be {}, got {}",
            self.name, self.required, self.got
        )
    }
}

impl std::error::Error for InvalidOption {}

/// One step's losses, before its update.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepLosses {
    /// `mse + l1 sparsity + ne_loss L_N + auxiliary`, with the weights and the reduction of the options.
    pub loss: f64,
    /// Mean squared error over rows and dimensions.
    pub mse: f64,
    /// Sum of the activations over the batch.
    pub l1: f64,
    /// What the weight `l1` multiplies, summed over the batch: `l1` itself, of a jump ReLU the number of active
    /// latents, of a gated one the sum of its gates' pre-activations above 0.
    pub sparsity: f64,
    /// Sum over the active latents of every row of the cosine distance to the latent's average embedding; 0 while
    /// it is switched off.
    pub ne_loss: f64,
    /// Weighted: the reconstruction by dead latents, or a gated one's by its gates.
    pub auxiliary: f64,
    /// Active latents a row.
    pub l0: f64,
    /// Latents not active for `dead_after_steps` steps, this one included.
    pub n_dead: usize,
    /// `1 - squared error / squared distance from the batch's mean`; none where all rows are equal.
    pub explained_variance: Option<f64>,
    /// Of this step, after warm-up.
    pub learning_rate: f64,
}

/// A number of a step that is infinite or not one. Nothing was updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diverged {
    /// The step, from 0.
    pub step: u64,
    /// Which number.
    pub term: LossTerm,
}

/// Where a step can stop being finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossTerm {
    /// A value of the batch given, in this row of it.
    Batch {
        /// From 0.
        row: usize,
    },
    /// The reconstruction's error.
    Mse,
    /// The sparsity term.
    L1,
    /// The neuron embedding loss.
    NeLoss,
    /// The auxiliary loss.
    Auxiliary,
    /// The gradient.
    Gradient,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = match self.term {
            LossTerm::Batch { row } => return write!(f, "row {row} of step {}'s batch", self.step),
            LossTerm::Mse => "mse",
            LossTerm::L1 => "l1",
            LossTerm::NeLoss => "ne_loss",
            LossTerm::Auxiliary => "the auxiliary loss",
            LossTerm::Gradient => "the gradient",
        };
        write!(f, "{term} of step {}", self.step)
    }
}

impl std::error::Error for Diverged {}
