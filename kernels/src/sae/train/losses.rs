//! A batch's losses and their gradient, before anything is updated.

use super::dead;
use super::forward::{encode, reconstruct};
use super::gradient::{Backward, per_row};
use super::ne_loss::Averages;
use super::options::{DeadLatents, Diverged, LossTerm, StepLosses, TrainOptions};
use super::scratch::{Buffers, Stats};
use crate::sae::encode::SPARSE;
use crate::sae::{Sae, Variant};
use crate::simd::wide;
use crate::vector::first_non_finite;

/// The terms of the loss that the forward pass gives.
struct Forward {
    losses: StepLosses,
    /// Derivative of the reconstruction's error by `b_dec`. `[d_in]`
    by_bias: Vec<f32>,
}

/// What the losses of a batch depend on besides its rows.
pub(super) struct State<'a> {
    pub(super) sae: &'a Sae,
    pub(super) options: &'a TrainOptions,
    pub(super) averages: &'a Averages,
    /// Steps since a latent was last active. `[d_sae]`
    pub(super) idle: &'a [u64],
    /// Steps done.
    pub(super) step: u64,
}

/// Fills the buffers' gradients and gives the losses of `batch`.
pub(super) fn gradients(
    state: &State<'_>,
    batch: &[f32],
    buffers: &mut Buffers,
) -> Result<StepLosses, Diverged> {
    let (sae, options, step) = (state.sae, state.options, state.step);
    let Forward {
        mut losses,
        by_bias,
    } = forward(state, batch, buffers)?;
    let on = options.ne_loss > 0.0 && step >= options.ne_start_step;
    let this = Backward {
        sae,
        options,
        x: batch,
        averages: on.then_some(state.averages),
    };
    let totals = this.gradients(buffers, &by_bias);
    losses.ne_loss = totals.ne_loss;
    finite(step, LossTerm::NeLoss, totals.ne_loss)?;
    finite(step, LossTerm::Gradient, totals.square)?;
    if let DeadLatents::Auxiliary { k, coefficient } = options.dead {
        let dead = dead::dead_latents(state.idle, options);
        let of_dead = (k, coefficient);
        losses.auxiliary += dead::auxiliary(sae, batch, &dead, of_dead, buffers);
    }
    finite(step, LossTerm::Auxiliary, losses.auxiliary)?;
    let weigh = |weight, x: f64| f64::from(per_row(options, weight, buffers.n)) * x;
    losses.loss = losses.mse
        + weigh(options.l1, losses.sparsity)
        + weigh(options.ne_loss, losses.ne_loss)
        + losses.auxiliary;
    Ok(losses)
}

fn forward(state: &State<'_>, batch: &[f32], buffers: &mut Buffers) -> Result<Forward, Diverged> {
    let (sae, options) = (state.sae, state.options);
    let (d, m) = (sae.d_in, sae.d_sae);
    assert!(
        !batch.is_empty() && batch.len().is_multiple_of(d),
        "a batch is rows of width d_in"
    );
    let (n, step) = (batch.len() / d, state.step);
    if let Some(i) = first_non_finite(batch) {
        finite(step, LossTerm::Batch { row: i / d }, f64::NAN)?;
    }
    buffers.resize(sae, n, options.ne_loss > 0.0);
    prepare(sae, options, batch, buffers);
    let centred = std::mem::take(&mut buffers.centred);
    let input = if sae.centered { &centred } else { batch };
    encode(sae, input, buffers);
    buffers.centred = centred;

    let sum = |of: fn(&Stats) -> f64| buffers.stats.iter().map(of).sum::<f64>();
    let n_active = sum(|s| f64::from(s.n));
    let l1 = sum(|s| f64::from(s.sum));
    let gate = sum(|s| f64::from(s.gate));
    let few = n_active * SPARSE as f64 <= (m * n) as f64;
    let stats = few.then_some(&buffers.stats[..]);
    let found = reconstruct(sae, batch, &buffers.a, stats, &mut buffers.dy);
    let mut losses = StepLosses {
        mse: found.error / (n * d) as f64,
        l1,
        sparsity: l1,
        l0: n_active / n as f64,
        explained_variance: found.explained(),
        ..StepLosses::default()
    };
    match sae.variant {
        Variant::JumpRelu { .. } => losses.sparsity = n_active,
        Variant::Gated { .. } => {
            losses.sparsity = gate;
            let found = reconstruct(sae, batch, &buffers.gate, None, &mut buffers.dy_gate);
            losses.auxiliary = found.error / (n * d) as f64;
        }
        _ => {}
    }
    finite(step, LossTerm::Mse, losses.mse)?;
    finite(step, LossTerm::L1, losses.l1 + losses.sparsity)?;
    Ok(Forward {
        losses,
        by_bias: found.by_bias,
    })
}

fn finite(step: u64, term: LossTerm, x: f64) -> Result<(), Diverged> {
    if x.is_finite() {
        Ok(())
    } else {
        Err(Diverged { step, term })
    }
}

/// The centred rows and the squares.
fn prepare(sae: &Sae, options: &TrainOptions, batch: &[f32], buffers: &mut Buffers) {
    let mut centred = std::mem::take(&mut buffers.centred);
    if sae.centered {
        sae.centred(batch, &mut centred);
    }
    let h = if options.ne_centered && sae.centered {
        &centred
    } else {
        batch
    };
    if !buffers.squares.is_empty() {
        wide!({
            for (square, h) in buffers.squares.iter_mut().zip(h) {
                *square = h * h;
            }
        });
    }
    buffers.centred = centred;
}
