//! A batch's losses and their gradient, before anything is updated.

use super::dead;
use super::forward::{SPARSE, encode, reconstruct};
use super::gradient::{Step, per_row};
use super::options::{DeadLatents, Diverged, StepLosses, Term, TrainOptions};
use super::trainer::Trainer;
use super::work::{Stats, Work};
use super::{Sae, Variant};
use crate::rows::first_non_finite;
use crate::simd::wide;

/// A gradient under the name of its parameter, as long as that.
pub type NamedGradients = Vec<(&'static str, Vec<f32>)>;

/// The terms of the loss that the forward pass gives.
struct Forward {
    losses: StepLosses,
    /// Derivative of the reconstruction's error by `b_dec`. `[d_in]`
    by_bias: Vec<f32>,
}

impl Trainer {
    /// The losses of `batch` and their gradient by each parameter, without an update: what a step goes by.
    ///
    /// Errors: as [`Trainer::step`].
    pub fn losses_and_gradients(
        &mut self,
        batch: &[f32],
    ) -> Result<(StepLosses, NamedGradients), Diverged> {
        let losses = self.gradients(batch)?;
        let grads = &self.work.grads;
        let mut found = vec![
            ("w_enc", grads.w_enc.clone()),
            ("w_dec", grads.w_dec.clone()),
            ("b_dec", grads.b_dec.clone()),
        ];
        let names: &[&str] = match self.sae.variant {
            Variant::Gated { .. } => &["b_gate", "r_mag", "b_mag"],
            Variant::JumpRelu { .. } => &["b_enc", "log_threshold"],
            _ => &["b_enc"],
        };
        for (i, name) in names.iter().enumerate() {
            found.push((name, grads.latents.iter().map(|l| l.by[i]).collect()));
        }
        Ok((losses, found))
    }

    /// Fills the work's gradients and gives the losses.
    pub(super) fn gradients(&mut self, batch: &[f32]) -> Result<StepLosses, Diverged> {
        let step = self.counters[0];
        let Forward {
            mut losses,
            by_bias,
        } = self.forward(batch)?;
        let on = self.options.ne_loss > 0.0 && step >= self.options.ne_start_step;
        let this = Step {
            sae: &self.sae,
            options: &self.options,
            x: batch,
            averages: on.then_some(&self.averages),
        };
        let totals = this.gradients(&mut self.work, &by_bias);
        losses.ne_loss = totals.ne_loss;
        finite(step, Term::NeLoss, totals.ne_loss)?;
        finite(step, Term::Gradient, totals.square)?;
        if let DeadLatents::Auxiliary { k, coefficient } = self.options.dead {
            let dead = dead::dead_latents(&self.idle, &self.options);
            let of_dead = (k, coefficient);
            losses.auxiliary += dead::auxiliary(&self.sae, batch, &dead, of_dead, &mut self.work);
        }
        finite(step, Term::Auxiliary, losses.auxiliary)?;
        let weigh = |weight, x: f64| f64::from(per_row(&self.options, weight, self.work.n)) * x;
        losses.loss = losses.mse
            + weigh(self.options.l1, losses.sparsity)
            + weigh(self.options.ne_loss, losses.ne_loss)
            + losses.auxiliary;
        Ok(losses)
    }

    fn forward(&mut self, batch: &[f32]) -> Result<Forward, Diverged> {
        let (d, m) = (self.sae.d_in, self.sae.d_sae);
        assert!(
            !batch.is_empty() && batch.len().is_multiple_of(d),
            "a batch is rows of width d_in"
        );
        let (n, step) = (batch.len() / d, self.counters[0]);
        if let Some(i) = first_non_finite(batch) {
            finite(step, Term::Batch { row: i / d }, f64::NAN)?;
        }
        let work = &mut self.work;
        work.resize(&self.sae, n, self.options.ne_loss > 0.0);
        prepare(&self.sae, &self.options, batch, work);
        let centred = std::mem::take(&mut work.centred);
        let input = if self.sae.centered { &centred } else { batch };
        encode(&self.sae, input, work);
        work.centred = centred;

        let sum = |of: fn(&Stats) -> f64| work.stats.iter().map(of).sum::<f64>();
        let n_active = sum(|s| f64::from(s.n));
        let l1 = sum(|s| f64::from(s.sum));
        let gate = sum(|s| f64::from(s.gate));
        let few = n_active * SPARSE as f64 <= (m * n) as f64;
        let stats = few.then_some(&work.stats[..]);
        let found = reconstruct(&self.sae, batch, &work.a, stats, &mut work.dy);
        let mut losses = StepLosses {
            mse: found.error / (n * d) as f64,
            l1,
            sparsity: l1,
            l0: n_active / n as f64,
            explained_variance: found.explained(),
            ..StepLosses::default()
        };
        match self.sae.variant {
            Variant::JumpRelu { .. } => losses.sparsity = n_active,
            Variant::Gated { .. } => {
                losses.sparsity = gate;
                let found = reconstruct(&self.sae, batch, &work.gate, None, &mut work.dy_gate);
                losses.auxiliary = found.error / (n * d) as f64;
            }
            _ => {}
        }
        finite(step, Term::Mse, losses.mse)?;
        finite(step, Term::L1, losses.l1 + losses.sparsity)?;
        Ok(Forward {
            losses,
            by_bias: found.by_bias,
        })
    }
}

fn finite(step: u64, term: Term, x: f64) -> Result<(), Diverged> {
    if x.is_finite() {
        Ok(())
    } else {
        Err(Diverged { step, term })
    }
}

/// The centred rows and the squares.
fn prepare(sae: &Sae, options: &TrainOptions, batch: &[f32], work: &mut Work) {
    let mut centred = std::mem::take(&mut work.centred);
    if sae.centered {
        sae.centred(batch, &mut centred);
    }
    let h = if options.ne_centered && sae.centered {
        &centred
    } else {
        batch
    };
    if !work.squares.is_empty() {
        wide(|| {
            for (square, h) in work.squares.iter_mut().zip(h) {
                *square = h * h;
            }
        });
    }
    work.centred = centred;
}
