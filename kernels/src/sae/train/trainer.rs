//! Training: one step a batch, by hand-written gradients.

use rayon::prelude::*;

use super::adam::{Adam, Moments, learning_rate};
use super::dead;
use super::losses;
use super::ne_loss::{Averages, update_average};
use super::options::{DeadLatents, Diverged, InvalidOption, StepLosses, TrainOptions};
use super::scratch::{Buffers, latent_block};
use crate::random::Random;
use crate::sae::init::normalise;
use crate::sae::{Sae, Variant};
use crate::simd::{dot, wide};

/// A gradient under the name of its parameter, as long as that.
pub type NamedGradients = Vec<(&'static str, Vec<f32>)>;

/// An autoencoder in training: its parameters, the optimiser's moments, the latents' averages and counters.
#[derive(Debug)]
pub struct Trainer {
    pub(super) sae: Sae,
    pub(super) options: TrainOptions,
    pub(super) w_enc: Moments,
    pub(super) w_dec: Moments,
    pub(super) b_dec: Moments,
    /// Of the parameters with one number a latent: `b_enc`, or a gated one's three, or with the log threshold.
    pub(super) latents: Vec<Moments>,
    /// Logarithms of a jump ReLU's thresholds, which is what its gradient moves: thresholds stay above 0.
    pub(super) log_threshold: Vec<f32>,
    /// The same before the first step: where a latent that starts anew begins.
    first_log_threshold: Vec<f32>,
    /// Factor of the learning rate.
    rate: f32,
    pub(super) averages: Averages,
    /// Steps since a latent was last active. `[d_sae]`
    pub(super) idle: Vec<u64>,
    /// Steps done, state of the random numbers.
    pub(super) counters: [u64; 2],
    pub(super) buffers: Buffers,
}

impl Trainer {
    /// Training of `sae` from its first step.
    ///
    /// Errors: an option out of its range; a jump ReLU threshold that is not above 0.
    pub fn new(sae: Sae, options: TrainOptions) -> Result<Self, InvalidOption> {
        options.check()?;
        let (d, m) = (sae.d_in, sae.d_sae);
        assert!(
            d > 0 && m > 0 && sae.w_enc.len() == m * d && sae.w_dec.len() == m * d,
            "the matrices are [d_sae, d_in]"
        );
        let mut log_threshold = Vec::new();
        let n_vectors = match &sae.variant {
            Variant::JumpRelu { threshold } => {
                if let Some(t) = threshold.iter().find(|t| !(**t > 0.0 && t.is_finite())) {
                    return Err(InvalidOption {
                        name: "threshold",
                        required: "a number above 0",
                        got: f64::from(*t),
                    });
                }
                log_threshold = threshold.iter().map(|t| t.ln()).collect();
                2
            }
            Variant::Gated { .. } => 3,
            _ => 1,
        };
        let averaged = if options.ne_loss > 0.0 { m } else { 0 };
        Ok(Self {
            w_enc: Moments::new(m * d),
            w_dec: Moments::new(m * d),
            b_dec: Moments::new(d),
            latents: vec![Moments::new(m); n_vectors],
            first_log_threshold: log_threshold.clone(),
            log_threshold,
            rate: 1.0,
            averages: Averages {
                h: vec![0.0; averaged * d],
                seen: vec![0; averaged],
            },
            idle: vec![0; m],
            counters: [0, options.seed],
            buffers: Buffers::default(),
            sae,
            options,
        })
    }

    /// Most bytes held by a training of `d_sae` latents of width `d_in` with batches of `n` rows, whatever its variant;
    /// saturating.
    pub fn bytes(d_in: usize, d_sae: usize, n: usize, options: &TrainOptions) -> usize {
        let auxiliary = matches!(options.dead, DeadLatents::Auxiliary { .. });
        // Weights, both moments and gradients of two matrices, the averages, what the auxiliary loss gathers.
        let matrices = 8 + usize::from(options.ne_loss > 0.0) + 4 * usize::from(auxiliary);
        let matrices = d_sae.saturating_mul(d_in).saturating_mul(matrices);
        let codes = d_sae
            .saturating_mul(n)
            .saturating_mul(3 + 2 * usize::from(auxiliary));
        let rows = d_in.saturating_mul(n).saturating_mul(5);
        // Three parameters, their moments and gradients, the counts.
        let latents = d_sae.saturating_mul(32);
        [
            matrices,
            codes,
            rows,
            latents,
            Buffers::scratch_floats(d_in, d_sae, n),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
        .saturating_mul(size_of::<f32>())
    }

    /// The autoencoder as it is now.
    pub fn sae(&self) -> &Sae {
        &self.sae
    }

    /// The autoencoder, at the end.
    pub fn into_sae(self) -> Sae {
        self.sae
    }

    /// Steps done.
    pub fn n_steps(&self) -> u64 {
        self.counters[0]
    }

    /// What it was made with.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// The steps from now on have the options' learning rate times `factor`. Below 1 no latent starts anew, since it
    /// would not be trained to its end.
    pub fn set_rate(&mut self, factor: f32) {
        self.rate = factor;
    }

    /// One step on the rows of `batch` `[n, d_in]`, n not 0.
    ///
    /// Errors: a loss or gradient that is not finite; the trainer is then as before the step.
    pub fn step(&mut self, batch: &[f32]) -> Result<StepLosses, Diverged> {
        let mut losses = self.gradients(batch)?;
        let clip = match self.options.clip_norm {
            Some(norm) => {
                let found = self.buffers.grads.square().sqrt();
                (f64::from(norm) / found).min(1.0) as f32
            }
            None => 1.0,
        };
        losses.learning_rate =
            f64::from(self.rate) * learning_rate(&self.options, self.counters[0]);
        self.update_latents(batch, clip);
        self.update_vectors(clip);
        self.update_threshold();
        for (idle, stats) in self.idle.iter_mut().zip(&self.buffers.stats) {
            *idle = if stats.n > 0 { 0 } else { *idle + 1 };
        }
        self.counters[0] += 1;
        losses.n_dead = dead::dead_latents(&self.idle, &self.options).len();
        if let DeadLatents::Resample { every } = self.options.dead
            && self.counters[0].is_multiple_of(every)
            && self.rate >= 1.0
        {
            self.resample(batch);
        }
        Ok(losses)
    }

    /// The losses of `batch` and their gradient by each parameter, without an update: what a step goes by.
    ///
    /// Errors: as [`Trainer::step`].
    pub fn losses_and_gradients(
        &mut self,
        batch: &[f32],
    ) -> Result<(StepLosses, NamedGradients), Diverged> {
        let losses = self.gradients(batch)?;
        let grads = &self.buffers.grads;
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

    /// Fills the buffers' gradients and gives the losses.
    fn gradients(&mut self, batch: &[f32]) -> Result<StepLosses, Diverged> {
        let state = losses::State {
            sae: &self.sae,
            options: &self.options,
            averages: &self.averages,
            idle: &self.idle,
            step: self.counters[0],
        };
        losses::gradients(&state, batch, &mut self.buffers)
    }

    /// The numbers of this step's updates.
    fn adam(&self, clip: f32) -> Adam {
        Adam::new(&self.options, self.counters[0], self.rate, clip)
    }

    /// Both matrices and the averages, a block of latents a task.
    fn update_latents(&mut self, batch: &[f32], clip: f32) {
        let (d, n) = (self.sae.d_in, self.buffers.n);
        let adam = self.adam(clip);
        let block = latent_block(self.sae.d_sae);
        let unit = self.options.unit_norm_decoder;
        let buffers = &mut self.buffers;
        let mut by_dec = std::mem::take(&mut buffers.grads.w_dec);
        let by_enc = &buffers.grads.w_enc;
        self.sae
            .w_enc
            .par_chunks_mut(block * d)
            .zip(self.w_enc.m.par_chunks_mut(block * d))
            .zip(self.w_enc.v.par_chunks_mut(block * d))
            .zip(by_enc.par_chunks(block * d))
            .for_each(|(((p, m), v), g)| adam.update(p, g, m, v));
        self.sae
            .w_dec
            .par_chunks_mut(block * d)
            .zip(self.w_dec.m.par_chunks_mut(block * d))
            .zip(self.w_dec.v.par_chunks_mut(block * d))
            .zip(by_dec.par_chunks_mut(block * d))
            .for_each(|(((p, m), v), g)| {
                if unit {
                    for (p, g) in p.chunks_exact(d).zip(g.chunks_exact_mut(d)) {
                        remove_parallel(p, g);
                    }
                }
                adam.update(p, g, m, v);
                if unit {
                    p.chunks_exact_mut(d).for_each(normalise);
                }
            });
        buffers.grads.w_dec = by_dec;
        let buffers = &*buffers;
        let centered = self.options.ne_centered && self.sae.centered;
        let h = if centered { &buffers.centred } else { batch };
        let momentum = self.options.ne_momentum;
        self.averages
            .h
            .par_chunks_mut(block * d)
            .zip(self.averages.seen.par_chunks_mut(block))
            .enumerate()
            .for_each(|(i, (averages, seen))| {
                let mut scratch = buffers.scratch();
                for (r, (average, seen)) in averages.chunks_exact_mut(d).zip(seen).enumerate() {
                    let j = i * block + r;
                    let a = &buffers.a[j * n..(j + 1) * n];
                    let to = (average, seen);
                    update_average(a, buffers.stats[j].n, h, momentum, to, &mut scratch.terms);
                }
            });
    }

    /// `b_dec` and the parameters with one number a latent.
    fn update_vectors(&mut self, clip: f32) {
        let adam = self.adam(clip);
        let moments = &mut self.b_dec;
        adam.update(
            &mut self.sae.b_dec,
            &self.buffers.grads.b_dec,
            &mut moments.m,
            &mut moments.v,
        );
        let grads: Vec<Vec<f32>> = (0..self.latents.len())
            .map(|i| self.buffers.grads.latents.iter().map(|l| l.by[i]).collect())
            .collect();
        let mut update = |i: usize, adam: Adam, p: &mut [f32]| {
            let Moments { m, v } = &mut self.latents[i];
            adam.update(p, &grads[i], m, v);
        };
        match &mut self.sae.variant {
            Variant::Gated {
                b_gate,
                r_mag,
                b_mag,
            } => {
                update(0, adam, b_gate);
                update(1, adam, r_mag);
                update(2, adam, b_mag);
            }
            Variant::JumpRelu { threshold } => {
                update(0, adam, &mut self.sae.b_enc);
                update(1, adam.without_decay(), &mut self.log_threshold);
                for (t, log) in threshold.iter_mut().zip(&self.log_threshold) {
                    *t = log.exp();
                }
            }
            _ => update(0, adam, &mut self.sae.b_enc),
        }
    }

    /// Batch top-k's threshold follows the smallest activation that was kept.
    fn update_threshold(&mut self) {
        let Variant::BatchTopK { threshold, .. } = &mut self.sae.variant else {
            return;
        };
        let parts: Vec<f32> = self
            .buffers
            .a
            .par_chunks(1 << 16)
            .map(|a| {
                let kept = a.iter().copied().filter(|a| *a > 0.0);
                kept.fold(f32::INFINITY, f32::min)
            })
            .collect();
        let least = parts.into_iter().fold(f32::INFINITY, f32::min);
        if !least.is_finite() {
            return;
        }
        let momentum = self.options.threshold_momentum;
        *threshold = match self.counters[0] {
            0 => least,
            _ => momentum * *threshold + (1.0 - momentum) * least,
        };
    }

    /// Dead latents start anew from badly reconstructed rows of `batch`.
    fn resample(&mut self, batch: &[f32]) {
        let d = self.sae.d_in;
        let dead = dead::dead_latents(&self.idle, &self.options);
        let mut random = Random::new(self.counters[1]);
        let (sae, buffers) = (&self.sae, &self.buffers);
        let samples = dead::resample(sae, batch, buffers, &self.idle, dead.len(), &mut random);
        self.counters[1] = random.state();
        for (j, sample) in dead.into_iter().zip(samples) {
            let at = j * d..(j + 1) * d;
            let encoder = sample.direction.iter().map(|x| x * sample.encoder_norm);
            let row = &mut self.sae.w_enc[at.clone()];
            row.iter_mut().zip(encoder).for_each(|(w, x)| *w = x);
            self.sae.w_dec[at.clone()].copy_from_slice(&sample.direction);
            for moments in [&mut self.w_enc, &mut self.w_dec] {
                moments.m[at.clone()].fill(0.0);
                moments.v[at.clone()].fill(0.0);
            }
            for moments in &mut self.latents {
                moments.m[j] = 0.0;
                moments.v[j] = 0.0;
            }
            self.sae.b_enc[j] = 0.0;
            if let Variant::Gated {
                b_gate,
                r_mag,
                b_mag,
            } = &mut self.sae.variant
            {
                (b_gate[j], r_mag[j], b_mag[j]) = (0.0, 0.0, 0.0);
            }
            if let Variant::JumpRelu { threshold } = &mut self.sae.variant {
                self.log_threshold[j] = self.first_log_threshold[j];
                threshold[j] = self.log_threshold[j].exp();
            }
            if let Some(seen) = self.averages.seen.get_mut(j) {
                *seen = 0;
                self.averages.h[at].fill(0.0);
            }
            self.idle[j] = 0;
        }
    }
}

/// Takes off `g` what points along `p`, a row of norm 1.
fn remove_parallel(p: &[f32], g: &mut [f32]) {
    wide!({
        let along = dot(p, g);
        g.iter_mut().zip(p).for_each(|(g, p)| *g -= along * p);
    });
}
